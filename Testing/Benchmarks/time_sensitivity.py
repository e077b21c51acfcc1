"""What one move of a sensitivity slider costs, on a drawn chest of 512 × 512 × 150 voxels.

python Testing/Benchmarks/time_sensitivity.py
"""

from __future__ import annotations

import time

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.labels import GGO, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.lesions.probability import DECISION_CODE
from CovidLungQuantLib.lesions.sensitivity import apply_sensitivity

SHAPE = (150, 512, 512)
SPACING_MM = (0.7, 0.7, 2.0)
REPEATS = 3


def main() -> None:
    """Print the seconds of processor time of some moves, of the whole scan and of one lesion."""
    labels, probability, hu = drawn_chest()
    lesion, _count = ndimage.label(is_lesion(labels))
    largest = lesion == 1 + np.argmax(np.bincount(lesion.ravel())[1:])
    print(f"{largest.sum()} voxels in the largest lesion, {is_lesion(labels).sum()} in all")
    for name, region in (("whole scan", None), ("one lesion", largest)):
        for code in (10, 40, DECISION_CODE, 120, 200):
            seconds = []
            for _ in range(REPEATS):
                start = time.process_time()
                found = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, code, region)
                seconds.append(time.process_time() - start)
            print(f"{name}, code {code:3d}: {min(seconds):.3f} s, {is_lesion(found).sum()} voxels")


def drawn_chest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, codes of probability and HU of two lungs with soft lesions in a tenth of them."""
    random = np.random.default_rng(0)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    lungs = np.zeros(SHAPE, bool)
    for middle in (160, 352):
        lungs |= ((z - 75) / 70) ** 2 + ((y - 256) / 140) ** 2 + ((x - middle) / 85) ** 2 < 1
    coarse = ndimage.gaussian_filter(random.normal(size=(50, 64, 64)), 2.0)
    smooth = np.repeat(np.repeat(np.repeat(coarse, 3, 0), 8, 1), 8, 2)
    smooth -= np.quantile(smooth[lungs], 0.9)
    probability = np.clip(DECISION_CODE + 1500 * smooth, 0, 255).astype(np.uint8)
    probability[~lungs] = 0
    labels = np.where(lungs, np.uint8(NORMAL_LUNG.value), np.uint8(0))
    labels[lungs & (probability > DECISION_CODE)] = GGO.value
    hu = np.where(lungs, -850 + probability.astype(np.int16) * 2, 40).astype(np.int16)
    return labels, probability, hu


if __name__ == "__main__":
    main()
