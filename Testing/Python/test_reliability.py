"""Intraclass correlations against the published example, and limits of limits of agreement."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CovidLungQuantLib.cohort.agreement import paired_agreement
from CovidLungQuantLib.cohort.agreement_overview import overview_rows
from CovidLungQuantLib.cohort.reader_tables import ReaderTable, compare_observers
from CovidLungQuantLib.cohort.reliability import limits_of_limits, reliabilities

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

# Shrout and Fleiss, Psychological Bulletin 1979, Table 2: four judges of six targets.
JUDGES = {
    "a": (9.0, 6.0, 8.0, 7.0, 10.0, 6.0),
    "b": (2.0, 1.0, 4.0, 1.0, 5.0, 2.0),
    "c": (5.0, 3.0, 6.0, 2.0, 6.0, 4.0),
    "d": (8.0, 2.0, 8.0, 6.0, 9.0, 7.0),
}


def table_of(observers: dict[str, tuple[float, ...]]) -> ReaderTable:
    count = len(next(iter(observers.values())))
    return ReaderTable("m", tuple(f"case{number}" for number in range(count)), observers)


def test_the_example_of_shrout_and_fleiss():
    (all_readers, *pairs) = reliabilities(table_of(JUDGES))
    assert all_readers.kind == "all readers" and all_readers.readings == ("a", "b", "c", "d")
    found = {item.kind: round(item.icc, 2) for item in all_readers.correlations}
    assert found == {"ICC(1,1)": 0.17, "ICC(2,1)": 0.29, "ICC(3,1)": 0.71}
    absolute = all_readers.absolute
    assert (absolute.lower, absolute.upper) == pytest.approx((0.019, 0.761), abs=0.001)
    assert len(pairs) == 6 and all(item.kind == "pair" for item in pairs)


def test_the_software_and_sessions_have_their_own():
    found = reliabilities(
        table_of(
            {
                "automatic": JUDGES["a"],
                "x": JUDGES["b"],
                "y": JUDGES["c"],
                "x_repeat": JUDGES["b"],
                "x_repeat2": JUDGES["d"],
            }
        )
    )
    assert [(item.kind, item.readings) for item in found if item.kind != "pair"] == [
        ("software and readers", ("automatic", "x", "y")),
        ("all sessions of x", ("x", "x_repeat", "x_repeat2")),
    ]


def test_cases_that_somebody_has_not_read_are_left_out_and_counted():
    observers = {**JUDGES, "b": (2.0, 1.0, math.nan, 1.0, 5.0, 2.0)}
    found = reliabilities(table_of(observers))[0]
    assert (found.n, found.missing) == (5, 1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (((1.0, 2.0), (1.0, 3.0)), "needs 3 cases"),
        (((1.0, 2.0, 3.0), (1.0, 2.0, 3.0)), "all readings are the same"),
        (((2.0, 2.0, 2.0), (2.0, 2.0, 2.0)), "cases that are all the same"),
    ],
)
def test_where_there_is_no_icc_the_reason_stands(values, reason: str):
    (found,) = reliabilities(table_of({"a": values[0], "b": values[1]}))
    assert found.correlations == () and reason in found.reason
    assert math.isnan(found.absolute.icc)


def test_limits_of_limits_are_those_of_bland_and_altman_where_there_are_many_cases():
    differences = np.random.default_rng(0).normal(1.0, 2.0, 4000)
    agreement = paired_agreement(differences, np.zeros(4000))
    (low, low_upper), (high_lower, high) = limits_of_limits(agreement)
    sd = agreement.sd_difference
    se = sd * math.sqrt(1 / 4000 + 1.96**2 / (2 * 3999))
    assert low == pytest.approx(agreement.lower_limit - 1.96 * se, abs=0.003)
    assert low_upper == pytest.approx(agreement.lower_limit + 1.96 * se, abs=0.003)
    assert high_lower == pytest.approx(agreement.upper_limit - 1.96 * se, abs=0.003)
    assert high == pytest.approx(agreement.upper_limit + 1.96 * se, abs=0.003)


def test_few_cases_have_wider_limits_outwards_than_inwards():
    agreement = paired_agreement([1.0, 2.0, 4.0, 3.0], [1.0, 1.0, 2.0, 4.0])
    (low, low_upper), (high_lower, high) = limits_of_limits(agreement)
    assert high - agreement.upper_limit > agreement.upper_limit - high_lower > 0
    assert agreement.lower_limit - low == pytest.approx(high - agreement.upper_limit)
    assert low_upper - agreement.lower_limit == pytest.approx(agreement.upper_limit - high_lower)
    single = limits_of_limits(paired_agreement([1.0], [2.0]))
    assert all(math.isnan(value) for pair in single for value in pair)


def test_the_overview_has_a_row_for_each_pair_with_its_icc():
    table = table_of(JUDGES)
    rows = overview_rows(compare_observers(table), reliabilities(table))
    assert [(row["first"], row["second"]) for row in rows][:2] == [("b", "a"), ("c", "a")]
    assert rows[0]["bias"] == pytest.approx(-31 / 6)
    # Of judges a and b: mean squares of targets 4.6833, of judges 80.0833, of error 0.6833.
    assert rows[0]["icc"] == pytest.approx(4 / (4.68333 + 0.68333 + 2 * 79.4 / 6), abs=1e-5)
