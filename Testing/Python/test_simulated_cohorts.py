"""Cohorts of known truth: 95 % limits hold the truth in about 95 of 100 cohorts.

Of 200 cohorts limits that are right hold it in 186 to 194 (93 to 97 %) four times of five, and in
fewer than 180 once in a thousand. So each is asked for 90 %, and those of a kind together for 93 to
97 %.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from CovidLungQuantLib.cohort.agreement import paired_agreement
from CovidLungQuantLib.cohort.discrimination import c_statistic, c_statistics
from CovidLungQuantLib.cohort.logistic import fit_logistic
from CovidLungQuantLib.cohort.reliability import limits_of_limits
from CovidLungQuantLib.cohort.simulated_cohort import (
    BARTOLI_PATIENTS,
    GROUP_SIZES,
    LAST_DAYS,
    outcome_columns,
    outcome_truth,
    reader_values,
    serial_scans,
    true_curves,
)
from CovidLungQuantLib.cohort.time_curve import COEFFICIENTS, cubic, fit_cubic, peak

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

COHORTS = 200
LEAST_PERCENT = 90.0
PERCENT_TOGETHER = (93.0, 97.0)
BAND_DAYS = (10.0, 20.0, 30.0)

pytestmark = pytest.mark.slow


def assert_hold_the_truth(held: Mapping[str, list[bool]]) -> None:
    percent = {name: 100.0 * np.mean(times) for name, times in held.items()}
    assert all(len(times) == COHORTS for times in held.values())
    assert min(percent.values()) >= LEAST_PERCENT, percent
    together = np.mean(list(percent.values()))
    assert PERCENT_TOGETHER[0] <= together <= PERCENT_TOGETHER[1], percent


def holds(lower: float, truth: float, upper: float) -> bool:
    """Whether limits hold the truth; NaN is an open end."""
    return not (truth < lower) and not (truth > upper)


def test_curves_peaks_and_bands():
    held: dict[str, list[bool]] = {}
    for seed in range(COHORTS):
        rows = serial_scans(seed)
        for group in GROUP_SIZES:
            of_group = [row for row in rows if row["group"] == group]
            fit = fit_cubic(
                np.array([row["days_from_onset"] for row in of_group]),
                np.array([row["lesion_percent"] for row in of_group]),
                np.array([row["patient_id"] for row in of_group]),
                bootstraps=200,
                seed=seed,
            )
            truth = np.array(true_curves(group)["lesion_percent"])
            day, height = peak(truth, LAST_DAYS[group])
            found = {
                name: (fit.limits[0, index], truth[index], fit.limits[1, index])
                for index, name in enumerate(COEFFICIENTS)
            }
            found["peak day"] = (fit.peak_day_limits[0], day, fit.peak_day_limits[1])
            found["peak height"] = (fit.peak_height_limits[0], height, fit.peak_height_limits[1])
            for band_day in BAND_DAYS:
                lower, upper = (np.interp(band_day, fit.days, edge) for edge in fit.band)
                found[f"band on day {band_day:g}"] = (
                    lower,
                    cubic(truth, np.array([band_day]))[0],
                    upper,
                )
            for name, limits in found.items():
                held.setdefault(f"{group}, {name}", []).append(holds(*limits))
    assert_hold_the_truth(held)


def test_limits_of_agreement():
    bias, sd = 0.8, 1.5
    truths = {"lower": bias - 1.96 * sd, "upper": bias + 1.96 * sd}
    held: dict[str, list[bool]] = {name: [] for name in truths}
    for seed in range(COHORTS):
        rows = reader_values(seed, bias=bias, sd=sd)
        agreement = paired_agreement(
            [row["reader2"] for row in rows], [row["reader1"] for row in rows]
        )
        for (name, truth), (lower, upper) in zip(
            truths.items(), limits_of_limits(agreement), strict=True
        ):
            held[name].append(holds(lower, truth, upper))
    assert_hold_the_truth(held)


def test_odds_ratios_and_c_statistic():
    truth = outcome_truth()
    columns = list(truth.log_odds)
    names = ["intercept", *columns]
    true_coefficients = np.array([truth.intercept, *truth.log_odds.values()])
    population = outcome_columns(10_000, truth, 20_000)
    everybody, happened = design_of(population, columns)
    held: dict[str, list[bool]] = {name: [] for name in names}
    held["C-statistic of the truth"] = []
    held["C-statistic of the model"] = []
    for seed in range(COHORTS):
        design, events = design_of(outcome_columns(seed, truth, BARTOLI_PATIENTS), columns)
        fit = fit_logistic(events, design, names)
        for name, lower, true, upper in zip(
            names, *fit_limits(fit, true_coefficients), strict=True
        ):
            held[name].append(holds(lower, true, upper))
        found = c_statistic(events, design @ true_coefficients)
        held["C-statistic of the truth"].append(holds(found.lower, truth.c_statistic, found.upper))
        # On patients held out, of a model fitted to the others, as the command judges it.
        fitted = fit_logistic(events[486:], design[486:], names)
        judged = c_statistic(events[:486], fitted.log_odds(design[:486]))
        of_model = c_statistics(happened, [fitted.log_odds(everybody)])[0][0]
        held["C-statistic of the model"].append(holds(judged.lower, of_model, judged.upper))
    assert_hold_the_truth(held)


def design_of(
    values: Mapping[str, np.ndarray], columns: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    events = values["outcome"] == 1
    return np.column_stack([np.ones(len(events)), *(values[name] for name in columns)]), events


def fit_limits(fit, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lower, upper = fit.limits
    return lower, truth, upper
