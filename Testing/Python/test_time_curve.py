"""The cubic of Pan et al. 2021: its peaks, published and fitted; what the limits are made of."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.cohort.mixed_curve import compare_groups, fit_mixed
from CovidLungQuantLib.cohort.published_cohorts import MODERATE, PAN_CURVES, SEVERE
from CovidLungQuantLib.cohort.time_curve import cubic, fit_cubic, peak

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

# Of each published curve: the day and height by its printed coefficients, and what the text says.
PUBLISHED_PEAKS = {
    ("lesion_percent", MODERATE): (18.231, 3.380, 18, 3.37),
    ("lesion_percent", SEVERE): (22.393, 27.900, 23, 27.91),
    ("ggo_percent", MODERATE): (18.459, 2.655, 18, 2.65),
    ("ggo_percent", SEVERE): (23.413, 23.036, 23, 23.03),
    ("high_opacity_percent", MODERATE): (17.524, 0.718, 18, 0.72),
    ("high_opacity_percent", SEVERE): (19.160, 4.991, 19, 4.99),
}


@pytest.mark.parametrize(("measure", "group"), PUBLISHED_PEAKS)
def test_published_coefficients_give_the_published_peaks(measure: str, group: str):
    day, height, published_day, published_height = PUBLISHED_PEAKS[measure, group]
    found_day, found_height = peak(np.array(PAN_CURVES[measure][group]), 70.0)
    assert found_day == pytest.approx(day, abs=0.001)
    assert found_height == pytest.approx(height, abs=0.001)
    # The coefficients are printed with three digits.
    assert abs(found_day - published_day) < 0.65
    assert found_height == pytest.approx(published_height, abs=0.011)


def test_the_published_parts_add_up_to_the_burden():
    parts = [np.array(PAN_CURVES[name][SEVERE]) for name in ("ggo_percent", "high_opacity_percent")]
    assert sum(parts) == pytest.approx(np.array(PAN_CURVES["lesion_percent"][SEVERE]))


def test_peaks_of_curves_worked_out_by_hand():
    # 6x − x² peaks at 3; x³ − 9x² + 24x at 2 (and has its valley at 4); −x has no peak; 12x − x³
    # peaks at 2.
    curves = np.array([[6.0, -1.0, 0.0], [24.0, -9.0, 1.0], [-1.0, 0.0, 0.0], [12.0, 0.0, -1.0]])
    days, heights = peak(curves, 10.0)
    assert days == pytest.approx([3.0, 2.0, np.nan, 2.0], nan_ok=True)
    assert heights == pytest.approx([9.0, 20.0, np.nan, 16.0], nan_ok=True)
    assert np.isnan(peak(curves[0], 2.5)[0])


def test_scans_on_a_curve_give_that_curve():
    truth = np.array([2.89, -0.0912, 0.000794])
    days = np.array([2.0, 9.0, 20.0, 31.0, 5.0, 12.0, 25.0, 40.0, 8.0, 17.0])
    fit = fit_cubic(days, cubic(truth, days), np.repeat(list("abcde"), 2), bootstraps=100)
    assert fit.coefficients == pytest.approx(truth)
    assert (fit.scans, fit.patients) == (10, 5)
    assert fit.r2 == pytest.approx(1.0) and fit.r2_about_mean == pytest.approx(1.0)
    assert fit.peak_day == pytest.approx(22.3925, abs=1e-4)
    assert fit.band[0] == pytest.approx(fit.curve) and fit.band[1] == pytest.approx(fit.curve)


def test_r2_is_about_zero_as_spss_has_it():
    days = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    values = np.array([3.0, 5.0, 4.0, 6.0, 5.0, 8.0])
    design = days[:, None] ** [1, 2, 3]
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    fit = fit_cubic(days, values, np.arange(6), bootstraps=100)
    assert fit.r2 == pytest.approx(1 - (residual**2).sum() / (values**2).sum())
    spread = ((values - values.mean()) ** 2).sum()
    assert fit.r2_about_mean == pytest.approx(1 - (residual**2).sum() / spread)


def test_patients_not_scans_make_the_limits():
    random = np.random.default_rng(0)
    days = np.tile([5.0, 12.0, 19.0, 26.0], 20)
    patients = np.repeat(np.arange(20), 4)
    values = cubic(np.array([1.0, -0.03, 0.0002]), days) * random.gamma(4, 0.25, 20)[patients]
    alike = fit_cubic(days, values, patients, bootstraps=500)
    # The same scans as if each were of another patient.
    apart = fit_cubic(days, values, np.arange(80), bootstraps=500)
    assert alike.coefficients == pytest.approx(apart.coefficients)
    for fit in (alike, apart):
        assert (fit.band[0] <= fit.curve).all() and (fit.curve <= fit.band[1]).all()
    width = (alike.band[1] - alike.band[0])[50] / (apart.band[1] - apart.band[0])[50]
    assert width > 1.5
    assert np.diff(alike.peak_height_limits) > np.diff(apart.peak_height_limits)


def test_the_same_seed_gives_the_same_band():
    days, values = np.arange(1.0, 13.0), np.sqrt(np.arange(1.0, 13.0))
    patients = np.repeat(np.arange(6), 2)
    first, second = (fit_cubic(days, values, patients, 200, seed=3) for _ in range(2))
    assert (first.band == second.band).all()


def test_a_rising_curve_has_no_peak_and_a_late_limit_is_open():
    days = np.tile(np.arange(1.0, 11.0), 5)
    patients = np.repeat(np.arange(5), 10)
    values = 2 * days + np.random.default_rng(0).normal(0, 0.1, 50)
    fit = fit_cubic(days, values, patients, bootstraps=100)
    assert np.isnan(fit.peak_day) and np.isnan(fit.peak_day_limits).all()


def patients_of_two_groups(differ: bool) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(5)
    patients = np.repeat(np.arange(40), 5)
    days = np.tile([3.0, 9.0, 15.0, 22.0, 30.0], 40) + random.uniform(0, 3, 200)
    groups = np.where(patients % 2 == 0, "one", "other")
    slopes = random.normal(0.0, 0.15, 40)[patients]
    values = cubic(np.array([1.5, -0.05, 0.0005]), days) + slopes * days
    if differ:
        values = np.where(groups == "other", 1.5 * values, values)
    return days, values + random.normal(0.0, 0.5, 200), patients, groups


def test_the_mixed_model_finds_what_patients_were_drawn_from():
    days, values, patients, _ = patients_of_two_groups(differ=False)
    fit = fit_mixed(days, values, patients)
    truth = np.array([1.5, -0.05, 0.0005])
    assert (fit.limits[0] < truth).all() and (truth < fit.limits[1]).all()
    assert fit.residual_sd == pytest.approx(0.5, abs=0.1)
    # Patients differ in slope by 0.15 a day; ignoring that, the plain fit is less sure of c.
    assert fit.coefficients == pytest.approx(
        fit_cubic(days, values, patients, 100).coefficients, rel=0.5
    )


def test_groups_that_differ_are_told_apart_and_others_are_not():
    chi2, freedom, p = compare_groups(*patients_of_two_groups(differ=True))
    assert freedom == 3 and p < 0.001 and chi2 > 16
    assert compare_groups(*patients_of_two_groups(differ=False))[2] > 0.05
