"""Whether two grids share their voxels: one question, one tolerance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.files.grids import (
    LATTICE_TOLERANCE_VOXELS,
    is_same_grid,
    overlapping_slices,
    voxel_shift,
    whole_voxel_map,
)

SIZE = (100, 100, 50)
GRID = Geometry(SIZE[::-1], (0.7, 0.7, 2.0), (1.0, 2.0, 3.0), np.eye(3))


def shifted(*voxels: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = voxels
    return matrix


def test_a_shift_by_whole_voxels_is_found():
    assert voxel_shift(shifted(3.0, -2.0, 0.01), SIZE) == (3, -2, 0)


@pytest.mark.parametrize("axis", range(3))
def test_the_voxel_that_is_furthest_off_decides(axis):
    off = np.zeros(3)
    off[axis] = 0.6 * LATTICE_TOLERANCE_VOXELS
    matrix = shifted(*off)
    assert whole_voxel_map(matrix, SIZE) is not None
    # The same again at the far corner, from a voxel size that differs a little.
    matrix[axis, axis] += off[axis] / SIZE[axis]
    assert whole_voxel_map(matrix, SIZE) is None


def test_exchanged_and_flipped_axes_are_a_lattice_but_no_shift():
    matrix = np.eye(4)[[1, 0, 2, 3]] * np.array([[1.0], [-1.0], [1.0], [1.0]])
    np.testing.assert_array_equal(whole_voxel_map(matrix, SIZE), matrix)
    assert voxel_shift(matrix, SIZE) is None


@pytest.mark.parametrize("scale", [0.0, 2.0, np.nan])
def test_other_voxel_sizes_are_no_lattice(scale):
    assert whole_voxel_map(np.diag([scale, 1.0, 1.0, 1.0]), SIZE) is None


def test_the_same_grid_holds_the_same_voxels_in_the_same_order():
    assert is_same_grid(GRID, GRID)
    assert is_same_grid(GRID, replace(GRID, origin_mm=(1.001, 2.0, 3.0)))
    for other in (
        replace(GRID, shape=(50, 100, 99)),
        replace(GRID, origin_mm=(1.7, 2.0, 3.0)),
        replace(GRID, direction=np.diag([-1.0, 1.0, 1.0])),
        replace(GRID, spacing_mm=(0.701, 0.7, 2.0)),
    ):
        assert not is_same_grid(GRID, other)


def test_what_two_arrays_share_is_the_same_box_in_both():
    assert overlapping_slices((2, -1), (5, 5), (6, 3)) == (
        (slice(2, 6), slice(0, 3)),
        (slice(0, 4), slice(1, 4)),
    )
    nothing, _ = overlapping_slices((10,), (5,), (6,))
    assert len(range(6)[nothing[0]]) == 0
