"""Overlap, volume and surface distances of two masks; numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CovidLungQuantLib.measures.overlap import dice, surface_distances, volume_similarity

UNIT_MM = (1.0, 1.0, 1.0)


def row(*columns: int, length: int = 12) -> np.ndarray:
    """Return one row of voxels along x with the given ones set."""
    mask = np.zeros((1, 1, length), bool)
    mask[0, 0, list(columns)] = True
    return mask


def cube(first_slice: int) -> np.ndarray:
    """Return 5 × 5 × 5 voxels from `first_slice` on."""
    mask = np.zeros((9, 9, 9), bool)
    mask[first_slice : first_slice + 5, 2:7, 2:7] = True
    return mask


def test_dice_counts_what_is_common():
    assert dice(row(0, 1, 2, 3), row(1, 2, 3, 4)) == 0.75
    assert dice(row(0), row(0, 1, 2)) == 0.5
    assert dice(row(0, 1), row(0, 1)) == 1.0
    assert dice(row(0), row(5)) == 0.0
    assert dice(row(), row(5)) == 0.0


def test_volume_similarity_compares_sizes_whatever_the_place():
    assert volume_similarity(row(0, 1, 2), row(5, 6, 7, 8, 9)) == 0.75
    assert volume_similarity(row(0), row(5)) == 1.0
    assert volume_similarity(row(), row(5)) == 0.0


@pytest.mark.parametrize("mask", [row(), row(3)])
def test_an_empty_reference_leaves_all_undefined(mask: np.ndarray):
    assert math.isnan(dice(mask, row()))
    assert math.isnan(volume_similarity(mask, row()))
    distances = surface_distances(mask, row(), UNIT_MM)
    assert math.isnan(distances.hausdorff95_mm) and math.isnan(distances.mean_mm)


def test_an_empty_mask_has_no_surface():
    distances = surface_distances(row(), row(3), UNIT_MM)
    assert math.isnan(distances.hausdorff95_mm) and math.isnan(distances.mean_mm)


def test_equal_masks_have_no_distance():
    distances = surface_distances(cube(2), cube(2), (0.7, 0.7, 5.0))
    assert (distances.hausdorff95_mm, distances.mean_mm) == (0.0, 0.0)


def test_distance_of_two_voxels_is_in_millimetres_along_each_axis():
    first, second = np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    first[0, 0, 0] = second[1, 2, 3] = True
    # 3 voxels of 1 mm, 2 of 2 mm and 1 of 5 mm: √(9 + 16 + 25).
    distances = surface_distances(first, second, (1.0, 2.0, 5.0))
    assert distances.hausdorff95_mm == pytest.approx(math.sqrt(50), rel=1e-12)
    assert distances.mean_mm == pytest.approx(math.sqrt(50), rel=1e-12)


def test_a_row_moved_by_one_voxel():
    distances = surface_distances(row(0, 1, 2, 3), row(1, 2, 3, 4), (2.0, 1.0, 1.0))
    # Each way 0, 0, 0 and 2 mm: the 95th percentile lies 0.85 of the way from 0 to 2.
    assert distances.hausdorff95_mm == pytest.approx(1.7, rel=1e-12)
    assert distances.mean_mm == pytest.approx(0.5, rel=1e-12)


def test_the_larger_direction_counts_for_hausdorff_and_both_for_the_mean():
    for first, second in ((row(0), row(0, 10)), (row(0, 10), row(0))):
        distances = surface_distances(first, second, UNIT_MM)
        assert distances.hausdorff95_mm == pytest.approx(9.5, rel=1e-12)
        assert distances.mean_mm == pytest.approx(10 / 3, rel=1e-12)


def test_only_the_surface_of_a_body_counts():
    # Of 98 surface voxels each way 25 are 3 mm off (the whole end), 8 are 1 mm and 1 is 2 mm off
    # (the other end, inside the other cube), 64 lie on the other surface.
    distances = surface_distances(cube(1), cube(2), (1.0, 1.0, 3.0))
    assert distances.mean_mm == pytest.approx((25 * 3 + 8 * 1 + 2) / 98, rel=1e-12)
    assert distances.hausdorff95_mm == 3.0


def test_a_body_cut_by_the_edge_of_the_array_has_its_surface_there():
    whole = np.ones((3, 3, 3), bool)
    centre = np.zeros((3, 3, 3), bool)
    centre[1, 1, 1] = True
    # 26 surface voxels: 6 at 1, 12 at √2, 8 at √3; back, the centre is 1 from the nearest.
    distances = surface_distances(whole, centre, UNIT_MM)
    expected = (6 + 12 * math.sqrt(2) + 8 * math.sqrt(3) + 1) / 27
    assert distances.mean_mm == pytest.approx(expected, rel=1e-12)
    assert distances.hausdorff95_mm == pytest.approx(math.sqrt(3), rel=1e-12)
