"""Agreement of paired numbers, against published examples and sums done by hand."""

from __future__ import annotations

import math

import pytest

from CovidLungQuantLib.cohort.agreement import paired_agreement, summarise

NAN = math.nan
# Peak expiratory flow, first readings with both meters, L/min: Bland and Altman, Lancet 1986.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI_WRIGHT = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
# Depression scale before and after: Hollander and Wolfe 1973, example of the signed-rank test.
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]


def test_bland_and_altman_s_own_example():
    agreement = paired_agreement(WRIGHT, MINI_WRIGHT)
    assert agreement.n == 17
    # As printed: mean difference -2.1, SD 38.8, r = 0.94; their limits take 2 SD.
    assert agreement.bias == pytest.approx(-2.1, abs=0.05)
    assert agreement.sd_difference == pytest.approx(38.8, abs=0.05)
    assert agreement.pearson == pytest.approx(0.94, abs=0.005)
    assert agreement.lower_limit == pytest.approx(-2.1176 - 1.96 * 38.7651, abs=0.001)
    assert agreement.upper_limit == pytest.approx(-2.1176 + 1.96 * 38.7651, abs=0.001)


def test_the_signed_rank_test_s_own_example():
    agreement = paired_agreement(BEFORE, AFTER)
    # Rank sums 40 and 5; two-sided exact p = 20 / 512.
    assert agreement.wilcoxon_w == 5
    assert agreement.wilcoxon_p == pytest.approx(20 / 512, rel=1e-12)


def test_sums_by_hand():
    agreement = paired_agreement([2, 1, 4, 3, 5], [1, 2, 3, 4, 5])
    # Differences 1, -1, 1, -1, 0; rank correlation 1 - 6·4 / (5·24), and Pearson the same.
    assert agreement.mean_absolute_error == pytest.approx(0.8)
    assert agreement.sd_absolute_error == pytest.approx(math.sqrt(0.2))
    assert agreement.bias == 0.0
    assert agreement.sd_difference == 1.0
    assert (agreement.lower_limit, agreement.upper_limit) == (-1.96, 1.96)
    assert agreement.pearson == pytest.approx(0.8)
    assert agreement.spearman == pytest.approx(0.8)
    # t = 0.8·√(3 / 0.36) = 2.3094 with 3 degrees of freedom.
    assert agreement.pearson_p == pytest.approx(0.1041, abs=0.00005)
    # Four equal ranks of 2.5, two on each side.
    assert agreement.wilcoxon_w == 5.0
    assert agreement.reason == ""


def test_ties_take_mean_ranks():
    agreement = paired_agreement([1, 2, 3, 4], [10, 20, 20, 30])
    # Ranks 1, 2.5, 2.5, 4 against 1…4: 4.5 / √(5·4.5).
    assert agreement.spearman == pytest.approx(4.5 / math.sqrt(22.5), rel=1e-12)


def test_pairs_with_a_missing_value_are_left_out_and_counted():
    agreement = paired_agreement([1.0, NAN, 3.0, 7.0], [2.0, 2.0, NAN, 9.0])
    assert (agreement.n, agreement.missing) == (2, 2)
    assert agreement.bias == -1.5
    assert math.isnan(agreement.spearman)
    assert agreement.reason == "correlation needs 3 pairs"


def test_what_is_undefined_is_nan_with_the_reason():
    one = paired_agreement([3.0], [1.0])
    assert (one.bias, one.mean_absolute_error) == (2.0, 2.0)
    assert math.isnan(one.sd_difference) and math.isnan(one.lower_limit)
    assert "one pair alone has no SD" in one.reason

    nothing = paired_agreement([NAN], [1.0])
    assert math.isnan(nothing.bias) and nothing.reason == "no pair has both values"

    constant = paired_agreement([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    assert math.isnan(constant.pearson) and "all the same" in constant.reason
    assert constant.bias == -3.0

    equal = paired_agreement([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert math.isnan(equal.wilcoxon_p) and "no pair differs" in equal.reason
    assert (equal.bias, equal.sd_difference, equal.pearson) == (0.0, 0.0, pytest.approx(1.0))


def test_series_of_different_length_are_a_mistake():
    with pytest.raises(ValueError):
        paired_agreement([1.0], [1.0, 2.0])


def test_a_summary_counts_what_it_leaves_out():
    summary = summarise([2.0, NAN, 4.0, 9.0])
    assert (summary.n, summary.undefined) == (3, 1)
    assert (summary.mean, summary.median) == (5.0, 4.0)
    assert (summary.minimum, summary.maximum) == (2.0, 9.0)
    assert summary.sd == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert math.isnan(summarise([3.0]).sd)
    empty = summarise([NAN, NAN])
    assert (empty.n, empty.undefined) == (0, 2) and math.isnan(empty.mean)
