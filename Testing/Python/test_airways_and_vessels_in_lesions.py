"""Vessels and airways taken out of lesions, on blocks that can be counted by hand."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.lesions.airways_and_vessels import (
    airways_and_vessels_in_lungs,
    remove_airways_and_vessels,
)

SPACING_MM = (1.0, 1.0, 1.0)
SHAPE = (40, 40, 40)


def a_lung() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:38, 2:38, 2:38] = NORMAL_LUNG.value
    return labels


def a_vessel() -> np.ndarray:
    vessel = np.zeros(SHAPE, bool)
    vessel[:, 18:22, 18:22] = True
    return vessel


NOTHING = np.zeros(SHAPE, bool)


def test_a_vessel_in_normal_lung_is_no_lesion():
    labels = a_lung()
    labels[2:38, 18:22, 18:22] = HIGH_OPACITY.value
    assert np.array_equal(
        remove_airways_and_vessels(labels, NOTHING, a_vessel(), SPACING_MM), a_lung()
    )


def test_the_rim_of_such_a_vessel_goes_with_it():
    labels = a_lung()
    labels[2:38, 17:22, 17:22] = GGO.value
    assert np.array_equal(
        remove_airways_and_vessels(labels, NOTHING, a_vessel(), SPACING_MM), a_lung()
    )


def test_a_vessel_through_a_lesion_belongs_to_it_unless_asked():
    labels = a_lung()
    labels[8:32, 8:32, 8:32] = GGO.value
    assert np.array_equal(
        remove_airways_and_vessels(labels, NOTHING, a_vessel(), SPACING_MM), labels
    )
    without = labels.copy()
    without[8:32, 18:22, 18:22] = NORMAL_LUNG.value
    assert np.array_equal(
        remove_airways_and_vessels(labels, NOTHING, a_vessel(), SPACING_MM, True), without
    )


def test_a_vessel_is_cut_where_it_leaves_the_lesion():
    labels = a_lung()
    labels[2:18, 4:36, 4:36] = GGO.value
    labels[18:38, 18:22, 18:22] = HIGH_OPACITY.value
    removed = remove_airways_and_vessels(labels, NOTHING, a_vessel(), SPACING_MM)
    assert (removed[2:16] == labels[2:16]).all()
    assert (removed[22:38] != HIGH_OPACITY.value).all()


def test_lumen_and_wall_of_a_bronchus_in_normal_lung_are_no_lesion():
    airway = np.zeros(SHAPE, bool)
    airway[:, 18:22, 18:22] = True
    labels = a_lung()
    labels[2:38, 17:23, 17:23] = HIGH_OPACITY.value
    assert np.array_equal(remove_airways_and_vessels(labels, airway, NOTHING, SPACING_MM), a_lung())


def test_lesions_without_tubes_and_the_lungs_stay_as_they_are():
    labels = a_lung()
    labels[5:15, 5:15, 5:15] = GGO.value
    labels[20:38, 18:22, 18:22] = HIGH_OPACITY.value
    given = labels.copy()
    removed = remove_airways_and_vessels(labels, NOTHING, a_vessel(), SPACING_MM)
    assert np.array_equal(removed == GGO.value, labels == GGO.value)
    assert np.array_equal(removed > 0, labels > 0)
    assert np.array_equal(labels, given)


def test_without_lesions_nothing_changes():
    assert np.array_equal(
        remove_airways_and_vessels(a_lung(), NOTHING, a_vessel(), SPACING_MM), a_lung()
    )


def test_walls_of_airways_are_a_millimetre_and_a_half():
    airway = np.zeros(SHAPE, bool)
    airway[10, 10, 10] = True
    airways_and_vessels = airways_and_vessels_in_lungs(
        np.ones(SHAPE, bool), airway, NOTHING, SPACING_MM
    )
    # The centre, its 6 face and its 12 edge neighbours (1.41 mm); the corners are 1.73 mm away.
    assert airways_and_vessels.sum() == 19
    assert not airways_and_vessels_in_lungs(NOTHING, airway, NOTHING, SPACING_MM).any()
