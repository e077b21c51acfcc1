"""Where two label maps disagree, and what of a correction is lesion: exact numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_chest import VOXEL_ML, a_label_map

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.measures.correction import correction_of
from CovidLungQuantLib.measures.disagreement import disagreement_of


def another_label_map() -> np.ndarray:
    """Of the 48 voxels of GGO 16 are lung and 8 high opacity; 36 of high opacity stay, 6 are new.

    The slice 9 holds the new ones; slice 3 loses 16 and turns none, slice 4 turns 8.
    """
    labels = a_label_map()
    labels[3, 5:9, 4:8] = NORMAL_LUNG.value
    labels[4, 5:7, 4:8] = HIGH_OPACITY.value
    labels[9, 10:12, 15:18] = HIGH_OPACITY.value
    return labels


def test_figures_by_hand():
    found = disagreement_of(a_label_map(), another_label_map(), 0.5)
    assert found.first_lesion_ml == 0.5 * (48 + 36)
    assert found.second_lesion_ml == 0.5 * (32 + 36 + 6)
    assert found.either_ml == 0.5 * (84 + 6)
    assert found.disputed_ml == 0.5 * (16 + 8 + 6)
    assert found.disputed_percent == pytest.approx(100 * 30 / 90)
    assert found.lesion_dice == pytest.approx(2 * 68 / (84 + 74))
    assert found.ggo_dice == pytest.approx(2 * 24 / (48 + 24))
    assert found.high_opacity_dice == pytest.approx(2 * 36 / (36 + 50))
    # Counted upwards from 1.
    assert found.most_disputed_slice == 3 + 1


def test_neither_label_map_is_the_reference():
    first, second = a_label_map(), another_label_map()
    one, other = disagreement_of(first, second, 1.0), disagreement_of(second, first, 1.0)
    assert (one.lesion_dice, one.disputed_ml) == (other.lesion_dice, other.disputed_ml)
    nothing = np.where(first > 0, NORMAL_LUNG.value, 0).astype(np.uint8)
    for pair in ((first, nothing), (nothing, first)):
        found = disagreement_of(*pair, 1.0)
        assert found.lesion_dice == found.ggo_dice == 0.0
        assert found.disputed_ml == 84.0 and found.disputed_percent == 100.0


def test_without_lesion_nothing_is_disputed_and_dice_is_undefined():
    lung = np.full((3, 4, 5), NORMAL_LUNG.value, np.uint8)
    found = disagreement_of(lung, lung, 1.0)
    assert found.disputed_ml == 0.0 and found.most_disputed_slice is None
    assert math.isnan(found.lesion_dice) and math.isnan(found.disputed_percent)


def test_the_lesion_that_a_reader_changed_by_hand():
    correction = correction_of(a_label_map(), another_label_map(), VOXEL_ML)
    assert correction.lesion_either_ml == pytest.approx(90 * VOXEL_ML)
    assert correction.lesion_changed_ml == pytest.approx(30 * VOXEL_ML)
    assert correction.lesion_changed_percent == pytest.approx(100 * 30 / 90)


def test_changes_of_the_lungs_border_are_no_changes_of_lesion():
    corrected = a_label_map()
    corrected[2] = 0
    correction = correction_of(a_label_map(), corrected, VOXEL_ML)
    assert correction.changed_voxels > 0
    assert correction.lesion_changed_ml == correction.lesion_changed_percent == 0.0


def test_of_no_lesion_no_share_was_changed():
    lung = np.where(a_label_map() == GGO.value, 1, a_label_map() > 0).astype(np.uint8)
    assert math.isnan(correction_of(lung, lung, VOXEL_ML).lesion_changed_percent)
