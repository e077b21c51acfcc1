"""How dense lesions are, in colours from cold to warm (after Pan et al. 2021)."""

from __future__ import annotations

import numpy as np

# The usual HU of lesions, from the edge of GGO to solid tissue.
DENSITY_RANGE_HU = (-800, 100)
DENSITY_OPACITY = 0.85
DENSITY_STEPS = 30
# Cold to warm in even steps of the range; the lightness has one peak, so that it can be followed
# without colour vision, too.
_COLD_TO_WARM = (
    (0.16, 0.20, 0.60),
    (0.20, 0.50, 0.78),
    (0.55, 0.80, 0.88),
    (0.98, 0.93, 0.62),
    (0.97, 0.60, 0.28),
    (0.80, 0.16, 0.15),
)


def density_colors() -> list[tuple[float, float, float, float]]:
    """Return the colours from the lowest to the highest density, with their opacity."""
    places = np.linspace(0, len(_COLD_TO_WARM) - 1, DENSITY_STEPS)
    components = [
        np.interp(places, range(len(_COLD_TO_WARM)), component)
        for component in zip(*_COLD_TO_WARM, strict=True)
    ]
    return [
        (float(red), float(green), float(blue), DENSITY_OPACITY)
        for red, green, blue in zip(*components, strict=True)
    ]


def density_picture(hu: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Return which colour (1…`DENSITY_STEPS`) each pixel of lesion has, 0 elsewhere.

    Args:
        hu: Hounsfield units (row, column).
        lesion: bool (row, column).
    """
    lowest, highest = DENSITY_RANGE_HU
    step = (hu.astype(np.float32) - lowest) * (DENSITY_STEPS / (highest - lowest))
    return np.where(lesion, np.clip(step.astype(int), 0, DENSITY_STEPS - 1) + 1, 0)
