"""The lesions at another margin, from the probability kept: exact on drawn arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.lesions.deciding import probability_codes
from CovidLungQuantLib.lesions.probability import (
    DECISION_CODE,
    LESION_MARGIN,
    code_of_margin,
    margin_of_code,
)
from CovidLungQuantLib.lesions.sensitivity import GROWTH_REACH_MM, apply_sensitivity

SPACING_MM = (5.0, 5.0, 10.0)


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels, probability, HU) of a row of lung, one voxel thick, between background.

    Codes from left to right, with a lesion in the middle and another one at the right.
    """
    codes = [0, 10, 40, 60, 72, 100, 200, 150, 72, 40, 10, 0, 50, 90, 90, 50, 0]
    probability = np.zeros((3, 3, len(codes) + 2), np.uint8)
    probability[1, 1, 1:-1] = codes
    labels = np.zeros(probability.shape, np.uint8)
    labels[1, 1, 1:-1] = [
        GGO.value if code > DECISION_CODE else NORMAL_LUNG.value for code in codes
    ]
    hu = np.full(labels.shape, -600, np.int16)
    return labels, probability, hu


def row(labels: np.ndarray) -> str:
    return "".join(".nGH"[value] for value in labels[1, 1])


def test_codes_are_above_the_decision_exactly_where_the_network_decides_lesion():
    lesion = torch.linspace(0, 1, 100001)
    other = 1 - lesion
    decided = lesion > LESION_MARGIN * other
    codes = probability_codes(lesion, other, decided).numpy()
    assert np.array_equal(codes > DECISION_CODE, decided)
    assert (np.diff(codes.astype(int)) >= 0).all()
    assert (codes[0], codes[-1]) == (0, 255)
    assert codes == pytest.approx(255 * lesion, abs=1.0)
    # Where neither is probable, nothing is.
    assert probability_codes(torch.zeros(1), torch.zeros(1), torch.zeros(1, dtype=torch.bool)) == 0


def test_margins_of_codes():
    assert margin_of_code(DECISION_CODE) == LESION_MARGIN
    assert margin_of_code(0) == 0
    assert margin_of_code(255) == float("inf")
    assert margin_of_code(127) == pytest.approx(127 / 128)
    assert code_of_margin(None) == DECISION_CODE
    assert [code_of_margin(margin_of_code(code)) for code in range(255)] == list(range(255))


def test_the_default_code_gives_exactly_the_machines_labels_from_any_other():
    labels, probability, hu = drawn()
    labels[1, 1, 7] = HIGH_OPACITY.value
    for code in (0, 30, DECISION_CODE, 120, 255):
        moved = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, code)
        back = apply_sensitivity(labels, moved, probability, hu, SPACING_MM, DECISION_CODE)
        assert np.array_equal(back, labels)
        assert back.dtype == np.uint8


def test_a_lower_code_adds_and_a_higher_one_takes_away():
    labels, probability, hu = drawn()
    assert row(labels) == ".nnnnnGGGnnnnnGGnn."
    lower = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 45)
    assert row(lower) == ".nnnGGGGGGnnnGGGGn."
    lowest = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 0)
    assert row(lowest) == ".nGGGGGGGGGGnGGGGn."
    higher = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 120)
    assert row(higher) == ".nnnnnnGGnnnnnnnnn."
    none = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 255)
    assert not is_lesion(none).any()
    assert row(labels) == ".nnnnnGGGnnnnnGGnn."


def test_added_lesion_is_told_apart_by_its_density_and_the_rest_keeps_its_kind():
    labels, probability, hu = drawn()
    hu[1, 1, 5] = -100
    hu[1, 1, 7] = -100
    lower = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 45)
    assert row(lower) == ".nnnGHGGGGnnnGGGGn."


def test_what_the_network_did_not_decide_stays():
    labels, probability, hu = drawn()
    # Lesion that a rule found, and lung that a rule took out of the lesions.
    labels[1, 1, 1] = HIGH_OPACITY.value
    labels[1, 1, 14] = NORMAL_LUNG.value
    for code in (0, 60, 120, 255):
        found = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, code)
        assert found[1, 1, 1] == HIGH_OPACITY.value
        assert found[1, 1, 14] == NORMAL_LUNG.value
        assert np.array_equal(found == 0, labels == 0)


def test_lung_drawn_or_erased_by_hand_and_locked_voxels_stay():
    labels, probability, hu = drawn()
    now = labels.copy()
    now[1, 1, 4] = 0
    now[0, 0, 0] = NORMAL_LUNG.value
    locked = np.zeros(labels.shape, bool)
    locked[1, 1, 6:8] = True
    locked[1, 1, 10] = True
    now[1, 1, 7] = NORMAL_LUNG.value
    for code in (0, 255):
        found = apply_sensitivity(labels, now, probability, hu, SPACING_MM, code, locked=locked)
        assert found[1, 1, 4] == 0
        assert found[0, 0, 0] == NORMAL_LUNG.value
        assert np.array_equal(found[locked], now[locked])
    assert found[1, 1, 8] == NORMAL_LUNG.value


def test_a_region_changes_one_lesion_and_what_grows_from_it():
    labels, probability, hu = drawn()
    region = np.zeros(labels.shape, bool)
    region[1, 1, 6:9] = True
    lower = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 45, region)
    assert row(lower) == ".nnnGGGGGGnnnnGGnn."
    higher = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 120, region)
    assert row(higher) == ".nnnnnnGGnnnnnGGnn."
    none = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 255, region)
    assert row(none) == ".nnnnnnnnnnnnnGGnn."
    # From there it comes back, and growth that was there goes.
    for moved in (lower, higher, none):
        wide = np.zeros(labels.shape, bool)
        wide[1, 1, 3:12] = True
        back = apply_sensitivity(labels, moved, probability, hu, SPACING_MM, DECISION_CODE, wide)
        assert np.array_equal(back, labels)


def test_a_locked_gap_stops_growth():
    labels, probability, hu = drawn()
    region = np.zeros(labels.shape, bool)
    region[1, 1, 6:9] = True
    locked = np.zeros(labels.shape, bool)
    locked[1, 1, 4] = True
    found = apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 5, region, locked)
    assert row(found) == ".nnnnGGGGGGGnnGGnn."


def test_growth_ends_at_its_reach():
    shape = (1, 1, 40)
    probability = np.full(shape, 50, np.uint8)
    probability[0, 0, 20] = 200
    labels = np.full(shape, NORMAL_LUNG.value, np.uint8)
    labels[0, 0, 20] = GGO.value
    hu = np.full(shape, -600, np.int16)
    found = apply_sensitivity(labels, labels, probability, hu, (2.0, 2.0, 2.0), 40, labels == 2)
    assert np.flatnonzero(is_lesion(found)).tolist() == list(range(10, 31))
    assert GROWTH_REACH_MM == 20.0


@pytest.mark.parametrize("with_region", [False, True])
def test_the_lower_the_code_the_more_is_lesion(with_region):
    random = np.random.default_rng(1)
    probability = random.integers(0, 256, (6, 20, 20)).astype(np.uint8)
    labels = np.full(probability.shape, NORMAL_LUNG.value, np.uint8)
    labels[:, :, :3] = 0
    labels[(labels > 0) & (probability > DECISION_CODE)] = GGO.value
    labels[2, 5:9, 5:9] = HIGH_OPACITY.value
    hu = random.integers(-800, 0, labels.shape).astype(np.int16)
    region = (labels >= 2) & (np.indices(labels.shape)[1] < 8) if with_region else None
    before = np.ones(labels.shape, bool)
    sizes = []
    for code in range(0, 256, 15):
        found = is_lesion(
            apply_sensitivity(labels, labels, probability, hu, (2.0, 2.0, 2.0), code, region)
        )
        assert not (found & ~before).any()
        before = found
        sizes.append(found.sum())
    assert len(set(sizes)) > 10


def test_refusals():
    labels, probability, hu = drawn()
    with pytest.raises(BadInputError, match="256 is no margin"):
        apply_sensitivity(labels, labels, probability, hu, SPACING_MM, 256)
    with pytest.raises(BadInputError, match="voxels"):
        apply_sensitivity(labels, labels, probability[1:], hu, SPACING_MM, 60)
