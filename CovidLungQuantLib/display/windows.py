"""The display windows: in which lungs are read and annotated (Grodecki et al. 2021), and tissue."""

from __future__ import annotations

from CovidLungQuantLib.display.numbers import decimal_text

LUNG_WINDOW_LEVEL_HU = -400
LUNG_WINDOW_WIDTH_HU = 1500
TISSUE_WINDOW_LEVEL_HU = 40
TISSUE_WINDOW_WIDTH_HU = 400


def lung_window_text() -> str:
    """Return the lung window in words."""
    return _window_text(LUNG_WINDOW_LEVEL_HU, LUNG_WINDOW_WIDTH_HU)


def tissue_window_text() -> str:
    """Return the soft-tissue window in words."""
    return _window_text(TISSUE_WINDOW_LEVEL_HU, TISSUE_WINDOW_WIDTH_HU)


def _window_text(level_hu: float, width_hu: float) -> str:
    return f"level {decimal_text(level_hu)} HU, width {decimal_text(width_hu)} HU"
