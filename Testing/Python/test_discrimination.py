"""C-statistics with DeLong's variance, cut-offs, calibration and net benefit, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CovidLungQuantLib.cohort.discrimination import (
    c_statistic,
    c_statistics,
    calibration,
    compare_c,
    judge_cut_off,
    net_benefit,
    net_benefit_of_all,
    share_of,
    youden_cut_off,
)

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

EVENTS = np.array([True, True, False, False, False])
FIRST = np.array([3.0, 5.0, 1.0, 3.0, 4.0])
SECOND = np.array([2.0, 6.0, 1.0, 2.0, 7.0])


def test_delong_by_hand():
    # Of FIRST: each event above 1.5 and 3 of the three others, so (1.5 + 3)/6. Placements of
    # events 0.5, 1 (variance 1/8), of the others 1, 0.75, 0.5 (variance 1/16).
    areas, covariance = c_statistics(EVENTS, [FIRST, SECOND])
    assert areas == pytest.approx([0.75, 7 / 12])
    assert covariance[0, 0] == pytest.approx(0.125 / 2 + 0.0625 / 3)
    assert covariance[1, 1] == pytest.approx((1 / 72) / 2 + (13 / 48) / 3)
    assert covariance[0, 1] == covariance[1, 0] == pytest.approx((1 / 24) / 2 + 0.125 / 3)


def test_two_scores_compared_by_hand():
    found = compare_c(EVENTS, FIRST, SECOND)
    assert found.difference == pytest.approx(1 / 6)
    assert found.z == pytest.approx((1 / 6) / math.sqrt(1 / 18))
    assert found.p == pytest.approx(0.4795, abs=1e-4)


def test_a_score_against_itself_has_no_test():
    found = compare_c(EVENTS, FIRST, FIRST)
    assert found.difference == 0.0 and math.isnan(found.p)


def test_limits_stay_between_0_and_1():
    found = c_statistic(np.array([1, 1, 1, 0, 0], bool), np.array([5.0, 4.0, 2.0, 3.0, 1.0]))
    assert found.c == pytest.approx(5 / 6)
    assert found.upper == 1.0 and 0.0 <= found.lower < found.c


def test_only_the_order_of_a_score_counts():
    assert c_statistic(EVENTS, FIRST) == c_statistic(EVENTS, np.exp(FIRST))
    assert c_statistic(EVENTS, -FIRST).c == pytest.approx(0.25)


def test_youdens_cut_off():
    events = np.array([0, 0, 0, 0, 1, 0, 1, 1], bool)
    score = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    # From 5 on: all 3 events and 1 of 5 others; from 7 on 2 of 3 and none.
    found = youden_cut_off(events, score)
    assert (found.value, found.youden) == (5.0, pytest.approx(0.8))
    assert (found.sensitivity.count, found.sensitivity.of) == (3, 3)
    assert judge_cut_off(events, score, 7.0).youden == pytest.approx(2 / 3)


def test_shares_with_wilsons_limits():
    # 1 of 10: Wilson 1927 gives 0.0179 to 0.4042.
    found = share_of(1, 10)
    assert (found.lower, found.upper) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert math.isnan(share_of(0, 0).share)


def test_probabilities_that_are_true_are_calibrated():
    # 10 of 50 with 0.2 and 30 of 50 with 0.6.
    probability = np.repeat([0.2, 0.6], 50)
    events = np.concatenate([np.arange(50) < 10, np.arange(50) < 30])
    found = calibration(events, probability)
    assert found.intercept == pytest.approx(0.0, abs=1e-9)
    assert found.slope == pytest.approx(1.0)
    assert found.brier == pytest.approx((0.16 + 0.24) / 2)
    assert found.scaled_brier == pytest.approx(1 - 0.20 / 0.24)
    assert len(found.groups) == 10 and sum(group.observed.of for group in found.groups) == 100


def test_probabilities_that_are_too_extreme_have_a_small_slope():
    log_odds = np.repeat(np.log([0.25, 1.5]), 50) * 2
    events = np.concatenate([np.arange(50) < 10, np.arange(50) < 30])
    assert calibration(events, 1 / (1 + np.exp(-log_odds))).slope == pytest.approx(0.5)


def test_probabilities_that_part_the_patients_have_no_slope():
    events = np.array([False] * 10 + [True] * 10)
    found = calibration(events, np.linspace(0.1, 0.9, 20))
    assert math.isnan(found.slope) and math.isfinite(found.intercept) and found.brier < 0.25


def test_net_benefit_by_hand():
    events = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], bool)
    probability = np.array([0.9, 0.3, 0.5, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    thresholds = np.array([0.2, 0.4])
    # At 0.2 two events and two others; at 0.4 one and one.
    assert net_benefit(events, probability, thresholds) == pytest.approx(
        [0.2 - 0.2 * 0.25, 0.1 - 0.1 * 0.4 / 0.6]
    )
    assert net_benefit_of_all(events, thresholds) == pytest.approx(
        [0.2 - 0.8 * 0.25, 0.2 - 0.8 * 0.4 / 0.6]
    )
