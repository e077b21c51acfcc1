"""A click decides anew what is lesion around it: what goes with it, and what must stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box, dilate, erode
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    NORMAL_LUNG,
    UNKNOWN_LUNG_VALUE,
    is_lesion,
)
from CovidLungQuantLib.lesions.local_fix import fix_locally

SPACING_MM = (1.0, 1.0, 2.0)
SHAPE = (40, 80, 100)
BALL_AT, BALL_MM = (20, 40, 40), 12.0
# A vessel along x, from within the ball outwards.
VESSEL = (slice(19, 21), slice(39, 42), slice(50, 70))
ON_THE_VESSEL = (20, 40, 60)
GGO_HU, VESSEL_HU, LUNG_HU = -500, 20, -850


def near(place: tuple[int, int, int], radius_mm: float) -> np.ndarray:
    """The voxels within a distance of one."""
    steps = np.indices(SHAPE) - np.reshape(place, (3, 1, 1, 1))
    steps = steps * np.reshape(SPACING_MM[::-1], (3, 1, 1, 1))
    return (steps**2).sum(axis=0) <= radius_mm**2


def marked(*places: tuple[int, int, int]) -> np.ndarray:
    marks = np.zeros(SHAPE, bool)
    for place in places:
        marks[place] = True
    return marks


@pytest.fixture(scope="module")
def case() -> dict[str, np.ndarray]:
    """A ball of GGO in lung, and a vessel that runs out of it; both are labelled lesion."""
    ball = near(BALL_AT, BALL_MM)
    vessel = np.zeros(SHAPE, bool)
    vessel[VESSEL] = True
    hu = np.full(SHAPE, LUNG_HU, np.int16)
    hu[ball], hu[vessel & ~ball] = GGO_HU, VESSEL_HU
    hu += np.random.default_rng(0).integers(-30, 30, SHAPE, dtype=np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:-2, 4:-4, 4:-4] = NORMAL_LUNG.value
    lungs = labels > 0
    labels[ball | vessel] = GGO.value
    return {"labels": labels, "hu": hu, "lungs": lungs, "ball": ball, "vessel": vessel & ~ball}


def fixed(case: dict[str, np.ndarray], lesion: Any = (), other: Any = (), **more: Any) -> Any:
    arguments = {
        "labels": case["labels"],
        "probability": None,
        "hu": case["hu"],
        "lungs": case["lungs"],
        "spacing_mm": SPACING_MM,
        "lesion_seeds": marked(*lesion),
        "other_seeds": marked(*other),
    }
    return fix_locally(**{**arguments, **more})


def test_one_click_takes_the_vessel_and_leaves_the_ball(case: dict[str, np.ndarray]) -> None:
    fix = fixed(case, other=[ON_THE_VESSEL])
    assert (fix.labels[case["vessel"]] == NORMAL_LUNG.value).mean() > 0.95
    assert (fix.labels[case["ball"]] == GGO.value).mean() > 0.99
    rest = ~case["vessel"] & ~case["ball"]
    np.testing.assert_array_equal(fix.labels[rest], case["labels"][rest])


def test_one_click_finds_the_ball_and_not_the_vessel(case: dict[str, np.ndarray]) -> None:
    labels = np.where(case["lungs"], NORMAL_LUNG.value, 0).astype(np.uint8)
    fix = fixed(case, lesion=[BALL_AT], labels=labels)
    assert is_lesion(fix.labels[case["ball"]]).mean() > 0.95
    assert is_lesion(fix.labels[case["vessel"]]).mean() < 0.15
    others = case["lungs"] & ~near(BALL_AT, BALL_MM + 2) & ~case["vessel"]
    assert not is_lesion(fix.labels[others]).any()


def test_the_change_is_where_labels_differ(case: dict[str, np.ndarray]) -> None:
    fix = fixed(case, other=[ON_THE_VESSEL])
    differs = np.zeros(SHAPE, bool)
    differs[fix.box] = fix.changed
    np.testing.assert_array_equal(differs, fix.labels != case["labels"])
    assert fix.labels is not case["labels"] and differs.any()


def test_marks_are_obeyed_exactly(case: dict[str, np.ndarray]) -> None:
    lung, ball = [(10, 20, 20), (30, 60, 80)], [(20, 40, 35), (20, 30, 40)]
    fix = fixed(case, lesion=lung, other=ball)
    assert all(is_lesion(fix.labels[place]) for place in lung)
    assert all(fix.labels[place] == NORMAL_LUNG.value for place in ball)


def test_a_mark_stops_the_other_kind(case: dict[str, np.ndarray]) -> None:
    kept = (20, 40, 66)
    fix = fixed(case, other=[ON_THE_VESSEL], lesion=[kept])
    assert is_lesion(fix.labels[kept])
    assert fix.labels[ON_THE_VESSEL] == NORMAL_LUNG.value


def test_locked_voxels_and_all_outside_the_lungs_stay(case: dict[str, np.ndarray]) -> None:
    locked = np.zeros(SHAPE, bool)
    locked[..., 62:] = True
    fix = fixed(case, other=[ON_THE_VESSEL], locked=locked)
    assert fix.labels[ON_THE_VESSEL] == NORMAL_LUNG.value
    np.testing.assert_array_equal(fix.labels[locked], case["labels"][locked])

    lungs = case["lungs"].copy()
    lungs[..., :40] = False
    labels = lungs.astype(np.uint8)
    fix = fixed(case, lesion=[(20, 40, 46)], labels=labels, lungs=lungs)
    assert is_lesion(fix.labels).sum() > 100
    assert not fix.labels[~lungs].any()


@pytest.mark.parametrize("reach_mm", [6.0, 11.0])
def test_nothing_changes_beyond_the_reach(case: dict[str, np.ndarray], reach_mm: float) -> None:
    everything = np.where(case["lungs"], GGO.value, 0).astype(np.uint8)
    even = np.full(SHAPE, GGO_HU, np.int16)
    fix = fixed(case, other=[BALL_AT], labels=everything, hu=even, reach_mm=reach_mm)
    changed = fix.labels != everything
    assert changed.sum() > 50
    assert not changed[~near(BALL_AT, reach_mm)].any()


@pytest.mark.parametrize("step_mm", [0.45, 0.7])
def test_nothing_changes_beyond_the_reach_where_voxels_are_fine(step_mm: float) -> None:
    labels = np.full((9, 81, 83), GGO.value, np.uint8)
    hu = np.full(labels.shape, GGO_HU, np.int16)
    marks = np.zeros(labels.shape, bool)
    marks[4, 41, 40] = True
    spacing_mm = (step_mm, step_mm, 3.0)
    nothing = np.zeros_like(marks)
    fix = fix_locally(labels, None, hu, labels, spacing_mm, nothing, marks, reach_mm=9.0)
    distance_mm = ndimage.distance_transform_edt(~marks, sampling=spacing_mm[::-1])
    changed_mm = distance_mm[fix.labels != labels]
    assert 5.0 < changed_mm.max() <= 9.0


def test_a_long_vessel_is_followed_no_farther_than_the_reach(case: dict[str, np.ndarray]) -> None:
    labels, hu = case["lungs"].astype(np.uint8), np.full(SHAPE, LUNG_HU, np.int16)
    tube = (slice(19, 21), slice(39, 42), slice(4, -4))
    labels[tube], hu[tube] = GGO.value, VESSEL_HU
    start = (20, 40, 10)
    fix = fixed(case, other=[start], labels=labels, hu=hu, reach_mm=25.0)
    changed = np.flatnonzero((fix.labels != labels).any(axis=(0, 1)))
    assert 12 < changed.max() - start[2] <= 25
    assert changed.min() == 4


def test_the_probability_kept_says_what_goes_with_the_click(case: dict[str, np.ndarray]) -> None:
    """Two halves of the same density; the network was sure of one."""
    block = (slice(14, 26), slice(30, 50), slice(30, 50))
    sure = (slice(14, 26), slice(30, 50), slice(40, 50))
    labels, hu = case["lungs"].astype(np.uint8), np.full(SHAPE, LUNG_HU, np.int16)
    labels[block], hu[block] = GGO.value, GGO_HU
    probability = np.where(labels == GGO.value, 80, 0).astype(np.uint8)
    probability[sure] = 255
    fix = fixed(case, other=[(20, 40, 34)], labels=labels, hu=hu, probability=probability)
    assert is_lesion(fix.labels[sure]).mean() > 0.85
    assert is_lesion(fix.labels[14:26, 30:50, 30:38]).mean() < 0.05
    without = fixed(case, other=[(20, 40, 34)], labels=labels, hu=hu)
    assert is_lesion(without.labels[block]).mean() < 0.05


def test_new_lesion_gets_its_kind_and_other_lesion_keeps_it(case: dict[str, np.ndarray]) -> None:
    labels, hu = case["lungs"].astype(np.uint8), case["hu"].copy()
    hu[near((20, 40, 80), 8.0)] = -100
    # A reader called this GGO high opacity.
    labels[case["ball"]] = HIGH_OPACITY.value
    fix = fixed(case, lesion=[(20, 40, 80)], labels=labels, hu=hu)
    assert fix.labels[20, 40, 80] == HIGH_OPACITY.value
    np.testing.assert_array_equal(fix.labels[case["ball"]], labels[case["ball"]])
    fix = fixed(case, lesion=[BALL_AT], labels=case["lungs"].astype(np.uint8))
    assert set(fix.labels[near(BALL_AT, 8.0)]) == {GGO.value}


def test_the_same_bytes_twice(case: dict[str, np.ndarray]) -> None:
    first, second = (fixed(case, other=[ON_THE_VESSEL], lesion=[(10, 20, 20)]) for _ in range(2))
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.box == second.box


def test_voxels_of_a_slice_are_taken_together_where_they_are_fine() -> None:
    """0.7 mm: decided on 1.4 mm, but obeyed and written voxel by voxel; sizes that are odd."""
    hu = np.full((9, 61, 63), LUNG_HU, np.int16)
    labels = np.ones(hu.shape, np.uint8)
    tube = (slice(4, 5), slice(30, 34), slice(9, 52))
    hu[tube], labels[tube] = VESSEL_HU, GGO.value
    marks = np.zeros(hu.shape, bool)
    marks[4, 31, 31] = True
    fix = fix_locally(
        labels, None, hu, labels > 0, (0.7, 0.7, 5.0), np.zeros_like(marks), marks, reach_mm=40.0
    )
    assert (fix.labels == NORMAL_LUNG.value).all()


def test_what_cannot_be_decided_is_refused(case: dict[str, np.ndarray]) -> None:
    with pytest.raises(BadInputError, match="within the lungs"):
        fixed(case)
    with pytest.raises(BadInputError, match="within the lungs"):
        fixed(case, lesion=[(0, 0, 0)])
    with pytest.raises(BadInputError, match="both"):
        fixed(case, lesion=[BALL_AT], other=[BALL_AT])
    with pytest.raises(BadInputError, match="do not lie"):
        fixed(case, lesion=[BALL_AT], hu=case["hu"][1:])


@pytest.mark.slow
@pytest.mark.parametrize("name, least_gain", [("covid01", 0.01), ("covid10", 0.08)])
def test_clicks_in_the_largest_mistakes_of_a_real_scan_bring_it_nearer_to_the_reader(
    test_data: Path, name: str, least_gain: float
) -> None:
    case = test_data / "labelled" / name
    scan = sitk.ReadImage(str(case / "ct.nrrd"))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "labels.nrrd")))
    truth[truth == UNKNOWN_LUNG_VALUE] = NORMAL_LUNG.value
    box = bounding_box(truth > 0)
    hu, truth = sitk.GetArrayFromImage(scan)[box], truth[box]
    spacing_mm, lungs, lesion = scan.GetSpacing(), truth > 0, is_lesion(truth)
    labels = _perturbed(lungs, lesion, hu, spacing_mm)
    gains = []
    for _ in range(4):
        now = is_lesion(labels)
        mistakes = [_largest(mask, spacing_mm) for mask in (lesion & ~now, now & ~lesion)]
        kind = int(mistakes[1].sum() > mistakes[0].sum())
        marks = [np.zeros(lungs.shape, bool) for _ in mistakes]
        marks[kind][_middle(mistakes[kind], spacing_mm)] = True
        fix = fix_locally(labels, None, hu, lungs, spacing_mm, *marks)
        gains.append(_dice(is_lesion(fix.labels), lesion) - _dice(now, lesion))
        labels = fix.labels
    assert min(gains) > 0, gains
    assert sum(gains) > least_gain


def _perturbed(lungs: np.ndarray, lesion: np.ndarray, hu: np.ndarray, spacing_mm: Any) -> Any:
    """A reader's lesions without three cubes of them, and with six large vessels."""
    marked = lesion.copy()
    inner = np.argwhere(erode(lesion, 3.0, spacing_mm))
    half = [int(12.5 / step_mm) for step_mm in reversed(spacing_mm)]
    for place in inner[np.linspace(0, len(inner) - 1, 5).astype(int)[1:-1]]:
        marked[tuple(slice(c - h, c + h + 1) for c, h in zip(place, half, strict=True))] = False
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), (0, 1, 1))
    dense = (smooth > -500) & ~lesion & erode(lungs, 4.0, spacing_mm)
    numbered, _ = ndimage.label(dense)
    sizes = np.bincount(numbered.ravel())
    for number in np.argsort(-sizes[1:], kind="stable")[:6] + 1:
        marked |= dilate(numbered == number, 0.8, spacing_mm) & lungs
    return np.where(marked, GGO.value, lungs * NORMAL_LUNG.value).astype(np.uint8)


def _largest(mistakes: np.ndarray, spacing_mm: Any) -> np.ndarray:
    """The largest mistake that is more than a shell."""
    numbered, _ = ndimage.label(erode(mistakes, 1.0, spacing_mm))
    sizes = np.bincount(numbered.ravel(), minlength=2)
    return numbered == int(sizes[1:].argmax()) + 1


def _middle(mask: np.ndarray, spacing_mm: Any) -> tuple[Any, ...]:
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm[::-1])
    return np.unravel_index(depth[1:-1, 1:-1, 1:-1].argmax(), mask.shape)


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))
