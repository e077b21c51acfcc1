"""Whether two grids share their voxels, and putting labels of one grid onto the other.

Nothing is resampled here: grids may be cropped, flipped or permuted against each other, no more.
"""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import BACKGROUND_VALUE

# Two grids are the same lattice if no voxel centre is further off than this part of a voxel along
# any axis: above the rounding of the 32-bit headers of NIfTI, far below anything that moves a
# number.
LATTICE_TOLERANCE_VOXELS = 0.05


def whole_voxel_map(to_other: np.ndarray, size_xyz: tuple[int, ...]) -> np.ndarray | None:
    """Return how the voxels of one grid lie on those of another, None if they do not coincide.

    Args:
        to_other: 4×4 matrix from voxel index (x, y, z) of the grid to that of the other.
        size_xyz: number of voxels of the grid along x, y, z.

    Returns:
        `to_other` in whole numbers: axes are exchanged, flipped and shifted, nothing else.
    """
    whole = np.rint(to_other)
    furthest_off = np.abs(to_other - whole)[:3] @ np.array([*size_xyz, 1.0])
    # Asked this way round, NaN is no lattice.
    if not (furthest_off <= LATTICE_TOLERANCE_VOXELS).all():
        return None
    used = np.abs(whole[:3, :3])
    if not ((used.sum(axis=0) == 1).all() and (used.sum(axis=1) == 1).all()):
        return None
    return whole


def voxel_shift(to_other: np.ndarray, size_xyz: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return the whole-voxel shift (x, y, z) to another grid of the same axes.

    Arguments as of `whole_voxel_map`; None if the voxels do not coincide or the axes differ.
    """
    whole = whole_voxel_map(to_other, size_xyz)
    if whole is None or not np.array_equal(whole[:3, :3], np.eye(3)):
        return None
    x, y, z = (int(value) for value in whole[:3, 3])
    return x, y, z


def is_same_grid(grid: Geometry, other: Geometry) -> bool:
    """Return whether two arrays of these geometries hold the same voxels in the same order."""
    shift = voxel_shift(_index_map(grid, other), grid.shape[::-1])
    return grid.shape == other.shape and shift == (0, 0, 0)


def overlapping_slices(
    shift: tuple[int, ...], shape: tuple[int, ...], other_shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the box that two arrays of the same axes share.

    Args:
        shift: index of the first array's first voxel in the other one.
        shape: of the first array.
        other_shape: of the other one.

    Returns:
        the slices in the other array, and those in the first; empty where nothing is shared.
    """
    in_other, in_first = [], []
    for offset, size, other_size in zip(shift, shape, other_shape, strict=True):
        start = min(max(offset, 0), other_size)
        stop = max(min(offset + size, other_size), start)
        in_other.append(slice(start, stop))
        in_first.append(slice(start - offset, stop - offset))
    return tuple(in_other), tuple(in_first)


def place_labels(labels: np.ndarray, grid: Geometry, scan: Geometry, file_name: str) -> np.ndarray:
    """Put labels of one grid onto the voxels of a scan, which must coincide with them.

    Args:
        labels: uint8 (z, y, x) on `grid`.
        grid: of `labels`; may be cropped, flipped or permuted against the scan's.
        scan: the grid to put them on.
        file_name: what to call the labels in messages.

    Returns:
        uint8 (z, y, x) on the grid of `scan`.

    Raises:
        BadInputError: the voxels do not coincide, or something labelled lies outside the scan.
    """
    whole = whole_voxel_map(_index_map(grid, scan), grid.shape[::-1])
    if whole is None:
        raise BadInputError(
            f"{file_name} does not lie on the voxels of the scan (it has another position, spacing "
            "or direction); give the segmentation of this scan, or resample it onto the scan first."
        )
    axes = whole[:3, :3].astype(int)
    # Axis k of the scan (x, y, z) runs along axis `source[k]` of the grid; the same in array order.
    source = np.abs(axes).argmax(axis=1)
    turned = labels.transpose([2 - source[2 - axis] for axis in range(3)])
    flipped = [axis for axis in range(3) if axes[2 - axis].sum() < 0]
    turned = np.flip(turned, tuple(flipped))
    first = whole[:3, 3].astype(int)[::-1]
    for axis in flipped:
        first[axis] -= turned.shape[axis] - 1
    placed = np.full(scan.shape, BACKGROUND_VALUE, dtype=np.uint8)
    inside, part = overlapping_slices(tuple(first.tolist()), turned.shape, scan.shape)
    placed[inside] = turned[part]
    if np.count_nonzero(placed) != np.count_nonzero(turned):
        raise BadInputError(
            f"{file_name} has labelled voxels outside the scan; give the segmentation of this scan."
        )
    return placed


def _index_map(grid: Geometry, other: Geometry) -> np.ndarray:
    """4×4 matrix from voxel index (x, y, z) of one grid to that of another."""
    return np.linalg.inv(other.ijk_to_lps) @ grid.ijk_to_lps
