"""A reader's decisions on lesions: exact on drawn arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG, RIGHT_UPPER_LOBE
from CovidLungQuantLib.lesions.probability import DECISION_CODE
from CovidLungQuantLib.lesions.sensitivity import apply_sensitivity
from CovidLungQuantLib.measures.lesion_islands import map_islands
from CovidLungQuantLib.measures.review import REASONS, Review, review_sentence

SPACING_MM = (5.0, 5.0, 5.0)
FIRST = (slice(2, 8), slice(2, 8), slice(2, 8))
SECOND = (slice(2, 7), slice(12, 17), slice(2, 7))
THIRD = (slice(2, 6), slice(22, 26), slice(2, 6))


def drawn() -> np.ndarray:
    """Three lesions, the first the largest; the third of both kinds."""
    labels = np.full((12, 30, 12), NORMAL_LUNG.value, np.uint8)
    labels[FIRST] = labels[SECOND] = GGO.value
    labels[THIRD] = HIGH_OPACITY.value
    labels[2, 22:26, 2:6] = GGO.value
    return labels


def mapped(labels: np.ndarray):
    lobes = np.full(labels.shape, RIGHT_UPPER_LOBE.value, np.uint8)
    return map_islands(labels, SPACING_MM, lobes=lobes)


def begun(labels: np.ndarray) -> Review:
    return Review(labels, mapped(labels))


def states(review: Review) -> dict[int, str]:
    return {lesion.island.index: lesion.state for lesion in review.lesions}


def test_rejecting_makes_normal_lung_in_place_and_undo_brings_it_back():
    labels = drawn()
    before = labels.copy()
    review = begun(labels)
    assert review.left == 3
    review.reject(2, "vessel")
    assert (labels[SECOND] == NORMAL_LUNG.value).all()
    assert np.count_nonzero(labels != before) == 125
    assert review.left == 2
    assert states(review) == {1: "open", 2: "rejected", 3: "open"}
    assert review.undo() == 2
    assert np.array_equal(labels, before)
    assert review.left == 3
    assert review.redo() == 2
    assert (labels[SECOND] == NORMAL_LUNG.value).all()
    assert review.redo() is None


def test_changing_the_kind_makes_it_all_of_the_other_and_undo_brings_the_mixture_back():
    labels = drawn()
    before = labels.copy()
    review = begun(labels)
    review.change_kind(3)
    assert (labels[THIRD] == GGO.value).all()
    assert review.lesion(3).island.kind is GGO
    review.change_kind(3)
    assert (labels[THIRD] == HIGH_OPACITY.value).all()
    review.undo()
    review.undo()
    assert review.undo() is None
    assert np.array_equal(labels, before)
    assert review.lesion(3).island.kind is HIGH_OPACITY


def test_a_new_decision_forgets_what_was_undone():
    review = begun(drawn())
    review.accept(1)
    review.undo()
    review.lock(2)
    assert review.redo() is None
    assert states(review) == {1: "open", 2: "locked", 3: "open"}


def test_undo_leaves_what_was_painted_since():
    labels = drawn()
    review = begun(labels)
    review.reject(1, "motion")
    labels[2, 2, 2:4] = HIGH_OPACITY.value
    review.undo()
    assert labels[2, 2, 2:4].tolist() == [HIGH_OPACITY.value] * 2
    assert np.count_nonzero(labels[FIRST] == GGO.value) == 216 - 2


def test_the_record_says_what_was_decided_where_and_why():
    review = begun(drawn())
    review.accept(1)
    review.reject(2, "vessel")
    review.change_kind(3)
    record = review.record()
    assert record == json.loads(json.dumps(record))
    assert [(entry["lesion"], entry["decision"], entry["reason"]) for entry in record] == [
        (1, "accepted", None),
        (2, "rejected", "vessel"),
        (3, "open", None),
    ]
    assert [entry["volume_ml"] for entry in record] == pytest.approx([27.0, 15.625, 8.0])
    assert {entry["lobe"] for entry in record} == {"RUL"}
    assert record[1]["place_zyx"] == [2, 14, 4]
    assert (
        review_sentence(record)
        == "Lesions reviewed: 1 accepted, 1 rejected (vessel 1), 1 of changed kind."
    )
    assert review_sentence([]) == ""


def test_only_known_lesions_and_reasons():
    review = begun(drawn())
    with pytest.raises(BadInputError, match="no lesion 7"):
        review.accept(7)
    with pytest.raises(BadInputError, match="no reason"):
        review.reject(1, "boredom")
    review.reject(1, REASONS[0])
    with pytest.raises(BadInputError, match="undo that first"):
        review.accept(1)
    assert states(review)[1] == "rejected"


def test_lesions_keep_number_and_state_when_the_list_is_made_anew():
    labels = drawn()
    review = begun(labels)
    review.accept(2)
    review.reject(3, "other")
    # The second grows beyond the first by a stroke, and a new one is painted.
    labels[2:10, 10:18, 2:10] = GGO.value
    labels[9:12, 26:30, 7:12] = GGO.value
    islands = mapped(labels)
    assert islands.islands[0].place[1] > 9
    review.refresh(labels, islands)
    assert states(review) == {1: "open", 2: "accepted", 3: "rejected", 4: "open"}
    assert review.lesions[0].island.index == 2
    assert review.lesion(2).island.volume_ml == pytest.approx(512 * 0.125)
    # Painted anew where one was rejected, it is a new lesion.
    labels[THIRD] = GGO.value
    review.refresh(labels, mapped(labels))
    assert states(review) == {
        1: "open", 2: "accepted", 3: "rejected", 4: "open", 5: "open",
    }  # fmt: skip


def test_the_larger_part_of_a_divided_lesion_keeps_its_number_and_both_their_state():
    labels = drawn()
    review = begun(labels)
    review.lock(1)
    labels[6, 2:8, 2:8] = NORMAL_LUNG.value
    review.refresh(labels, mapped(labels))
    assert review.lesion(1).island.volume_ml == pytest.approx(4 * 36 * 0.125)
    assert review.lesion(4).island.volume_ml == pytest.approx(36 * 0.125)
    assert states(review) == {1: "locked", 2: "open", 3: "open", 4: "locked"}


def test_sliders_change_neither_rejected_nor_accepted_nor_locked_lesions():
    labels = drawn()
    machine = labels.copy()
    probability = np.where(labels >= GGO.value, np.uint8(100), np.uint8(30))
    hu = np.full(labels.shape, -600, np.int16)
    review = begun(labels)
    review.reject(1, "vessel")
    review.accept(2)
    held = review.held()
    assert np.count_nonzero(held) == 216 + 125
    for code in (0, DECISION_CODE, 255):
        found = apply_sensitivity(machine, labels, probability, hu, SPACING_MM, code, locked=held)
        assert (found[FIRST] == NORMAL_LUNG.value).all()
        assert (found[SECOND] == GGO.value).all()
    assert (found[THIRD] == NORMAL_LUNG.value).all()


def test_decisions_of_an_earlier_session_are_taken_up():
    labels = drawn()
    review = begun(labels)
    review.accept(1)
    review.reject(2, "motion")
    review.lock(3)
    record = json.loads(json.dumps(review.record()))
    again = begun(labels.copy())
    assert len(again.lesions) == 2
    again.take_up(record)
    assert sorted(states(again).values()) == ["accepted", "locked", "rejected"]
    assert again.left == 0
    assert [entry["reason"] for entry in again.record() if entry["reason"]] == ["motion"]
    assert review_sentence(again.record()) == review_sentence(record)
