"""Numbers as pages and terminals show them."""

from __future__ import annotations

import math

import pytest

from CovidLungQuantLib.display import numbers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (numbers.volume_text(0.0), "0"),
        (numbers.volume_text(3.25), "3.2"),
        (numbers.volume_text(1234567.8), "1\u202f234\u202f568"),
        (numbers.percent_text(0.0), "0.0"),
        (numbers.percent_text(0.049), "<0.1"),
        (numbers.percent_text(12.34), "12.3"),
        (numbers.decimal_text(-400), "−400"),
        (numbers.decimal_text(-1.256, 2), "−1.26"),
        (numbers.significant_text(0.5), "0.500"),
        (numbers.significant_text(-12.345), "−12.3"),
        (numbers.significant_text(1234.5), "1234"),
        (numbers.difference_text(3.04), "+3.0"),
        (numbers.difference_text(-0.04), "0.0"),
        (numbers.difference_text(-5.46), "−5.5"),
        (numbers.p_text(0.0002), "p < 0.001"),
        (numbers.p_text(0.125), "p = 0.125"),
        (numbers.score_text(3), "3"),
        (numbers.mean_sd_text(-850.3, 40.6), "−850 ± 41"),
        (numbers.true_minus("-8.5 HU, unet-attention, -2"), "−8.5 HU, unet-attention, −2"),
    ],
)
def test_numbers_read_well(text: str, shown: str):
    assert text == shown


def test_what_is_undefined_is_a_dash_and_never_zero():
    for show in (
        numbers.volume_text,
        numbers.percent_text,
        numbers.decimal_text,
        numbers.significant_text,
        numbers.difference_text,
        numbers.p_text,
    ):
        assert show(math.nan) == "–"
    assert numbers.mean_sd_text(math.nan, math.nan) == "–"
    assert numbers.score_text(None) == "–"
