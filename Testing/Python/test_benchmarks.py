"""The benchmark of growth: what its page says of given figures."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "Benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from scaling_page import Results, growth, write_page  # noqa: E402
from scaling_steps import a_chest  # noqa: E402


def figures(seconds: float, **others: float) -> dict[str, float]:
    return {"seconds": seconds, "cpu_seconds": 2 * seconds, **others}


def test_growth_is_the_exponent():
    assert growth([(60, 3.0), (120, 6.0), (240, 12.0)]) == pytest.approx(1.0)
    assert growth([(10, 5.0), (1000, 5.0)]) == pytest.approx(0.0)
    assert growth([(10, 1.0), (20, 4.0)]) == pytest.approx(2.0)
    assert math.isnan(growth([(60, 3.0)]))


def test_of_several_runs_the_one_that_took_least_counts():
    results = Results()
    for seconds in (3.0, 2.0, 4.0):
        results.add("cpu", "lungs", 60, figures(seconds))
    assert results.series("cpu", "lungs", "seconds") == [(60, 2.0)]


def test_the_page_shows_seconds_growth_memory_and_ratios(tmp_path: Path):
    results = Results()
    for count, seconds in ((60, 10.0), (120, 30.0)):
        results.add("cpu", "whole run", count, figures(seconds, peak_mib=7.0 * count))
        results.add("cpu", "lungs", count, figures(seconds / 5))
    results.add("cpu", "network", 120, figures(4.0))
    results.add("cpu", "network, literally", 120, figures(34.0, agreement_percent=99.95))
    page = write_page(tmp_path, results, {"processor": "a slow one"}, "make bench").read_text()
    assert "| processor | a slow one |" in page and "`make bench`" in page
    assert "| lungs | 2.00 (4.00) | 6.00 (12.00) | 1.58 |" in page
    assert "120 slices take 3.0 times as long as 60." in page
    assert "| main memory | 420 | 840 |" in page
    assert "| 120 | 34.00 ÷ 4.00 | 68.00 ÷ 8.00 | 8.50 | 8.50 |" in page
    assert "99.950 %" in page
    assert "lungmask" not in page and "GPU" not in page


def test_a_chest_of_more_slices_is_as_high():
    few, many = a_chest(20), a_chest(41)
    assert few.hu.shape == (20, 512, 512) and many.hu.shape == (41, 512, 512)
    heights_mm = [19 * few.geometry.spacing_mm[2], 40 * many.geometry.spacing_mm[2]]
    assert heights_mm[0] == pytest.approx(heights_mm[1]) and 250 < heights_mm[0] < 350
    # Every other slice of the finer one lies between slices of the coarser.
    assert abs(int(few.hu[0].mean()) - int(many.hu[0].mean())) < 1
    assert abs(int(few.hu[-1].mean()) - int(many.hu[-1].mean())) < 1
