"""Changes that imitate other scanners: each does what its name says, and labels follow."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.training.data import AnnotatedScan
from research.perturbations import (
    AIR_HU,
    PERTURBATIONS,
    noise_sd_hu,
    noisier,
    sharper,
    shifted_down,
    shifted_up,
    smaller_field_of_view,
    thicker,
    thinner,
    tilted,
)


def a_scan(spacing_z_mm: float = 2.0, noise_hu: float = 12.0) -> AnnotatedScan:
    random = np.random.default_rng(7)
    hu = np.full((12, 60, 80), 40.0)
    labels = np.zeros(hu.shape, np.uint8)
    labels[2:10, 20:40, 20:60] = 1
    labels[4:8, 24:32, 24:40] = 2
    hu[labels == 1] = -850
    hu[labels == 2] = -500
    hu += random.normal(0, noise_hu, hu.shape)
    hu[:, :5] = AIR_HU
    return AnnotatedScan("case", np.rint(hu).astype(np.int16), labels, (1.5, 1.5, spacing_z_mm))


def test_noise_is_measured_and_its_variance_made_four_times_as_large():
    scan = a_scan()
    assert noise_sd_hu(scan) == pytest.approx(12.0, rel=0.05)
    changed = noisier(scan)
    flat = np.s_[:, 45:, :]
    assert changed.hu[flat].std() == pytest.approx(24.0, rel=0.05)
    assert changed.labels is scan.labels


def test_a_sharper_kernel_raises_noise_and_keeps_means():
    scan = a_scan()
    changed = sharper(scan)
    flat = np.s_[:, 45:, 5:-5]
    assert changed.hu[flat].std() > 1.1 * scan.hu[flat].std()
    assert changed.hu[flat].mean() == pytest.approx(scan.hu[flat].mean(), abs=1.0)


def test_thick_slices_are_means_and_labels_the_commonest():
    scan = a_scan(noise_hu=0.0)
    changed = thicker(scan)
    assert changed.hu.shape == (4, 60, 80) and changed.spacing_mm == (1.5, 1.5, 6.0)
    # Slices 3, 4 and 5: one normal, two with lesion.
    assert changed.hu[1, 25, 30] == round((-850 - 500 - 500) / 3)
    assert changed.labels[1, 25, 30] == 2
    # What a reader left open is a label like any other.
    scan.labels[4:6, 25, 30] = 255
    assert thicker(scan).labels[1, 25, 30] == 255
    # Slices 0, 1 and 2: two outside, one normal.
    assert changed.labels[0, 35, 30] == 0


def test_thin_slices_keep_volumes():
    scan = a_scan(spacing_z_mm=4.0, noise_hu=0.0)
    changed = thinner(scan)
    assert changed.hu.shape == (48, 60, 80) and changed.spacing_mm == (1.5, 1.5, 1.0)
    for value in (1, 2):
        assert np.count_nonzero(changed.labels == value) == 4 * np.count_nonzero(
            scan.labels == value
        )
    # Half-way between slices 3 (normal) and 4 (lesion) the HU are half-way too.
    near = changed.hu[[15, 16], 25, 30]
    assert near.sum() == -850 - 500


def test_a_shift_leaves_the_air_outside():
    scan = a_scan()
    inside = scan.hu > AIR_HU
    for change, by_hu in ((shifted_up, 30), (shifted_down, -30)):
        changed = change(scan)
        assert (changed.hu[inside] - scan.hu[inside] == by_hu).all()
        assert (changed.hu[~inside] == AIR_HU).all()


def test_a_tilt_turns_about_the_middle_and_keeps_volumes():
    scan = a_scan(noise_hu=0.0)
    changed = tilted(scan)
    assert changed.labels[6, 30, 40] == scan.labels[6, 30, 40]
    lesion = np.count_nonzero(changed.labels == 2) / np.count_nonzero(scan.labels == 2)
    assert lesion == pytest.approx(1.0, abs=0.1)
    assert not np.array_equal(changed.labels, scan.labels)
    assert changed.hu[changed.labels == 2].mean() == pytest.approx(-500, abs=40)


def test_a_smaller_field_of_view_keeps_the_middle():
    scan = a_scan()
    changed = smaller_field_of_view(scan)
    assert changed.hu.shape == (12, 48, 64)
    assert np.array_equal(changed.hu, scan.hu[:, 6:54, 8:72])
    assert np.array_equal(changed.labels, scan.labels[:, 6:54, 8:72])


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_change_keeps_ct_and_labels_on_one_grid(name):
    changed = PERTURBATIONS[name](a_scan())
    assert changed.hu.shape == changed.labels.shape
    assert changed.hu.dtype == np.int16 and changed.labels.dtype == np.uint8
    assert set(np.unique(changed.labels)) == {0, 1, 2}
