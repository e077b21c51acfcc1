"""Lung without air, and a diaphragm that moved, painted into scans for training.

Few annotated cases show consolidation of half a lung, and none the smeared dome that breathing
leaves; networks take the first for chest wall and the second for ground glass. Arrays are (z, y, x)
and upright: y grows to the back, z to the head.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.labels import HIGH_OPACITY, LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.training.shape_grid import ShapeGrid, soft_step

Spacing = tuple[float, float, float]

BEHIND, BELOW, WHOLE = "behind", "below", "whole"
DENSE_SHARE = (0.1, 0.7)
DENSE_HU = (0.0, 60.0)
TEXTURE_HU = (0.0, 15.0)
EDGE_MM = (2.0, 12.0)
# How far the front of dense lung leans (mm a mm) and bends (mm), and over which length.
LEAN = 0.3
BEND_MM = 10.0
BEND_LENGTH_MM = 40.0
# Breathing moves the diaphragm about this far in a scan; the smear fades out above this share of
# the lungs' height.
MOTION_MM = (6.0, 20.0)
MOTION_HEIGHT_SHARES = (0.2, 0.5)
MOTION_FADES_MM = 10.0


def paint_dense_lung(
    hu: np.ndarray,
    labels: np.ndarray,
    lungs: np.ndarray,
    airways: np.ndarray,
    spacing_mm: Spacing,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Make a part of the lungs as dense as tissue: behind a front, below one, or a whole lung.

    Args:
        hu: int16.
        labels: uint8, values of `labels.py`.
        lungs: uint8, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`.
        airways: bool, left as they are.
        spacing_mm: voxel size (x, y, z).
        random: source of randomness.

    Returns:
        int16 and uint8: HU, and labels with high opacity where lung became dense.
    """
    where = lungs > 0
    kind = str(random.choice([BEHIND, BELOW, WHOLE], p=[0.45, 0.35, 0.2]))
    if kind == WHOLE or random.random() < 0.5:
        where = lungs == random.choice([LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE])
    where = where & ~airways
    grid = ShapeGrid.of(hu.shape, spacing_mm)
    inside = grid.reduced(where)
    if not inside.any():
        return hu, labels
    if kind == WHOLE:
        amount = np.ones(hu.shape, np.float32)
    else:
        depth_mm = _depth_mm(kind, grid, random)
        front_mm = np.quantile(depth_mm[inside], 1.0 - random.uniform(*DENSE_SHARE))
        beyond = (depth_mm - front_mm).astype(np.float32)
        amount = soft_step(grid.enlarged(beyond) / random.uniform(*EDGE_MM))
    texture = ndimage.gaussian_filter(random.standard_normal(grid.shape), 1.5)
    texture *= random.uniform(*TEXTURE_HU) / max(float(texture.std()), 1e-9)
    tissue_hu = random.uniform(*DENSE_HU) + grid.enlarged(texture.astype(np.float32))
    # Voxels that lung and chest wall share are dense as well, or a dark line would tell where.
    reach = ndimage.binary_dilation(where) & ((lungs == 0) | where) & ~airways
    painted = hu + reach * amount * np.maximum(tissue_hu - hu, 0.0)
    return (
        np.rint(painted).astype(np.int16),
        np.where(where & (amount > 0.5), np.uint8(HIGH_OPACITY.value), labels),
    )


def _depth_mm(kind: str, grid: ShapeGrid, random: np.random.Generator) -> np.ndarray:
    """Millimetres along the way on which lung becomes dense: backwards, or downwards."""
    z_mm, y_mm, x_mm = grid.places_mm()
    lean = random.normal(0.0, LEAN, 2)
    along_mm = y_mm - lean[0] * z_mm if kind == BEHIND else lean[0] * y_mm - z_mm
    bend = ndimage.gaussian_filter(
        random.standard_normal(grid.shape), BEND_LENGTH_MM / 2 / grid.spacing_mm
    )
    bend *= BEND_MM / max(float(bend.std()), 1e-9)
    return along_mm + lean[1] * x_mm + bend


def smear_lower_lungs(
    hu: np.ndarray, lungs: np.ndarray, spacing_mm: Spacing, random: np.random.Generator
) -> np.ndarray:
    """HU as if the patient had breathed: slices near the diaphragm are means over its way.

    Args:
        hu: int16.
        lungs: uint8, above 0 inside the lungs; not all 0.
        spacing_mm: voxel size (x, y, z).
        random: source of randomness.

    Returns:
        int16; where lung and lesions lie at rest does not change.
    """
    z_mm = spacing_mm[2]
    filled = np.flatnonzero(lungs.any(axis=(1, 2)))
    top = filled[0] + random.uniform(*MOTION_HEIGHT_SHARES) * (filled[-1] - filled[0])
    way = max(2, round(random.uniform(*MOTION_MM) / z_mm))
    smeared = ndimage.uniform_filter1d(hu.astype(np.float32), way, axis=0, mode="nearest")
    share = soft_step((top - np.arange(len(hu))) * z_mm / MOTION_FADES_MM)[:, None, None]
    return np.rint(hu + share * (smeared - hu)).astype(np.int16)
