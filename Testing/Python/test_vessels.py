"""Vessels inside the lungs, on drawn tubes, sheets and balls and on real scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.anatomy.vessels import hessians, segment_vessels
from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE

SIZE = 60
LUNG_HU = -850.0


def a_lung(spacing_mm: tuple[float, float, float]) -> tuple[np.ndarray, LungAnatomy, tuple]:
    """Return an empty lung of 60 mm in tissue, and its coordinates (z, y, x) in mm."""
    shape = tuple(round(SIZE / size) for size in reversed(spacing_mm))
    coordinates = tuple(
        (np.arange(count) + 0.5) * size
        for count, size in zip(shape, reversed(spacing_mm), strict=True)
    )
    grid = np.meshgrid(*coordinates, indexing="ij")
    inside = np.ones(shape, bool)
    for axis in grid:
        inside &= (axis > 8) & (axis < SIZE - 8)
    hu = np.where(inside, LUNG_HU, 40.0)
    lungs = np.where(inside, LEFT_LUNG_VALUE, 0).astype(np.uint8)
    anatomy = LungAnatomy(lungs, np.ones(shape, bool), np.zeros(shape, bool))
    return hu, anatomy, tuple(grid)


def draw(hu: np.ndarray, distance_mm: np.ndarray, radius_mm: float, value_hu: float = 40.0):
    """Paint what is nearer than a radius, with an edge a millimetre wide as scanners make it."""
    share = np.clip(radius_mm - distance_mm + 0.5, 0.0, 1.0)
    return hu + share * (value_hu - hu)


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 1.0), (1.2, 1.2, 2.5), (0.8, 0.8, 6.0)])
@pytest.mark.parametrize("radius_mm", [1.5, 3.0])
def test_tubes_across_and_along_the_slices_are_found_and_nothing_else(spacing_mm, radius_mm):
    hu, anatomy, (z, y, x) = a_lung(spacing_mm)
    upright_mm = np.hypot(x - 20, y - 20)
    # Lying in the middle of a slice, as thick slices would halve its density otherwise.
    height_mm = (np.floor(40 / spacing_mm[2]) + 0.5) * spacing_mm[2]
    lying_mm = np.hypot(z - height_mm, y - 42)
    hu = draw(draw(hu, upright_mm, radius_mm), lying_mm, radius_mm).astype(np.int16)
    vessels = segment_vessels(hu, anatomy, spacing_mm)
    lung = anatomy.lungs > 0
    deep = lung & (z > 14) & (z < 46) & (x > 14) & (x < 46)
    assert vessels[deep & (upright_mm < 0.5 * radius_mm)].mean() > 0.95
    assert vessels[deep & (lying_mm < 0.5 * radius_mm)].mean() > 0.95
    far = (upright_mm > radius_mm + 2) & (lying_mm > radius_mm + max(2.0, spacing_mm[2]))
    assert not (vessels & far).any()
    assert not (vessels & ~lung).any()


def test_a_fissure_is_no_vessel():
    hu, anatomy, (_, y, _) = a_lung((0.8, 0.8, 1.0))
    hu = draw(hu, np.abs(y - 30), 0.8, -500.0).astype(np.int16)
    assert not segment_vessels(hu, anatomy, (0.8, 0.8, 1.0)).any()


def test_ground_glass_and_consolidation_are_not_swallowed():
    hu, anatomy, (z, y, x) = a_lung((0.8, 0.8, 1.0))
    for centre_x, value_hu in ((20, -550.0), (40, 0.0)):
        distance_mm = np.sqrt((x - centre_x) ** 2 + (y - 30) ** 2 + (z - 30) ** 2)
        hu = draw(hu, distance_mm, 9.0, value_hu)
    vessels = segment_vessels(hu.astype(np.int16), anatomy, (0.8, 0.8, 1.0))
    lesion = (anatomy.lungs > 0) & (hu > -700)
    assert vessels[lesion].mean() < 0.03


def test_noise_alone_makes_no_vessels():
    hu, anatomy, _ = a_lung((0.8, 0.8, 1.0))
    noisy = hu + np.random.default_rng(0).normal(0, 60, hu.shape)
    vessels = segment_vessels(noisy.astype(np.int16), anatomy, (0.8, 0.8, 1.0))
    assert vessels[anatomy.lungs > 0].mean() < 0.002


def test_a_scan_without_lungs_has_no_vessels():
    hu, anatomy, _ = a_lung((1.2, 1.2, 2.5))
    none = LungAnatomy(np.zeros_like(anatomy.lungs), anatomy.body, anatomy.airways)
    assert not segment_vessels(hu.astype(np.int16), none, (1.2, 1.2, 2.5)).any()


def test_both_lungs_are_searched():
    hu, anatomy, (_, y, x) = a_lung((1.0, 1.0, 1.0))
    hu = draw(draw(hu, np.hypot(x - 18, y - 30), 1.5), np.hypot(x - 42, y - 30), 1.5)
    lungs = np.where((anatomy.lungs > 0) & (x < 30), RIGHT_LUNG_VALUE, anatomy.lungs)
    both = LungAnatomy(lungs.astype(np.uint8), anatomy.body, anatomy.airways)
    vessels = segment_vessels(hu.astype(np.int16), both, (1.0, 1.0, 1.0))
    assert vessels[30, 30, 18]
    assert vessels[30, 30, 42]


def test_eigenvalues_of_a_parabola_are_its_curvatures():
    spacing_mm = (1.0, 2.0, 3.0)
    z, y, x = np.meshgrid(np.arange(9) * 3.0, np.arange(9) * 2.0, np.arange(9) * 1.0, indexing="ij")
    values = (-1.5 * x**2 - 2.0 * y**2 + 0.5 * z**2).astype(np.float32)
    where = np.array([(4 * 9 + 4) * 9 + 4])
    eigenvalues = np.linalg.eigvalsh(hessians(values, where, 2.0, spacing_mm))[0]
    # Second derivatives −3, −4 and 1 times σ² + voxel²/12.
    expected = [-4 * (4 + 4 / 12), -3 * (4 + 1 / 12), 1 * (4 + 9 / 12)]
    assert eigenvalues == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal_001", "lidc_0001"])
def test_vessels_of_normal_lungs_are_2_to_6_percent(test_data: Path, name: str):
    ct, _ = lps_oriented(read_ct(test_data / "unlabelled" / name / "ct.nrrd"))
    spacing_mm = ct.geometry.spacing_mm
    anatomy = segment_lungs(ct.hu, spacing_mm)
    vessels = segment_vessels(ct.hu, anatomy, spacing_mm)
    lung = anatomy.lungs > 0
    assert not (vessels & ~lung).any()
    assert 0.02 <= vessels[lung].mean() <= 0.06
    # Vessels thin out from the middle of the body outwards.
    middle_x = np.nonzero(lung.any(axis=(0, 1)))[0].mean()
    off_mm = np.abs(np.arange(lung.shape[2]) - middle_x) * spacing_mm[0]
    inner, outer = lung & (off_mm < 70), lung & (off_mm >= 100)
    assert vessels[inner].mean() > 2 * vessels[outer].mean()
