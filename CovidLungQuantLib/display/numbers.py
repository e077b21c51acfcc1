"""Numbers as pages and terminals show them: a true minus, and a dash for what is undefined."""

from __future__ import annotations

import math
import re

DASH = "–"


def volume_text(volume_ml: float) -> str:
    """Whole millilitres, one decimal below 10, thin spaces between thousands."""
    if math.isnan(volume_ml):
        return DASH
    text = f"{volume_ml:,.1f}" if 0 < volume_ml < 10 else f"{volume_ml:,.0f}"
    return text.replace(",", "\u202f")


def percent_text(value: float) -> str:
    """One decimal; what is above zero never reads as zero."""
    if math.isnan(value):
        return DASH
    return "<0.1" if 0 < value < 0.05 else f"{value:.1f}"


def decimal_text(value: float, decimals: int = 0) -> str:
    """As many decimals as asked for."""
    return DASH if math.isnan(value) else true_minus(f"{value:.{decimals}f}")


def significant_text(value: float) -> str:
    """Three significant digits, for numbers whose size is not known beforehand."""
    size = abs(value)
    return decimal_text(value, 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0)


def difference_text(value: float) -> str:
    """One decimal with its sign; what rounds to nothing has none."""
    if math.isnan(value):
        return DASH
    text = f"{value:+.1f}"
    return "0.0" if float(text) == 0 else true_minus(text)


def p_text(value: float) -> str:
    """A p-value with its letter."""
    if math.isnan(value):
        return DASH
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def score_text(score: int | None) -> str:
    """A score; None is one that is not known."""
    return DASH if score is None else str(score)


def true_minus(text: str) -> str:
    """Return a text with a minus sign instead of a hyphen before numbers."""
    return re.sub(r"-(?=\d)", "−", text)


def mean_sd_text(mean: float, sd: float, decimals: int = 0) -> str:
    """A mean with its standard deviation."""
    if math.isnan(mean):
        return DASH
    return f"{decimal_text(mean, decimals)} ± {decimal_text(sd, decimals)}"
