"""Binary morphology with radii in millimetres. Arrays (z, y, x), spacing (x, y, z)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.progress import Poll, no_poll

Spacing = tuple[float, float, float]
# Of a run of voxels, along z and y.
Offset = tuple[int, int]


def bounding_box(mask: np.ndarray, margin: tuple[int, ...] = (0, 0, 0)) -> tuple[slice, ...]:
    """Slices around the True voxels, `margin` voxels wider on every axis; all of it if none are."""
    slices = []
    # The plane that everything is folded onto tells the other axes.
    folded: np.ndarray = np.asarray(mask.any(axis=0))
    for axis in range(mask.ndim):
        others = tuple(other for other in range(folded.ndim) if other != axis - 1)
        hits = np.flatnonzero(
            folded.any(axis=others) if axis else mask.reshape(len(mask), -1).any(axis=1)
        )
        if not hits.size:
            return tuple(slice(0, size) for size in mask.shape)
        slices.append(
            slice(
                max(int(hits[0]) - margin[axis], 0),
                min(int(hits[-1]) + 1 + margin[axis], mask.shape[axis]),
            )
        )
    return tuple(slices)


def boxes_of_values(labels: np.ndarray, highest: int) -> list[tuple[slice, ...] | None]:
    """The bounding boxes of the values 1…`highest` of a label map, in order; None of a missing one.

    In one pass and without a mask of each, which would take as much memory as the label map.
    """
    return ndimage.find_objects(labels, highest)


def dilate(mask: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """True within `radius_mm` of a True voxel (2D for a 2D mask)."""
    return _dilated(mask, _ball(radius_mm, spacing_mm, mask.ndim))


def dilate_in_planes(stack: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """Each axial plane of a stack (z, y, x) dilated on its own."""
    return _dilated(stack, _ball(radius_mm, spacing_mm, 2))


def dilate_by_steps(stack: np.ndarray, steps: int) -> np.ndarray:
    """Each axial plane of a stack (z, y, x) dilated so many times by the four neighbours."""
    return _dilated(stack, _diamond(steps))


def erode(mask: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """True farther than `radius_mm` from any False voxel; beyond the array counts as True."""
    return _eroded(mask, _ball(radius_mm, spacing_mm, mask.ndim))


def erode_in_planes(stack: np.ndarray, radius_mm: float, spacing_mm: Spacing) -> np.ndarray:
    """Each axial plane of a stack (z, y, x) eroded on its own."""
    return _eroded(stack, _ball(radius_mm, spacing_mm, 2))


def erode_by_steps(stack: np.ndarray, steps: int) -> np.ndarray:
    """Each axial plane of a stack eroded so many times by the four neighbours and the border."""
    padded = np.pad(~stack, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    return ~_dilated(padded, _diamond(steps))[:, 1:-1, 1:-1]


def open_by_cube(mask: np.ndarray) -> np.ndarray:
    """What cubes of 3×3×3 True voxels (z, y, x) cover; beyond the array is False."""
    cube = {1: [(z, y) for z in (-1, 0, 1) for y in (-1, 0, 1)]}
    padded = np.pad(~mask, 1, constant_values=True)
    return _dilated(~_dilated(padded, cube)[1:-1, 1:-1, 1:-1], cube)


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


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """`mask` with all of the rest that no way along faces leads to from beyond the array."""
    rest, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    return (rest != rest[(0,) * mask.ndim])[(slice(1, -1),) * mask.ndim]


def fill_holes_in_planes(stack: np.ndarray) -> np.ndarray:
    """Each axial plane of a stack (z, y, x) filled on its own."""
    within_planes = np.zeros((3, 3, 3), bool)
    within_planes[1] = ndimage.generate_binary_structure(2, 1)
    widths = ((0, 0), (1, 1), (1, 1))
    rest, _ = ndimage.label(np.pad(~stack, widths, constant_values=True), within_planes)
    return (rest != rest[:, :1, :1])[:, 1:-1, 1:-1]


def component_sizes(components: np.ndarray, count: int) -> np.ndarray:
    """Voxels of each component from 0, the background, to `count`."""
    sizes = np.zeros(count + 1, np.int64)
    # A plane at a time: counting makes eight bytes of each voxel.
    for plane in components:
        found = np.bincount(plane.ravel())
        sizes[: len(found)] += found
    return sizes


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest face-connected part of `mask`."""
    components, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = component_sizes(components, count)
    sizes[0] = 0
    return components == int(sizes.argmax())


def _voxels(radius_mm: float, spacing_mm: Spacing, dimensions: int) -> tuple[int, ...]:
    """`radius_mm` in whole voxels per array axis, one to spare."""
    steps_mm = tuple(reversed(spacing_mm))[-dimensions:]
    return tuple(int(np.ceil(radius_mm / step_mm)) + 1 for step_mm in steps_mm)


def _ball(radius_mm: float, spacing_mm: Spacing, dimensions: int) -> dict[int, list[Offset]]:
    """A ball, or a disc, as runs along x: offsets (z, y) of the runs by half their length."""
    z_mm, y_mm, x_mm = (
        np.arange(-width, width + 1) * step_mm
        for width, step_mm in zip(
            _voxels(radius_mm, spacing_mm, 3), reversed(spacing_mm), strict=True
        )
    )
    if dimensions == 2:
        z_mm = np.zeros(1)
    across_mm2 = z_mm[:, None] ** 2 + y_mm**2
    lengths = (np.sqrt(across_mm2[..., None] + x_mm**2) <= radius_mm).sum(axis=2)
    runs: dict[int, list[Offset]] = {}
    for z, y in np.argwhere(lengths):
        offset = (int(z) - len(z_mm) // 2, int(y) - len(y_mm) // 2)
        runs.setdefault(int(lengths[z, y]) // 2, []).append(offset)
    return runs


def _diamond(steps: int) -> dict[int, list[Offset]]:
    """What so many steps along rows and columns lead to, as runs along x."""
    runs: dict[int, list[Offset]] = {}
    for y in range(-steps, steps + 1):
        runs.setdefault(steps - abs(y), []).append((0, y))
    return runs


def _dilated(mask: np.ndarray, ball: dict[int, list[Offset]]) -> np.ndarray:
    """`mask` dilated by a ball of runs. Eight voxels of a row lie in one byte."""
    reach_z, reach_y = (
        max(abs(offset[axis]) for offsets in ball.values() for offset in offsets)
        for axis in range(2)
    )
    margin = (reach_z, reach_y, max(ball))[-mask.ndim :]
    dilated = mask.copy()
    if not mask.any():
        return dilated
    box = bounding_box(mask, margin)
    rows = mask[box] if mask.ndim == 3 else mask[box][np.newaxis]
    wide = rows.copy()
    grown = np.zeros((*rows.shape[:2], -(-rows.shape[2] // 8)), np.uint8)
    for half in range(max(ball) + 1):
        if half:
            wide[:, :, half:] |= rows[:, :, :-half]
            wide[:, :, :-half] |= rows[:, :, half:]
        if half not in ball:
            continue
        packed = np.packbits(wide, axis=2)
        for offset in ball[half]:
            target, source = _shifted(offset, rows.shape)
            grown[target] |= packed[source]
    unpacked = np.unpackbits(grown, axis=2, count=rows.shape[2]).view(bool)
    dilated[box] = unpacked.reshape(dilated[box].shape)
    return dilated


def _eroded(mask: np.ndarray, ball: dict[int, list[Offset]]) -> np.ndarray:
    eroded = mask.copy()
    if mask.any() and not mask.all():
        box = bounding_box(mask, (1,) * mask.ndim)
        eroded[box] = ~_dilated(~mask[box], ball)
    return eroded


def _shifted(
    offset: Offset, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows (z, y) that an offset moves something to, and the rows it comes from."""
    (to_z, from_z), (to_y, from_y) = (
        (slice(max(by, 0), max(size + by, 0)), slice(max(-by, 0), max(size - by, 0)))
        for by, size in zip(offset, shape[:2], strict=True)
    )
    return (to_z, to_y), (from_z, from_y)
