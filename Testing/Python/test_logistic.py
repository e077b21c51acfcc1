"""Logistic regression against what tables of four cells give; separation; Firth's penalty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CovidLungQuantLib.cohort.logistic import fit_logistic, likelihood_ratio, separated_by
from CovidLungQuantLib.errors import BadInputError

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

NAMES = ["intercept", "exposed"]


def four_cells(a: int, b: int, c: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Events and design: a exposed with the event, b without; c others with, d without."""
    exposed = np.repeat([1.0, 1.0, 0.0, 0.0], (a, b, c, d))
    events = np.repeat([True, False, True, False], (a, b, c, d))
    return events, np.column_stack([np.ones_like(exposed), exposed])


def test_the_odds_ratio_of_four_cells():
    events, design = four_cells(12, 8, 5, 25)
    fit = fit_logistic(events, design, NAMES)
    log_odds = math.log(12 * 25 / (8 * 5))
    se = math.sqrt(1 / 12 + 1 / 8 + 1 / 5 + 1 / 25)
    assert fit.coefficients[1] == pytest.approx(log_odds)
    assert fit.standard_errors[1] == pytest.approx(se, rel=1e-5)
    assert fit.limits[:, 1] == pytest.approx([log_odds - 1.959964 * se, log_odds + 1.959964 * se])
    assert (fit.patients, fit.events) == (50, 17)


def test_the_likelihood_ratio_of_four_cells():
    events, design = four_cells(12, 8, 5, 25)
    fit = fit_logistic(events, design, NAMES)
    observed = np.array([[12, 8], [5, 25]], float)
    expected = observed.sum(1, keepdims=True) * observed.sum(0) / 50
    found = likelihood_ratio(events, design, fit, [0])
    assert found.chi2 == pytest.approx(2 * (observed * np.log(observed / expected)).sum())
    assert found.degrees_of_freedom == 1 and found.p < 0.01


def test_firth_adds_half_a_patient_to_each_of_four_cells():
    for cells in ((10, 0, 5, 20), (12, 8, 5, 25), (3, 0, 0, 4)):
        events, design = four_cells(*cells)
        fit = fit_logistic(events, design, NAMES, penalised=True)
        a, b, c, d = (count + 0.5 for count in cells)
        assert fit.coefficients == pytest.approx([math.log(c / d), math.log(a * d / (b * c))])
        assert fit.penalised and np.isfinite(fit.limits).all()


def test_the_penalised_likelihood_ratio_holds_the_coefficient_at_zero():
    events, design = four_cells(10, 0, 5, 20)
    fit = fit_logistic(events, design, NAMES, penalised=True)
    found = likelihood_ratio(events, design, fit, [0])

    def penalised(intercept: float, slope: float) -> float:
        log_odds = design @ [intercept, slope]
        p = 1 / (1 + np.exp(-log_odds))
        information = design.T @ (design * (p * (1 - p))[:, None])
        likelihood = (events * log_odds - np.logaddexp(0, log_odds)).sum()
        return likelihood + 0.5 * np.linalg.slogdet(information)[1]

    without = max(penalised(value, 0.0) for value in np.linspace(-3, 3, 60_001))
    assert found.chi2 == pytest.approx(2 * (penalised(*fit.coefficients) - without), abs=1e-6)


def test_variables_that_part_the_patients_are_named():
    events, design = four_cells(10, 0, 5, 20)
    other = np.random.default_rng(0).normal(size=len(events))
    design = np.column_stack([design, other])
    names = [*NAMES, "other"]
    assert separated_by(events, design, names) == ("exposed",)
    with pytest.raises(BadInputError, match=r"parted by “exposed” alone.*--penalised"):
        fit_logistic(events, design, names)
    assert fit_logistic(events, design, names, penalised=True).coefficients[1] > 2


def test_a_wholly_separating_number_is_found_and_an_almost_separating_one_is_not():
    age = np.arange(40.0)
    events = age >= 20
    design = np.column_stack([np.ones(40), age])
    assert separated_by(events, design, ["intercept", "age"]) == ("age",)
    events[19], events[20] = True, False
    assert separated_by(events, design, ["intercept", "age"]) == ()
    assert fit_logistic(events, design, ["intercept", "age"]).coefficients[1] > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_separation_is_never_printed_as_a_number(seed: int):
    # However many variables part them together: the plain fit either exists or is refused.
    random = np.random.default_rng(seed)
    design = np.column_stack([np.ones(30), random.normal(size=(30, 4))])
    events = design @ [0.2, 3.0, -2.0, 1.0, 0.0] > 0
    with pytest.raises(BadInputError, match="parted by"):
        fit_logistic(events, design, ["intercept", "a", "b", "c", "d"])


def test_a_variable_that_follows_from_others_is_named():
    events, design = four_cells(12, 8, 5, 25)
    double = np.column_stack([design, 1 - design[:, 1]])
    with pytest.raises(BadInputError, match="“unexposed” is the same for all patients, or follows"):
        fit_logistic(events, double, [*NAMES, "unexposed"])
