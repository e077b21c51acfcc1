"""Turning a scan upright and back, without touching a value.

Upright is x→Left, y→Posterior, z→Superior (LPS), to the nearest axes: an oblique scan stays
oblique. Only axes are exchanged and flipped, so every voxel survives exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from CovidLungQuantLib.ct.volume import CTVolume, Geometry


@dataclass(frozen=True)
class Orientation:
    """How an array (z, y, x) was turned upright.

    Attributes:
        axes: axis of the stored array that became axis 0, 1, 2 of the upright one.
        flipped: whether upright axis 0, 1, 2 runs against the stored axis it came from.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]


def lps_oriented(ct: CTVolume) -> tuple[CTVolume, Orientation]:
    """Return the scan with upright axes, and how to get back with `restore_orientation`."""
    orientation = orientation_of(ct.geometry)
    upright = replace(
        ct,
        hu=orient_like(ct.hu, orientation),
        geometry=oriented_geometry(ct.geometry, orientation),
    )
    return upright, orientation


def orient_like(array: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Turn an array (z, y, x) of the stored grid upright."""
    return np.ascontiguousarray(
        np.flip(array.transpose(orientation.axes), _flipped_axes(orientation))
    )


def restore_orientation(array: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Turn an upright array (z, y, x) back to the stored grid; undoes `orient_like`."""
    unflipped = np.flip(array, _flipped_axes(orientation))
    return np.ascontiguousarray(unflipped.transpose(np.argsort(orientation.axes)))


def oriented_geometry(geometry: Geometry, orientation: Orientation) -> Geometry:
    """Return the geometry of the array that `orient_like` gives; no voxel moves in the world."""
    # Indices and directions count x, y, z; array axes count z, y, x.
    i, j, k = columns = [2 - orientation.axes[2 - column] for column in range(3)]
    signs = np.array([-1.0 if orientation.flipped[2 - column] else 1.0 for column in range(3)])
    sizes = np.array(geometry.shape[::-1])
    first_voxel = np.zeros(3)
    for column, sign in zip(columns, signs, strict=True):
        first_voxel[column] = sizes[column] - 1 if sign < 0 else 0
    x_mm, y_mm, z_mm, _ = (geometry.ijk_to_lps @ np.append(first_voxel, 1.0)).tolist()
    z_axis, y_axis, x_axis = orientation.axes
    return Geometry(
        shape=(geometry.shape[z_axis], geometry.shape[y_axis], geometry.shape[x_axis]),
        spacing_mm=(geometry.spacing_mm[i], geometry.spacing_mm[j], geometry.spacing_mm[k]),
        origin_mm=(x_mm, y_mm, z_mm),
        # + 0.0 turns −0.0 into 0.0.
        direction=np.asarray(geometry.direction, dtype=float)[:, columns] * signs + 0.0,
    )


def orientation_of(geometry: Geometry) -> Orientation:
    """Return how arrays of this geometry are turned upright."""
    direction = np.asarray(geometry.direction, dtype=float)
    i, j, k = max(
        permutations(range(3)),
        key=lambda order: sum(abs(direction[row, column]) for row, column in enumerate(order)),
    )
    x_flipped, y_flipped, z_flipped = (
        bool(direction[row, column] < 0) for row, column in enumerate((i, j, k))
    )
    return Orientation(
        axes=(2 - k, 2 - j, 2 - i),
        flipped=(z_flipped, y_flipped, x_flipped),
    )


def _flipped_axes(orientation: Orientation) -> tuple[int, ...]:
    return tuple(axis for axis, is_flipped in enumerate(orientation.flipped) if is_flipped)
