"""The density of the pulmonary artery, measured in heart and great vessels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.anatomy.pulmonary_artery import ArteryEstimate, estimate_pulmonary_artery_hu
from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE

SPACING_MM = (4.0, 4.0, 4.0)
SHAPE = (40, 60, 80)


def a_mediastinum(blood_hu: int, fat: bool = True) -> tuple[np.ndarray, LungAnatomy]:
    """Return a chest of 4 mm voxels: a blood-filled block in fat between two lungs.

    The airway is one from slice 24 upwards and two at slice 23, the carina; the spine of 300 HU
    lies behind it.
    """
    hu = np.full(SHAPE, 60, np.int16)
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[2:38, 10:50, 8:30] = RIGHT_LUNG_VALUE
    lungs[2:38, 10:50, 50:72] = LEFT_LUNG_VALUE
    hu[lungs > 0] = -850
    if fat:
        hu[2:38, 10:50, 30:50] = -105
    hu[6:24, 14:30, 33:47] = blood_hu
    hu[:, 40:55, 34:46] = 300
    airways = np.zeros(SHAPE, bool)
    airways[24:, 33:37, 38:42] = True
    airways[23, 33:37, 33:37] = True
    airways[23, 33:37, 43:47] = True
    hu[airways] = -980
    return hu, LungAnatomy(lungs=lungs, body=np.ones(SHAPE, bool), airways=airways)


def codes(estimate: ArteryEstimate) -> list[str]:
    return [warning.code for warning in estimate.warnings]


@pytest.mark.parametrize("blood_hu", [20, 42, 70])
def test_the_blood_between_the_lungs_is_measured(blood_hu: int):
    hu, anatomy = a_mediastinum(blood_hu)
    estimate = estimate_pulmonary_artery_hu(hu, anatomy, SPACING_MM)
    assert estimate.hu == blood_hu
    # The band of 11 slices, less about 8 mm on each side of the 16 × 14 voxels of blood.
    assert 11 * 12 * 10 * 0.064 <= estimate.core_ml <= 11 * 14 * 12 * 0.064
    assert codes(estimate) == []


def test_without_an_airway_the_usual_height_of_the_carina_is_taken():
    hu, anatomy = a_mediastinum(42)
    nothing = np.zeros_like(anatomy.airways)
    without = LungAnatomy(lungs=anatomy.lungs, body=anatomy.body, airways=nothing)
    assert estimate_pulmonary_artery_hu(hu, without, SPACING_MM).hu == 42


def test_contrast_medium_is_said():
    hu, anatomy = a_mediastinum(330)
    estimate = estimate_pulmonary_artery_hu(hu, anatomy, SPACING_MM)
    assert estimate.hu == 330
    assert codes(estimate) == ["artery_enhanced"]
    assert "contrast" in estimate.warnings[0].message


def test_blood_darker_than_water_is_said():
    hu, anatomy = a_mediastinum(-12)
    estimate = estimate_pulmonary_artery_hu(hu, anatomy, SPACING_MM)
    assert estimate.hu == -12
    assert codes(estimate) == ["artery_hu_unusual"]
    assert "−12 HU" in estimate.warnings[0].message


def test_where_nothing_is_found_the_assumption_is_said():
    hu, anatomy = a_mediastinum(-105)
    estimate = estimate_pulmonary_artery_hu(hu, anatomy, SPACING_MM)
    assert (estimate.hu, estimate.core_ml) == (40.0, 0.0)
    assert codes(estimate) == ["artery_not_found"]


def test_one_lung_alone_gives_no_artery():
    hu, anatomy = a_mediastinum(42)
    lungs = np.where(anatomy.lungs == LEFT_LUNG_VALUE, anatomy.lungs, 0).astype(np.uint8)
    one = LungAnatomy(lungs=lungs, body=anatomy.body, airways=anatomy.airways)
    assert codes(estimate_pulmonary_artery_hu(hu, one, SPACING_MM)) == ["artery_not_found"]


def test_real_blood_is_about_40_hu_without_contrast_medium(test_data: Path):
    ct, _ = lps_oriented(read_ct(test_data / "unlabelled" / "pneumonia_cap002" / "ct.nrrd"))
    # Every other voxel is enough and much quicker.
    hu = np.ascontiguousarray(ct.hu[::2, ::2, ::2])
    spacing_mm = tuple(2 * size for size in ct.geometry.spacing_mm)
    estimate = estimate_pulmonary_artery_hu(hu, segment_lungs(hu, spacing_mm), spacing_mm)
    assert 25 <= estimate.hu <= 60
    assert estimate.core_ml > 20
    assert codes(estimate) == []
