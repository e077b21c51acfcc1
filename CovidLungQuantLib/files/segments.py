"""What segmentations in files and in Slicer's scene share: their tags, and how segments are joined.

Warnings about segments are worded here alone, so that a file and a scene say the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import BACKGROUND_VALUE, LABELS, Label

SOFTWARE_NAME = "CovidLungQuant"
# Tags of a segment that Slicer's DICOM SEG export reads.
ALGORITHM_TYPE_TAG = "DICOM.SegmentAlgorithmType"
ALGORITHM_NAME_TAG = "DICOM.SegmentAlgorithmName"
AUTOMATIC = "AUTOMATIC"
SEMIAUTOMATIC = "SEMIAUTOMATIC"


def algorithm_tags(algorithm_name: str | None) -> dict[str, str]:
    """Return the tags that say what made a segment.

    Args:
        algorithm_name: what found it; None if a person drew or corrected it.
    """
    return {
        ALGORITHM_NAME_TAG: algorithm_name or SOFTWARE_NAME,
        ALGORITHM_TYPE_TAG: AUTOMATIC if algorithm_name else SEMIAUTOMATIC,
    }


def joined_labels(
    masks: Iterable[tuple[int, np.ndarray]], shape: tuple[int, ...], warnings: list[ScanWarning]
) -> np.ndarray:
    """Return masks of labels as one label map; where they overlap the later one counts.

    Args:
        masks: (label value, boolean mask of `shape`), in ascending order of the values.
        shape: of the label map (z, y, x).
        warnings: one is added if masks overlap.

    Returns:
        uint8 label map.
    """
    labels = np.full(shape, fill_value=BACKGROUND_VALUE, dtype=np.uint8)
    overlap_voxels = 0
    for value, mask in masks:
        overlap_voxels += int(np.count_nonzero(labels[mask]))
        labels[mask] = value
    if overlap_voxels:
        warnings.append(
            ScanWarning(
                "segments_overlap",
                f"Segments overlap in {overlap_voxels} voxels; there high opacity counts before "
                "GGO, and GGO before normal lung.",
            )
        )
    return labels


def ignored_segment(name: str) -> ScanWarning:
    """Return the warning about a segment that stands for no label."""
    return ScanWarning(
        "segment_ignored",
        f'The segment "{name}" is none of {", ".join(label.name for label in LABELS)}; it is not '
        "measured.",
    )


def missing_segment(segmentation: str, label: Label) -> ScanWarning:
    """Return the warning about a lesion label without a segment.

    Args:
        segmentation: how the sentence calls the segmentation, at its beginning.
        label: without a segment.
    """
    return ScanWarning(
        "segment_missing",
        f'{segmentation} has no segment "{label.name}"; it counts as empty.',
    )
