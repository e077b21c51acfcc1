"""GGO against high opacity by density."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.lesions.kinds import HIGH_OPACITY_ABOVE_HU, classify_by_density

SPACING_MM = (1.0, 1.0, 5.0)


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


def test_noise_of_single_voxels_does_not_decide():
    random = np.random.default_rng(0)
    hu = random.normal(-600, 100, (1, 60, 60)).astype(np.int16)
    labels = np.full(hu.shape, 2, np.uint8)
    assert np.count_nonzero(hu > HIGH_OPACITY_ABOVE_HU) > 10
    assert (classify_by_density(labels, hu, SPACING_MM) == 2).all()
