"""Telling GGO from high opacity inside lesions by their density, by the rule of Pan et al. 2021."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY

HIGH_OPACITY_ABOVE_HU = -350.0
SMOOTHING_MM = 5.0
# How GGO and high opacity can be told apart inside the lesions the network finds.
KIND_CHOICES: dict[str, str] = {
    "density": "by density inside lesions, high opacity above −350 HU (Pan et al. 2021)",
    "network": "by the network's own classes",
}


def classify_by_density(
    labels: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """Make each lesion voxel high opacity above −350 HU, else GGO.

    The HU are those of the lesion around the voxel: their mean over the lesion voxels in a square
    of 5 mm in its slice, so that noise, small vessels and the air beside a lesion do not decide.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`.
        hu: int16 (z, y, x).
        spacing_mm: voxel size (x, y, z).

    Returns:
        uint8 (z, y, x): `labels` with lesions relabelled, all else as it was.
    """
    size = [max(1, round(SMOOTHING_MM / spacing)) for spacing in (spacing_mm[1], spacing_mm[0])]
    relabelled = labels.copy()
    for index in np.flatnonzero((labels >= GGO.value).any(axis=(1, 2))):
        lesion = labels[index] >= GGO.value
        weight = ndimage.uniform_filter(lesion.astype(np.float32), size)
        total = ndimage.uniform_filter(np.where(lesion, hu[index], 0).astype(np.float32), size)
        dense = total[lesion] > HIGH_OPACITY_ABOVE_HU * weight[lesion]
        relabelled[index][lesion] = np.where(dense, HIGH_OPACITY.value, GGO.value)
    return relabelled
