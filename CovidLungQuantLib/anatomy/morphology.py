"""Binary morphology with radii in millimetres. Arrays (z, y, x), spacing (x, y, z)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.progress import Poll, no_poll

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
    dilated = mask.copy()
    if mask.any():
        box = bounding_box(mask, _voxels(radius_mm, spacing_mm, mask.ndim))
        dilated[box] = _distance(~mask[box], spacing_mm) <= radius_mm
    return dilated


def erode(mask: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """True farther than `radius_mm` from any False voxel; beyond the array counts as True."""
    eroded = mask.copy()
    if mask.any() and not mask.all():
        box = bounding_box(mask, (1,) * mask.ndim)
        eroded[box] = _distance(mask[box], spacing_mm) > radius_mm
    return eroded


def close(
    mask: np.ndarray, radius_mm: float, spacing_mm: Spacing, poll: Poll = no_poll
) -> np.ndarray:
    """Fill gaps too narrow for a ball of `radius_mm`; a mask cut by the border goes on there."""
    widths = _voxels(radius_mm, spacing_mm, mask.ndim)
    box = bounding_box(mask, widths)
    padded = np.pad(mask[box], [(width, width) for width in widths], mode="edge")
    dilated = dilate(padded, radius_mm, spacing_mm)
    poll()
    filled = erode(dilated, radius_mm, spacing_mm)
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


def _voxels(radius_mm: float, spacing_mm: Spacing, dimensions: int) -> tuple[int, ...]:
    """`radius_mm` in whole voxels per array axis, one to spare."""
    steps_mm = tuple(reversed(spacing_mm))[-dimensions:]
    return tuple(int(np.ceil(radius_mm / step_mm)) + 1 for step_mm in steps_mm)


def _distance(mask: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    sampling = tuple(reversed(spacing_mm))[-mask.ndim :]
    return ndimage.distance_transform_edt(mask, sampling=sampling)
