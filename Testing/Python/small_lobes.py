"""Two lungs with five lobes on a coarse grid, made by rule."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, LOBES, RIGHT_LUNG_VALUE

SPACING_MM = (4.0, 4.0, 4.0)
SHAPE = (60, 45, 70)


def small_lobes() -> np.ndarray:
    """Lobes uint8 (z, y, x), upright: half ellipsoids cut by an oblique and a horizontal plane."""
    z, y, x = np.indices(SHAPE)
    lobes = np.zeros(SHAPE, np.uint8)
    for centre_x, is_right in ((17, True), (52, False)):
        lung = ((x - centre_x) / 14) ** 2 + ((y - 22) / 19) ** 2 + ((z - 8) / 46) ** 2 < 1
        lung &= z >= 8
        below = z - 26 < 1.1 * (y - 22)
        front = (z < 28) & ~below
        if is_right:
            lobes[lung] = np.where(below, 3, np.where(front, 2, 1))[lung]
        else:
            lobes[lung] = np.where(below, 5, 4)[lung]
    return lobes


def lungs_of_lobes(lobes: np.ndarray) -> np.ndarray:
    """Lungs uint8 of lobes, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`."""
    right = np.isin(lobes, [lobe.value for lobe in LOBES if lobe.lung_value == RIGHT_LUNG_VALUE])
    return np.where(lobes > 0, np.where(right, RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE), 0).astype(
        np.uint8
    )
