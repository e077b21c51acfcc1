"""Whether contrast medium was given, judged from how bright the blood is."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Blood is about as bright as muscle without contrast medium, and 100 HU or more above it with.
# Muscle is looked up in each slice itself, since not every scan's HU are well calibrated.
MUSCLE_RANGE_HU = (0, 200)
BLOOD_ABOVE_MUSCLE_HU = 90
LOWEST_ENHANCED_HU = 150
HIGHEST_ENHANCED_HU = 700
# Where more of a slice's tissue than this is that bright, it is the calibration and not the blood:
# muscle and liver are that bright, too, and what was taken for muscle was fat. Enhanced blood is up
# to a quarter of the tissue; scans restored from pictures may be too bright in some slices only.
TISSUE_FROM_HU = -200
LARGEST_BRIGHT_SHARE = 0.3
# Chambers of the heart and great vessels stay large when 6 mm are taken off all round; ribs,
# vertebrae and veins do not.
TAKEN_OFF_MM = 6.0
SMALLEST_BLOOD_POOL_ML = 50.0
COARSE_VOXEL_MM = 3.0


def looks_contrast_enhanced(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> bool:
    """Tell whether one large, connected body is clearly brighter than muscle but not bone.

    Meant to miss weak enhancement rather than to raise false alarms.

    Args:
        hu: int16 Hounsfield units (z, y, x).
        spacing_mm: voxel size (x, y, z).
    """
    blocks = [max(1, round(COARSE_VOXEL_MM / size)) for size in reversed(spacing_mm)]
    coarse_mm = [size * block for size, block in zip(reversed(spacing_mm), blocks, strict=True)]
    coarse = _block_means(hu, blocks)
    muscle_hu = np.array([_muscle_hu(coarse_slice) for coarse_slice in coarse])
    threshold_hu = np.maximum(LOWEST_ENHANCED_HU, muscle_hu + BLOOD_ABOVE_MUSCLE_HU)
    bright = (coarse >= threshold_hu[:, np.newaxis, np.newaxis]) & (coarse <= HIGHEST_ENHANCED_HU)
    tissue_counts = np.count_nonzero(coarse >= TISSUE_FROM_HU, axis=(1, 2))
    bright[np.count_nonzero(bright, axis=(1, 2)) > LARGEST_BRIGHT_SHARE * tissue_counts] = False
    inner = ndimage.distance_transform_edt(bright, sampling=coarse_mm) > TAKEN_OFF_MM
    labels, _ = ndimage.label(inner)
    largest = np.bincount(labels.ravel())[1:].max(initial=0)
    return bool(largest * np.prod(coarse_mm) / 1000.0 >= SMALLEST_BLOOD_POOL_ML)


def _block_means(hu: np.ndarray, blocks: list[int]) -> np.ndarray:
    """Return the means of blocks of voxels, float32; an incomplete block at an end is left out."""
    blocks = [min(block, size) for block, size in zip(blocks, hu.shape, strict=True)]
    z, y, x = (size // block for size, block in zip(hu.shape, blocks, strict=True))
    means = np.empty((z, y, x), dtype=np.float32)
    for index in range(z):
        slab = hu[index * blocks[0] : (index + 1) * blocks[0], : y * blocks[1], : x * blocks[2]]
        means[index] = slab.reshape(blocks[0], y, blocks[1], x, blocks[2]).mean(axis=(0, 2, 4))
    return means


def _muscle_hu(coarse_slice: np.ndarray) -> float:
    """Return the most frequent value of soft tissue, in steps of 10 HU."""
    counts, edges = np.histogram(coarse_slice, bins=20, range=MUSCLE_RANGE_HU)
    return float(edges[int(np.argmax(counts))]) + (edges[1] - edges[0]) / 2
