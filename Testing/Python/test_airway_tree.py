"""The airway tree, on drawn branches and on real scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from CovidLungQuantLib.anatomy.airway_tree import (
    basin_depth,
    grow_without_leaks,
    is_leak,
    segment_airways,
)
from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE

SPACING_MM = (1.0, 1.0, 1.0)
LUNG_HU, WALL_HU, LUMEN_HU = -850, -400, -980


def a_lung_with_a_bronchus(hole_in_wall: bool = False) -> tuple[np.ndarray, LungAnatomy]:
    """Return a lung of 40 mm that a walled bronchus crosses; only its top is known as airway.

    The lumen is 4 × 4 voxels wide, its wall one voxel; the lung is as dark as a lumen where
    `hole_in_wall` opens the wall.
    """
    hu = np.full((60, 50, 50), 40, np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[5:45, 5:45, 5:45] = LEFT_LUNG_VALUE
    hu[lungs > 0] = -950 if hole_in_wall else LUNG_HU
    hu[10:60, 20:26, 20:26] = WALL_HU
    hu[11:60, 21:25, 21:25] = LUMEN_HU
    if hole_in_wall:
        hu[20:24, 21:25, 25] = -950
    airways = np.zeros(hu.shape, bool)
    airways[45:, 21:25, 21:25] = True
    return hu, LungAnatomy(lungs, np.ones(hu.shape, bool), airways)


def test_a_basin_is_as_deep_as_its_wall_is_high():
    hu = np.full((5, 30, 30), LUNG_HU, np.int16)
    hu[:, 10:16, 10:16] = WALL_HU
    hu[:, 11:15, 11:15] = LUMEN_HU
    thick_slices_mm = (1.0, 1.0, 6.0)
    depth_hu = basin_depth(hu, thick_slices_mm)
    assert depth_hu[2, 12, 12] == WALL_HU - LUMEN_HU
    assert depth_hu[2, 3, 3] == 0
    hu[:, 12, 15] = -700
    assert basin_depth(hu, thick_slices_mm)[2, 12, 12] == -700 - LUMEN_HU
    # In the planes at right angles the wall is as high as ever.
    assert basin_depth(hu, SPACING_MM)[2, 12, 12] == WALL_HU - LUMEN_HU


def test_a_basin_wider_than_10_mm_is_none():
    hu = np.full((3, 40, 40), WALL_HU, np.int16)
    hu[:, 5:25, 5:25] = LUMEN_HU
    assert basin_depth(hu, SPACING_MM).max() == 0


def test_thick_slices_are_searched_in_the_axial_plane_only():
    hu = np.full((9, 20, 20), WALL_HU, np.int16)
    # Open in the axial plane, closed in the others.
    hu[4] = LUMEN_HU
    assert basin_depth(hu, (1.0, 1.0, 6.0)).max() == 0
    assert basin_depth(hu, SPACING_MM).max() == WALL_HU - LUMEN_HU


def test_the_lumen_is_followed_to_its_end():
    hu, anatomy = a_lung_with_a_bronchus()
    tree = segment_airways(hu, anatomy, SPACING_MM)
    truth = np.zeros(hu.shape, bool)
    truth[11:60, 21:25, 21:25] = True
    assert np.array_equal(tree, truth)


def test_a_hole_in_the_wall_does_not_fill_the_lung():
    hu, anatomy = a_lung_with_a_bronchus(hole_in_wall=True)
    tree = segment_airways(hu, anatomy, SPACING_MM)
    assert (tree & (hu == -950)).sum() < 100
    assert tree[25:45, 21:25, 21:25].all()


def test_without_a_trachea_there_is_no_tree():
    hu, anatomy = a_lung_with_a_bronchus()
    none = LungAnatomy(anatomy.lungs, anatomy.body, np.zeros_like(anatomy.airways))
    assert not segment_airways(hu, none, SPACING_MM).any()


def test_the_anatomy_given_is_left_alone():
    hu, anatomy = a_lung_with_a_bronchus()
    before = anatomy.airways.copy()
    segment_airways(hu, anatomy, SPACING_MM)
    assert np.array_equal(anatomy.airways, before)


def test_what_widens_is_a_leak_and_a_tube_is_none():
    tree = np.zeros((40, 40, 40), bool)
    tree[:, :4, 18:22] = True
    tube = np.zeros_like(tree)
    tube[18:22, 4:35, 18:22] = True
    assert not is_leak(tube, tree, SPACING_MM)
    widening = tube.copy()
    widening[12:28, 20:35, 12:28] = True
    assert is_leak(widening, tree, SPACING_MM)


def test_a_leak_is_left_out_and_its_neighbour_grows():
    tree = np.zeros((40, 40, 80), bool)
    tree[18:22, :4, :] = True
    lumen = np.zeros_like(tree)
    lumen[18:22, 4:30, 10:14] = True
    leak = np.zeros_like(tree)
    leak[19:21, 4:10, 60:62] = True
    leak[8:32, 10:30, 45:75] = True
    grown = tree.copy()
    grow_without_leaks(grown, lumen | leak, SPACING_MM)
    assert np.array_equal(grown, tree | lumen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "smallest_ml", "largest_in_lungs_ml"),
    [
        ("unlabelled/lidc_0002/ct.nrrd", 35.0, 20.0),
        ("labelled/covid01/ct.nrrd", 35.0, 12.0),
        ("labelled/covid13/ct.nrrd", 9.0, 5.0),
    ],
)
def test_the_tree_of_real_scans_is_large_whole_and_without_leak(
    test_data: Path, name: str, smallest_ml: float, largest_in_lungs_ml: float
):
    ct, _ = lps_oriented(read_ct(test_data / name))
    spacing_mm = ct.geometry.spacing_mm
    anatomy = segment_lungs(ct.hu, spacing_mm)
    tree = segment_airways(ct.hu, anatomy, spacing_mm)
    voxel_ml = ct.geometry.voxel_volume_ml
    assert tree.sum() * voxel_ml >= smallest_ml
    assert (tree & (anatomy.lungs > 0)).sum() * voxel_ml <= largest_in_lungs_ml
    assert np.array_equal(tree & anatomy.airways, anatomy.airways)
    components, count = ndimage.label(tree, np.ones((3, 3, 3)))
    assert np.bincount(components.ravel())[1:].max() >= 0.99 * tree.sum(), count
    # Nothing in the lungs is thicker than a lobar bronchus.
    inside = tree & (anatomy.lungs > 0)
    depth_mm = ndimage.distance_transform_edt(inside, sampling=spacing_mm[::-1])
    assert depth_mm.max() <= 7.0
