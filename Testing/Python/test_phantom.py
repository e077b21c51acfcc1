"""The synthetic chest: repeatable, truthful, and a chest."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    LEFT_LUNG_VALUE,
    NORMAL_LUNG,
    RIGHT_LUNG_VALUE,
)
from CovidLungQuantLib.phantom import PhantomCase, chest_phantom

SMALL_SHAPE = (50, 96, 96)
SMALL_SPACING_MM = (3.75, 3.75, 6.0)


@pytest.fixture(scope="module")
def case() -> PhantomCase:
    return chest_phantom(SMALL_SHAPE, SMALL_SPACING_MM)


def test_the_same_seed_gives_the_same_bytes(case: PhantomCase) -> None:
    again = chest_phantom(SMALL_SHAPE, SMALL_SPACING_MM)
    assert again.ct.hu.tobytes() == case.ct.hu.tobytes()
    assert again.labels.tobytes() == case.labels.tobytes()
    assert again.lungs.tobytes() == case.lungs.tobytes()


def test_another_seed_gives_another_chest(case: PhantomCase) -> None:
    other = chest_phantom(SMALL_SHAPE, SMALL_SPACING_MM, seed=1)
    assert (other.labels != case.labels).any()
    assert (other.lungs == case.lungs).all()


def test_arrays_and_geometry_belong_together(case: PhantomCase) -> None:
    assert case.ct.hu.dtype == np.int16
    assert case.labels.dtype == case.lungs.dtype == np.uint8
    assert case.ct.hu.shape == case.labels.shape == case.lungs.shape == SMALL_SHAPE
    assert case.ct.geometry.shape == SMALL_SHAPE
    assert case.ct.geometry.spacing_mm == SMALL_SPACING_MM
    assert case.ct.geometry.origin_mm == pytest.approx((-178.125, -178.125, 0.0))
    assert (case.ct.geometry.direction == np.eye(3)).all()


def test_labels_fill_the_lungs_exactly(case: PhantomCase) -> None:
    assert ((case.labels > 0) == (case.lungs > 0)).all()
    assert set(np.unique(case.labels)) == {0, NORMAL_LUNG.value, GGO.value, HIGH_OPACITY.value}


def test_left_lung_is_on_the_patients_left(case: PhantomCase) -> None:
    middle = (SMALL_SHAPE[2] - 1) / 2
    assert (np.nonzero(case.lungs == LEFT_LUNG_VALUE)[2] > middle).all()
    assert (np.nonzero(case.lungs == RIGHT_LUNG_VALUE)[2] < middle).all()


def test_lungs_have_the_size_of_an_adults(case: PhantomCase) -> None:
    volume_ml = (case.lungs > 0).sum() * case.ct.geometry.voxel_volume_ml
    assert 3000 < volume_ml < 6000


def test_hu_are_those_of_the_tissue(case: PhantomCase) -> None:
    hu, labels = case.ct.hu, case.labels
    assert -870 < np.median(hu[labels == NORMAL_LUNG.value]) < -820
    assert -650 < np.median(hu[labels == GGO.value]) < -450
    assert -150 < np.median(hu[labels == HIGH_OPACITY.value]) < 60
    assert -1010 < np.median(hu[:, :4]) < -990


def test_a_healthy_chest_can_be_asked_for() -> None:
    healthy = chest_phantom(SMALL_SHAPE, SMALL_SPACING_MM, ggo_count=0, consolidation=False)
    assert set(np.unique(healthy.labels)) == {0, NORMAL_LUNG.value}
