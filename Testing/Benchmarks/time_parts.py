"""Time the parts whose speed is promised, on arrays of a full-size scan (512×512×300).

Run by `make bench`; prints seconds, the best of three.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import CTVolume, Geometry
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.outputs.report import report_html
from CovidLungQuantLib.quantification import Quantification

SHAPE = (300, 512, 512)
SPACING_MM = (0.7, 0.7, 1.0)
REPEATS = 3


def a_full_size_quantification() -> Quantification:
    """Return lungs of a sixth of the voxels, as in a real scan, with noise for HU."""
    hu = np.random.default_rng(0).normal(-700, 150, SHAPE).astype(np.int16)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[30:270, 130:380, 70:220] = 1
    labels[30:270, 130:380, 290:440] = 1
    labels[60:140, 250:350, 90:200] = 2
    labels[60:100, 320:380, 300:400] = 3
    lungs = np.zeros(SHAPE, dtype=np.uint8)
    lungs[:, :, :256] = RIGHT_LUNG_VALUE
    lungs[:, :, 256:] = LEFT_LUNG_VALUE
    geometry = Geometry(SHAPE, SPACING_MM, (0.0, 0.0, 0.0), np.eye(3))
    measurements = measure_lungs(hu, labels, lungs, geometry.voxel_volume_ml)
    return Quantification(CTVolume(hu, geometry, "full size"), labels, lungs, measurements)


def best_seconds(action: Callable[[], object]) -> float:
    """Return the shortest of several runs."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Time each part and print it."""
    made = a_full_size_quantification()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.seg.nrrd"
        parts: dict[str, Callable[[], object]] = {
            "measuring": lambda: measure_lungs(
                made.ct.hu, made.labels, made.lungs, made.ct.geometry.voxel_volume_ml
            ),
            "writing the segmentation": lambda: write_segmentation(
                path, made.labels, made.ct.geometry
            ),
            "making the report": lambda: report_html(made),
        }
        for name, action in parts.items():
            print(f"{name:<26}{best_seconds(action):7.2f} s")


if __name__ == "__main__":
    main()
