"""Morphology in millimetres, against distances and by hand; and means and highest of blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from CovidLungQuantLib.anatomy.grids import CoarseGrid
from CovidLungQuantLib.anatomy.morphology import (
    bounding_box,
    component_sizes,
    dilate,
    dilate_by_steps,
    dilate_in_planes,
    erode,
    erode_by_steps,
    erode_in_planes,
    fill_holes,
    fill_holes_in_planes,
    open_by_cube,
)

SPACING_MM = (0.7, 1.5, 2.5)


def random_mask(share: float, shape: tuple[int, ...] = (9, 17, 23)) -> np.ndarray:
    return np.random.default_rng(7).random(shape) < share


def distance_mm(mask: np.ndarray) -> np.ndarray:
    """Millimetres to the nearest False voxel."""
    return ndimage.distance_transform_edt(mask, sampling=SPACING_MM[::-1][-mask.ndim :])


@pytest.mark.parametrize("radius_mm", [0.3, 0.7, 2.1, 2.5, 5.0, 12.0])
@pytest.mark.parametrize("share", [0.004, 0.5, 0.996])
@pytest.mark.parametrize("shape", [(9, 17, 23), (17, 23), (1, 1, 8), (2, 9, 1)])
def test_dilating_and_eroding_is_what_distances_say(
    radius_mm: float, share: float, shape: tuple[int, ...]
):
    mask = random_mask(share, shape)
    if mask.any():
        np.testing.assert_array_equal(
            dilate(mask, radius_mm, SPACING_MM), distance_mm(~mask) <= radius_mm
        )
    if not mask.all():
        np.testing.assert_array_equal(
            erode(mask, radius_mm, SPACING_MM), distance_mm(mask) > radius_mm
        )


def test_a_voxel_becomes_a_ball_that_ends_at_the_array():
    mask = np.zeros((3, 5, 20), bool)
    mask[0, 2, 0] = True
    ball = dilate(mask, 2.0, (1.0, 1.0, 1.0))
    assert ball[0, 2, :4].tolist() == [True, True, True, False]
    assert ball[0, :, 0].all() and ball[:, 2, 0].all()
    assert ball[1, 3].tolist() == [True, True] + [False] * 18
    # Halves of the discs of 13 and of 9 cells, and the tip.
    assert [plane.sum() for plane in ball] == [9, 6, 1]


def test_nothing_stays_nothing_and_all_stays_all():
    empty, full = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    for change in (dilate, erode, dilate_in_planes, erode_in_planes):
        assert not change(empty, 3.0, SPACING_MM).any()
        assert change(full, 3.0, SPACING_MM).all()


def test_planes_do_not_see_each_other():
    mask = random_mask(0.6)
    for in_planes, alone in ((dilate_in_planes, dilate), (erode_in_planes, erode)):
        planes = np.stack([alone(plane, 2.5, SPACING_MM) for plane in mask])
        np.testing.assert_array_equal(in_planes(mask, 2.5, SPACING_MM), planes)
    np.testing.assert_array_equal(
        fill_holes_in_planes(mask), np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_steps_go_to_the_four_neighbours(steps: int):
    cross = ndimage.generate_binary_structure(2, 1)[np.newaxis]
    few, many = random_mask(0.02), random_mask(0.98)
    np.testing.assert_array_equal(
        dilate_by_steps(few, steps), ndimage.binary_dilation(few, cross, iterations=steps)
    )
    np.testing.assert_array_equal(
        erode_by_steps(many, steps), ndimage.binary_erosion(many, cross, iterations=steps)
    )


def test_holes_are_what_no_way_leads_to():
    box = np.ones((5, 5, 5), bool)
    box[2, 2, 2] = False
    assert fill_holes(box).all()
    box[2, 2, :3] = False
    assert fill_holes(box).sum() == 125 - 3
    np.testing.assert_array_equal(
        fill_holes(random_mask(0.8)), ndimage.binary_fill_holes(random_mask(0.8))
    )


def test_opening_leaves_what_cubes_cover():
    mask = random_mask(0.97)
    np.testing.assert_array_equal(
        open_by_cube(mask), ndimage.binary_opening(mask, np.ones((3, 3, 3)))
    )


def test_bounding_box_and_sizes_of_components():
    mask = np.zeros((4, 6, 8), bool)
    mask[1, 2:4, 5] = mask[3, 0, 0] = True
    assert bounding_box(mask) == (slice(1, 4), slice(0, 4), slice(0, 6))
    assert bounding_box(mask, (2, 0, 9)) == (slice(0, 4), slice(0, 4), slice(0, 8))
    assert bounding_box(mask[1], (0, 0)) == (slice(2, 4), slice(5, 6))
    assert bounding_box(np.zeros((2, 3), bool)) == (slice(0, 2), slice(0, 3))
    parts, count = ndimage.label(mask)
    assert component_sizes(parts, count).tolist() == [4 * 6 * 8 - 3, 2, 1]


def test_blocks_at_the_end_hold_fewer_voxels():
    grid = CoarseGrid.of((3, 3, 5), (1.0, 1.0, 1.0), 2.0, 2.0)
    fine = np.arange(45, dtype=np.int16).reshape(3, 3, 5)
    assert grid.shape == (2, 2, 3)
    # Rows and columns that stick out go on as they end, slices do not.
    assert grid.reduce(fine)[0, 0].tolist() == [10.5, 12.5, 14.0]
    assert grid.reduce(fine)[1, 1].tolist() == [40.5, 42.5, 44.0]
    assert grid.reduce_to_maximum(fine)[0, 0].tolist() == [21, 23, 24]
    assert grid.reduce(fine).dtype == np.float32
    assert grid.reduce_to_maximum(fine).dtype == np.int16


def test_interpolation_is_linear_between_the_centres_of_blocks():
    grid = CoarseGrid.of((4, 6, 6), (1.0, 1.0, 1.0), 2.0, 2.0)
    rows = grid.interpolation(1, slice(0, 6), slice(0, 3))
    plane = np.array([[0.0], [4.0], [8.0]], np.float32)
    assert rows.of(plane, 0)[:, 0].tolist() == [0.0, 1.0, 3.0, 5.0, 7.0, 8.0]
    # Beyond the part of blocks that is looked at lies 0.
    part = grid.interpolation(1, slice(1, 4), slice(1, 2))
    assert part.of(plane[1:2], 0)[:, 0].tolist() == [1.0, 3.0, 3.0]
    stack = np.array([[[2.0]], [[6.0]]], np.float32)
    along = grid.interpolation(0, slice(0, 4), slice(0, 2))
    assert [along.at(stack, index)[0, 0] for index in range(4)] == [2.0, 3.0, 5.0, 6.0]
