"""The picture of a model's worst slices."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from research.worst_slices import (
    AGREED,
    LUNG,
    OUTSIDE,
    OVERLOOKED,
    WRONG,
    comparison_picture,
    worst_slice,
)


def test_the_worst_slice_has_the_most_lesion_in_one_map_only():
    labels, reference = np.ones((2, 4, 3, 3), np.uint8)
    reference[1] = GGO.value  # All overlooked but the first row.
    labels[1, 0] = HIGH_OPACITY.value
    reference[2] = labels[2] = GGO.value  # More lesion, all found.
    labels[3, 0] = GGO.value
    assert worst_slice(labels, reference) == 1


def test_every_kind_of_agreement_has_its_colour():
    labels = np.array([[0, NORMAL_LUNG.value, GGO.value, NORMAL_LUNG.value, GGO.value]], np.uint8)
    reference = np.array(
        [[0, NORMAL_LUNG.value, HIGH_OPACITY.value, GGO.value, NORMAL_LUNG.value]], np.uint8
    )
    colours = [tuple(colour) for colour in comparison_picture(labels, reference)[0].tolist()]
    assert colours == [OUTSIDE, LUNG, AGREED, OVERLOOKED, WRONG]
