"""Lung without air: how much, on which side, and whether it looks like fluid."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.airless_lung import airless_lungs, airless_warning
from CovidLungQuantLib.anatomy.lung_agreement import JoinedLungs
from CovidLungQuantLib.anatomy.lung_network import (
    ELSEWHERE_CLASS,
    GAS_CLASS,
    PNEUMOTHORAX_CLASS,
)
from CovidLungQuantLib.anatomy.lungs import left_out_warnings
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE

SPACING_MM = (1.5, 1.5, 3.0)
VOXEL_ML = 1.5 * 1.5 * 3.0 / 1000
SHAPE = (40, 80, 120)
RIGHT = np.s_[4:36, 10:70, 10:50]
LEFT = np.s_[4:36, 10:70, 70:110]
BEHIND = np.s_[4:36, 50:70, 10:50]
BEFORE = np.s_[4:36, 10:30, 10:50]
BEHIND_ML = 32 * 20 * 40 * VOXEL_ML


def a_chest() -> tuple[np.ndarray, np.ndarray]:
    """HU of two lungs in tissue, and the lungs."""
    hu = np.full(SHAPE, 40, np.int16)
    lungs = np.zeros(SHAPE, np.uint8)
    for part, value in ((RIGHT, RIGHT_LUNG_VALUE), (LEFT, LEFT_LUNG_VALUE)):
        hu[part] = -850
        lungs[part] = value
    return hu, lungs


def airless_in(place: tuple[slice, ...]) -> np.ndarray:
    airless = np.zeros(SHAPE, bool)
    airless[place] = True
    return airless


def noise(place: tuple[slice, ...], sd_hu: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, sd_hu, airless_in(place)[place].shape)


def test_thin_even_and_behind_is_fluid_in_spite_of_noise():
    hu, lungs = a_chest()
    hu[BEHIND] = np.rint(8 + noise(BEHIND, 25.0))
    (found,) = airless_lungs(hu, airless_in(BEHIND), lungs, SPACING_MM)
    assert found.region == "right lung"
    assert found.volume_ml == pytest.approx(BEHIND_ML)
    assert found.median_hu == pytest.approx(8, abs=1)
    assert found.looks_like_fluid
    warning = airless_warning(found)
    assert warning.code == "fluid_counted_as_lung"
    assert warning.message.startswith(f"{BEHIND_ML:.0f} mL of the right lung hold no air")
    assert "(8 HU)" in warning.message and "effusion" in warning.message


@pytest.mark.parametrize(
    ("place", "level_hu", "bronchi"),
    [(BEHIND, 45, False), (BEFORE, 8, False), (BEHIND, 8, True)],
    ids=["as dense as tissue", "in front", "with bronchi"],
)
def test_anything_else_is_not_told_apart(place, level_hu, bronchi):
    hu, lungs = a_chest()
    hu[place] = level_hu
    if bronchi:
        hu[place][:, ::6] = -700
    (found,) = airless_lungs(hu, airless_in(place), lungs, SPACING_MM)
    assert not found.looks_like_fluid
    warning = airless_warning(found)
    assert warning.code == "airless_lung_counted"
    assert "not told apart" in warning.message


def test_each_lung_is_measured_by_itself_and_little_is_not_told():
    hu, lungs = a_chest()
    both = np.s_[4:36, 60:70, 10:110]
    hu[both] = 50
    found = airless_lungs(hu, airless_in(both) & (lungs > 0), lungs, SPACING_MM)
    assert [part.region for part in found] == ["right lung", "left lung"]
    assert [part.volume_ml for part in found] == [pytest.approx(32 * 10 * 40 * VOXEL_ML)] * 2
    little = airless_in(np.s_[4:11, 60:70, 10:20])
    assert airless_lungs(hu, little, lungs, SPACING_MM) == ()


def test_lung_with_air_that_the_threshold_missed_is_said_to_be_that():
    hu, lungs = a_chest()
    (found,) = airless_lungs(hu, airless_in(BEHIND), lungs, SPACING_MM)
    warning = airless_warning(found)
    assert warning.code == "lung_added"
    assert "no air" not in warning.message


def test_a_part_too_small_to_judge_is_counted_but_not_named():
    hu, lungs = a_chest()
    small = np.s_[4:20, 60:70, 10:25]
    hu[small] = 8
    (found,) = airless_lungs(hu, airless_in(small), lungs, SPACING_MM)
    assert math.isnan(found.median_hu)
    assert not found.looks_like_fluid


def joined_without(removed: np.ndarray) -> JoinedLungs:
    nothing = np.zeros(removed.shape, np.uint8)
    return JoinedLungs(nothing, nothing > 0, removed, nothing)


def test_everything_that_is_left_out_is_told():
    removed = np.zeros((40, 50, 60), np.uint8)
    cubic_cm = 1000  # voxels of 1 mm
    removed.reshape(-1)[: 20 * cubic_cm] = GAS_CLASS + 1
    removed.reshape(-1)[20 * cubic_cm : 26 * cubic_cm] = PNEUMOTHORAX_CLASS + 1
    removed.reshape(-1)[26 * cubic_cm : 30 * cubic_cm] = ELSEWHERE_CLASS + 1
    told = list(left_out_warnings(joined_without(removed), (1.0, 1.0, 1.0)))
    assert [warning.code for warning in told] == ["gas_left_out", "pneumothorax_left_out"]
    # 4 mL of tissue are too little for a sentence of their own.
    assert ["(24 mL)" in told[0].message, "(6 mL)" in told[1].message] == [True, True]


def test_even_little_that_is_left_out_is_told_and_nothing_where_nothing_is():
    removed = np.zeros((20, 20, 20), np.uint8)
    assert list(left_out_warnings(joined_without(removed), (1.0, 1.0, 1.0))) == []
    removed[:10, :10, :20] = ELSEWHERE_CLASS + 1
    told = list(left_out_warnings(joined_without(removed), (1.0, 1.0, 1.0)))
    assert [warning.code for warning in told] == ["tissue_left_out"]
    assert "(2 mL)" in told[0].message
