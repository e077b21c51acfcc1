"""A running count says exactly what counting anew says."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.measures.correction import correction_of
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.measures.recount import RunningCount

SPACING_MM = (2.0, 2.0, 5.0)
VOXEL_ML = 0.02
SHAPE = (6, 20, 30)
LEFT, RIGHT = 1, 2


@pytest.fixture
def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 200, SHAPE).astype(np.int16)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 4:16, 3:12] = NORMAL_LUNG.value
    labels[1:5, 4:16, 18:27] = NORMAL_LUNG.value
    labels[2, 6:9, 5:8] = GGO.value
    labels[3, 6:9, 20:22] = HIGH_OPACITY.value
    return labels


@pytest.fixture
def lungs(labels: np.ndarray) -> np.ndarray:
    sides = np.where(np.arange(SHAPE[2]) < 15, RIGHT, LEFT)
    return np.where(labels > 0, sides, 0).astype(np.uint8)


@pytest.fixture
def count(hu: np.ndarray, labels: np.ndarray, lungs: np.ndarray) -> RunningCount:
    return RunningCount(hu, labels, lungs, False, SPACING_MM, VOXEL_ML, machine_labels=labels)


def test_a_stroke_within_the_lungs_is_counted_as_if_anew(hu, labels, lungs, count) -> None:
    corrected = labels.copy()
    corrected[2, 8:12, 6:10] = HIGH_OPACITY.value
    recounted = count.recount(corrected)
    assert recounted.measurements == measure_lungs(hu, corrected, lungs, VOXEL_ML)
    assert recounted.correction == correction_of(labels, corrected, VOXEL_ML)
    assert recounted.changed_voxels == recounted.correction.changed_voxels == 16
    assert not recounted.lung_was_added
    assert not recounted.lung_was_removed


def test_strokes_add_up_and_undo_takes_them_back(hu, labels, lungs, count) -> None:
    before = count.recount(labels)
    first, second = labels.copy(), labels.copy()
    first[2, 5:15, 4:10] = GGO.value
    second[1:4, 5:9, 19:25] = HIGH_OPACITY.value
    for corrected in (first, second, first):
        recounted = count.recount(corrected)
        assert recounted.measurements == measure_lungs(hu, corrected, lungs, VOXEL_ML)
        assert recounted.correction == correction_of(labels, corrected, VOXEL_ML)
    undone = count.recount(labels)
    assert undone.measurements == before.measurements
    assert undone.correction.changed_voxels == 0


def test_new_lung_counts_to_the_nearest_lung(hu, labels, lungs, count) -> None:
    corrected = labels.copy()
    corrected[2, 10, 12:14] = GGO.value
    corrected[2, 10, 16:18] = GGO.value
    with_new_lung = lungs.copy()
    with_new_lung[2, 10, 12:14] = RIGHT
    with_new_lung[2, 10, 16:18] = LEFT
    recounted = count.recount(corrected)
    assert recounted.measurements == measure_lungs(hu, corrected, with_new_lung, VOXEL_ML)
    assert recounted.lung_was_added
    assert not recounted.lung_was_removed
    assert not count.recount(labels).lung_was_added


def test_lung_drawn_far_from_all_lung_counts_to_the_nearest_one(hu, labels, lungs) -> None:
    wider = [(0, 0), (0, 0), (0, 90)]
    hu, labels, lungs = (np.pad(array, wider) for array in (hu, labels, lungs))
    count = RunningCount(hu, labels, lungs, False, SPACING_MM, VOXEL_ML)
    corrected, with_new_lung = labels.copy(), lungs.copy()
    corrected[2, 10, 100:110] = GGO.value
    with_new_lung[2, 10, 100:110] = LEFT
    recounted = count.recount(corrected)
    assert recounted.measurements == measure_lungs(hu, corrected, with_new_lung, VOXEL_ML)


def test_erased_lung_is_said_and_comes_back_to_its_side(hu, labels, lungs, count) -> None:
    corrected = labels.copy()
    corrected[:, 4:6, 3:12] = 0
    recounted = count.recount(corrected)
    assert recounted.measurements == measure_lungs(
        hu, corrected, np.where(corrected > 0, lungs, 0), VOXEL_ML
    )
    assert recounted.lung_was_removed
    again = count.recount(labels)
    assert again.measurements == measure_lungs(hu, labels, lungs, VOXEL_ML)
    assert not again.lung_was_removed


def test_without_the_machines_labels_there_is_no_comparison(hu, labels, lungs) -> None:
    count = RunningCount(hu, labels, lungs, False, SPACING_MM, VOXEL_ML)
    assert count.recount(labels).correction is None


def test_a_label_map_of_another_scan_is_refused(count) -> None:
    with pytest.raises(BadInputError, match="voxels"):
        count.recount(np.zeros((2, 2, 2), np.uint8))
