"""GGO against high opacity: by density, by thresholds, relative to the pulmonary artery."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions import kinds_on_gpu
from CovidLungQuantLib.lesions.kinds import (
    ARTERY_MARGIN_HU,
    HIGH_OPACITY_ABOVE_HU,
    KIND_CHOICES,
    LESION_ABOVE_HU,
    check_kinds,
    classify_by_density,
    tell_kinds_apart,
)

SPACING_MM = (1.0, 1.0, 5.0)


def patches(*levels_hu: int) -> tuple[np.ndarray, np.ndarray]:
    """Return hu and labels with one lesion of 12 × 12 voxels for each level, all called GGO."""
    hu = np.full((1, 20, 20 * len(levels_hu)), -850, np.int16)
    labels = np.ones(hu.shape, np.uint8)
    for index, level_hu in enumerate(levels_hu):
        patch = np.s_[0, 4:16, 20 * index + 4 : 20 * index + 16]
        hu[patch], labels[patch] = level_hu, 2
    return hu, labels


def kinds_of_patches(labels: np.ndarray) -> list[int]:
    """Return the label of each patch, which must be the same in all its voxels."""
    found = []
    for start in range(0, labels.shape[2], 20):
        (kind,) = np.unique(labels[0, 4:16, start + 4 : start + 16])
        found.append(int(kind))
    return found


def no_anatomy(shape: tuple[int, ...]) -> LungAnatomy:
    """Return an anatomy in which no pulmonary artery can be found."""
    nothing = np.zeros(shape, bool)
    return LungAnatomy(lungs=nothing.astype(np.uint8), body=nothing, airways=nothing)


def test_lesions_are_divided_at_minus_350_hu_and_nothing_else_changes():
    hu = np.full((2, 20, 40), -850, np.int16)
    labels = np.ones(hu.shape, np.uint8)
    labels[:, :, :2] = 0
    labels[0, 4:16, 4:16], hu[0, 4:16, 4:16] = 3, -351
    labels[0, 4:16, 24:36], hu[0, 4:16, 24:36] = 2, -349
    result = classify_by_density(labels, hu, SPACING_MM)
    assert HIGH_OPACITY_ABOVE_HU == -350
    assert (result[0, 4:16, 4:16] == 2).all()
    assert (result[0, 4:16, 24:36] == 3).all()
    assert np.array_equal(result == 0, labels == 0)
    assert np.array_equal(result == 1, labels == 1)
    assert (labels[0, 4:16, 4:16] == 3).all()


def test_the_air_beside_a_lesion_does_not_decide():
    hu = np.full((1, 20, 20), -900, np.int16)
    labels = np.ones(hu.shape, np.uint8)
    labels[0, :, 8:10], hu[0, :, 8:10] = 2, -100
    assert (classify_by_density(labels, hu, SPACING_MM)[0, :, 8:10] == 3).all()


def test_a_mirror_image_is_divided_as_its_original_whatever_the_voxel_size():
    random = np.random.default_rng(4)
    hu = random.integers(-700, 100, (2, 24, 24)).astype(np.int16)
    labels = np.full(hu.shape, 2, np.uint8)
    for spacing in (0.6, 0.9, 1.25, 1.4, 2.5):
        divided = classify_by_density(labels, hu, (spacing, spacing, 3.0))
        mirrored = classify_by_density(
            labels[..., ::-1], np.ascontiguousarray(hu[..., ::-1]), (spacing, spacing, 3.0)
        )
        # Sums of floats in another order may differ in the last digit, hence a voxel at most.
        assert np.count_nonzero(divided != mirrored[..., ::-1]) <= 1


def test_noise_of_single_voxels_does_not_decide():
    random = np.random.default_rng(0)
    hu = random.normal(-600, 100, (1, 60, 60)).astype(np.int16)
    labels = np.full(hu.shape, 2, np.uint8)
    assert np.count_nonzero(hu > HIGH_OPACITY_ABOVE_HU) > 10
    assert (classify_by_density(labels, hu, SPACING_MM) == 2).all()


def test_each_choice_divides_the_same_lesions_by_its_own_rule():
    hu, labels = patches(-800, -749, -351, -349, -161, -159)
    anatomy = no_anatomy(hu.shape)
    assert (LESION_ABOVE_HU, ARTERY_MARGIN_HU) == (-750, 200)

    def told_apart(kinds: str, artery_hu: float | None = None) -> list[int]:
        return kinds_of_patches(
            tell_kinds_apart(labels, hu, SPACING_MM, anatomy, kinds, artery_hu).labels
        )

    assert told_apart("density") == [2, 2, 2, 3, 3, 3]
    assert told_apart("thresholds") == [1, 2, 2, 3, 3, 3]
    assert told_apart("artery", 40.0) == [2, 2, 2, 2, 2, 3]
    assert told_apart("artery", -150.0 + 100) == [2, 2, 2, 2, 3, 3]
    assert told_apart("network") == [2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("kinds", KIND_CHOICES)
def test_the_note_states_the_choice(kinds: str):
    hu, labels = patches(-500)
    result = tell_kinds_apart(labels, hu, SPACING_MM, no_anatomy(hu.shape), kinds)
    assert KIND_CHOICES[kinds] in result.note
    assert result.note.endswith(".")


def test_the_note_of_the_artery_states_its_density_where_it_is_from_and_the_threshold():
    hu, labels = patches(-500)
    given = tell_kinds_apart(labels, hu, SPACING_MM, no_anatomy(hu.shape), "artery", 52.0)
    assert "pulmonary artery 52 HU (given by the user), threshold −148 HU" in given.note
    assert given.warnings == ()

    assumed = tell_kinds_apart(labels, hu, SPACING_MM, no_anatomy(hu.shape), "artery")
    assert "pulmonary artery 40 HU (assumed), threshold −160 HU" in assumed.note
    assert [warning.code for warning in assumed.warnings] == ["artery_not_found"]


@pytest.mark.parametrize(
    ("kinds", "artery_hu", "part"),
    [
        ("colour", None, "use one of density, thresholds, artery, network"),
        ("density", 40.0, "choose kinds “artery”"),
        ("artery", 5000.0, "from −100 to 1000"),
        ("artery", float("nan"), "from −100 to 1000"),
    ],
)
def test_choices_that_cannot_be_followed_are_refused(
    kinds: str, artery_hu: float | None, part: str
):
    with pytest.raises(BadInputError, match=part):
        check_kinds(kinds, artery_hu)


def test_a_gpu_without_room_leaves_the_kinds_to_the_cpu(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def no_room(*_arguments: object) -> None:
        asked.append("cuda")
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(kinds_on_gpu, "classify_on_gpu", no_room)
    hu, labels = patches(-500, -200)
    found = classify_by_density(labels, hu, SPACING_MM, device="cuda")
    assert asked == ["cuda"]
    assert np.array_equal(found, classify_by_density(labels, hu, SPACING_MM))
    assert kinds_of_patches(found) == [2, 3]
