"""How well two masks of one structure agree: overlap, volume and surface distances.

NaN stands where a figure is undefined, never 0 or 1: everything needs a reference that is not
empty, surface distances two masks that are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from CovidLungQuantLib.anatomy.morphology import bounding_box

HAUSDORFF_PERCENTILE = 95.0


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the surfaces of two masks, mm; NaN where a mask is empty.

    Attributes:
        hausdorff95_mm: the larger of the two directed 95th percentiles.
        mean_mm: average symmetric surface distance: mean over all surface voxels of both masks.
    """

    hausdorff95_mm: float
    mean_mm: float


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """2·|A ∩ B| / (|A| + |B|) of two boolean arrays; NaN where the reference is empty."""
    reference_count = np.count_nonzero(reference)
    if reference_count == 0:
        return math.nan
    total = np.count_nonzero(mask) + reference_count
    return float(2.0 * np.count_nonzero(mask & reference) / total)


def volume_similarity(mask: np.ndarray, reference: np.ndarray) -> float:
    """1 − ||A| − |B|| / (|A| + |B|), whatever the position; NaN where the reference is empty.

    Taha and Hanbury, BMC Medical Imaging 2015; Bartoli et al. 2022 report it.
    """
    count, reference_count = np.count_nonzero(mask), np.count_nonzero(reference)
    if reference_count == 0:
        return math.nan
    return float(1.0 - abs(count - reference_count) / (count + reference_count))


def surface_distances(
    mask: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float]
) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    The surface of a mask are its voxels with a face neighbour outside it (or outside the array);
    a distance is that between voxel centres, from each surface voxel to the nearest of the other.

    Args:
        mask: bool (z, y, x).
        reference: bool (z, y, x), same shape.
        spacing_mm: voxel size (x, y, z).
    """
    if not mask.any() or not reference.any():
        return SurfaceDistances(math.nan, math.nan)
    points_mm = _surface_points_mm(mask, spacing_mm)
    reference_points_mm = _surface_points_mm(reference, spacing_mm)
    # Exact like a distance transform, and many times faster: work grows with the surface only.
    to_reference_mm, _ = KDTree(reference_points_mm).query(points_mm)
    from_reference_mm, _ = KDTree(points_mm).query(reference_points_mm)
    hausdorff95_mm = max(
        np.percentile(to_reference_mm, HAUSDORFF_PERCENTILE),
        np.percentile(from_reference_mm, HAUSDORFF_PERCENTILE),
    )
    mean_mm = np.concatenate([to_reference_mm, from_reference_mm]).mean()
    return SurfaceDistances(float(hausdorff95_mm), float(mean_mm))


def _surface_points_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Centres of the surface voxels, float64 (points, 3) in (z, y, x)."""
    box = bounding_box(mask)
    padded = np.pad(mask[box], 1)
    inner = mask[box].copy()
    for axis in range(3):
        for neighbours in (slice(0, -2), slice(2, None)):
            window = [slice(1, -1)] * 3
            window[axis] = neighbours
            inner &= padded[tuple(window)]
    first = [part.start for part in box]
    return (np.argwhere(mask[box] & ~inner) + first) * np.array(spacing_mm[::-1])
