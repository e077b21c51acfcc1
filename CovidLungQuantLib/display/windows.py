"""The display window in which lungs are read and annotated (Grodecki et al. 2021)."""

from __future__ import annotations

from CovidLungQuantLib.display.numbers import decimal_text

LUNG_WINDOW_LEVEL_HU = -400
LUNG_WINDOW_WIDTH_HU = 1500


def lung_window_text() -> str:
    """Return the lung window in words."""
    return f"level {decimal_text(LUNG_WINDOW_LEVEL_HU)} HU, width {LUNG_WINDOW_WIDTH_HU} HU"
