"""Time counting again after a stroke on a full-size scan (512×512×300), step by step.

    python Testing/Benchmarks/time_recount.py

Prints seconds, the best of three strokes. Needs `slicer-core`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from time_parts import REPEATS, a_full_size_quantification

from CovidLungQuantLib.labels import HIGH_OPACITY, LABELS, LUNG_SEGMENTS
from CovidLungQuantLib.measures.recount import RunningCount
from CovidLungQuantLib.mrml.scene_file import headless_scene
from CovidLungQuantLib.mrml.segmentation import (
    labels_after_stroke,
    note_edits,
    segmentation_to_node,
)
from CovidLungQuantLib.mrml.segments import BINARY_LABELMAP
from CovidLungQuantLib.mrml.volumes import ct_to_node, voxels


def main() -> None:
    """Paint a ball-sized box, as one stroke does, and count it."""
    quantification = a_full_size_quantification()
    ct = quantification.ct
    # Twenty regions of about the same size, in place of those of real lobes.
    stripes = np.arange(ct.hu.shape[0]) * len(LUNG_SEGMENTS) // ct.hu.shape[0] + 1
    regions = np.where(quantification.labels > 0, stripes[:, None, None], 0).astype(np.uint8)
    with headless_scene() as (scene, _logics):
        volume_node = ct_to_node(scene, ct)
        segmentation_node = segmentation_to_node(scene, quantification, volume_node)
        start = time.perf_counter()
        count = RunningCount(
            ct.hu,
            quantification.labels,
            regions,
            True,
            ct.geometry.spacing_mm,
            ct.geometry.voxel_volume_ml,
            quantification.labels,
        )
        print(f"first count, once                  {time.perf_counter() - start:6.2f}")
        segment = segmentation_node.GetSegmentation().GetSegment(LABELS[0].segment_id)
        painted = voxels(segment.GetRepresentation(BINARY_LABELMAP))
        steps = []
        for first in range(REPEATS):
            corner = 40 + 60 * first
            painted[corner : corner + 30, 200:250, 120:170] = HIGH_OPACITY.value
            steps.append(_timed_recount(count, segmentation_node, volume_node))
    for name in steps[0]:
        print(f"{name:34s} {min(step[name] for step in steps):6.2f}")
    print(f"{'together':34s} {min(sum(step.values()) for step in steps):6.2f}")


def _timed_recount(
    count: RunningCount, segmentation_node: Any, volume_node: Any
) -> dict[str, float]:
    seconds, start = {}, time.perf_counter()
    labels = labels_after_stroke(segmentation_node, volume_node)
    seconds["reading the segmentation"] = time.perf_counter() - start
    start = time.perf_counter()
    count.recount(labels)
    seconds["counting the changed voxels"] = time.perf_counter() - start
    start = time.perf_counter()
    note_edits(segmentation_node, labels)
    seconds["noting the edit"] = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    main()
