"""Binary morphology with radii in millimetres. Arrays (z, y, x), spacing (x, y, z)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Spacing = tuple[float, float, float]


def bounding_box(mask: np.ndarray, margin: tuple[int, ...] = (0, 0, 0)) -> tuple[slice, ...]:
    """Slices around the True voxels, `margin` voxels wider on every axis; all of it if none are."""
    slices = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if not hits.size:
            return tuple(slice(0, size) for size in mask.shape)
        slices.append(
            slice(
                max(int(hits[0]) - margin[axis], 0),
                min(int(hits[-1]) + 1 + margin[axis], mask.shape[axis]),
            )
        )
    return tuple(slices)


def dilate(mask: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """True within `radius_mm` of a True voxel (2D for a 2D mask)."""
    if not mask.any():
        return mask.copy()
    return _distance(~mask, spacing_mm) <= radius_mm


def erode(mask: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """True farther than `radius_mm` from any False voxel; the border of the array does not erode."""
    if mask.all():
        return mask.copy()
    return _distance(mask, spacing_mm) > radius_mm


def close(mask: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """Fill gaps narrower than a ball of `radius_mm`; a mask cut by the border is continued there."""
    widths = [
        int(np.ceil(radius_mm / step)) + 1 for step in tuple(reversed(spacing_mm))[-mask.ndim :]
    ]
    box = bounding_box(mask, tuple(widths))
    padded = np.pad(mask[box], [(width, width) for width in widths], mode="edge")
    filled = erode(dilate(padded, radius_mm, spacing_mm), radius_mm, spacing_mm)
    inner = tuple(slice(width, -width) for width in widths)
    closed = mask.copy()
    closed[box] |= filled[inner]
    return closed


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest face-connected part of `mask`."""
    components, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components == int(sizes.argmax())


def _distance(mask: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    sampling = tuple(reversed(spacing_mm))[-mask.ndim :]
    return ndimage.distance_transform_edt(mask, sampling=sampling)
