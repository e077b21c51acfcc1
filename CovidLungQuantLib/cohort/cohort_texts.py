"""How the pages of cohorts write measures, estimates and their limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

from CovidLungQuantLib.display.numbers import DASH, decimal_text, significant_text, true_minus
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.measures.columns import table_columns
from CovidLungQuantLib.printable import shortened

# Of groups, in the order of their names; the first two as for moderate and severe.
GROUP_COLORS = ("#2a6fd6", "#c8442f", "#3a8f5c", "#8a5bb5", "#b07a00", "#4a5a66")
LONGEST_NAME = 40

RESEARCH_NOTE = f"{DISCLAIMER} These are statistics of a cohort; they predict nothing of a patient."
PACKAGES = ("statsmodels", "pingouin", "pandas", "matplotlib")

_TITLES = {column.key: column.heading_with_unit for column in table_columns()} | {
    "lesion_percent": "Burden (%)"
}


def closing_notes() -> tuple[str, ...]:
    """Which packages computed what a page shows, and what it is for."""
    versions = [f"{name} {version(name)}" for name in PACKAGES if find_spec(name)]
    return f"Computed with {', '.join(versions)}.", RESEARCH_NOTE


def measure_title(key: str) -> str:
    """A column of the table as figures and tables call it."""
    return _TITLES.get(key, shortened(key, LONGEST_NAME))


def limits_text(lower: float, upper: float, decimals: int | None = None) -> str:
    """Limits such as “0.31 to 0.47”; a dash where one is not known."""
    return f"{_text(lower, decimals)} to {_text(upper, decimals)}"


def estimate_text(value: float, limits: Sequence[float], decimals: int | None = None) -> str:
    """An estimate with its limits in brackets; a dash where it is not known."""
    if math.isnan(value):
        return DASH
    return f"{_text(value, decimals)} ({limits_text(limits[0], limits[1], decimals)})"


def _text(value: float, decimals: int | None) -> str:
    if math.isnan(value):
        return DASH
    if decimals is None:
        return significant_text(value)
    # Without the minus of what rounds to zero.
    return decimal_text(round(value, decimals) + 0.0, decimals)


def exponent_text(value: float) -> str:
    """Three significant digits, however small the number is."""
    if math.isnan(value):
        return DASH
    if value == 0 or 0.001 <= abs(value) < 1000:
        return true_minus(f"{value:#.3g}".rstrip("."))
    mantissa, exponent = f"{value:.2e}".split("e")
    digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{digits}".replace("-", "−")
