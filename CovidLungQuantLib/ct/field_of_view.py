"""What lies outside the round field of view of a scanner: paint, not measured.

Writers paint it with what they like: −2000, −3024, 0, the highest value, NaN. It is told from
tissue by its place, since it fills the corners of the slices, and by being exactly one value.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Below this lies nothing a scanner measures. Values between here and −1024 are noise in air and
# stay as they are.
PADDING_BELOW_HU = -1500
# Above this is no air that a scanner measures around a body.
HIGHEST_AIR_HU = -900
# Tissue has no exact value that fills corners; these are what paint is made of, besides the lowest
# and the highest value of a scan.
USUAL_PAINT_HU = (0,)
SMALLEST_CORNER_SHARE = 0.25
PAINTED_SHARE_RANGE = (0.01, 0.7)


def painted_outside(hu: np.ndarray) -> np.ndarray | None:
    """Find what is painted outside the field of view, other than with air.

    Paint below −1500 HU is left out too: no place is needed to know it.

    Args:
        hu: Hounsfield units (axial slices, rows, columns), integer or float.

    Returns:
        A mask like `hu`; None where nothing is.
    """
    corners = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]].ravel()
    paint = _paint_of(corners, hu)
    if paint is None:
        return None
    mask = np.isnan(hu) if np.isnan(paint) else hu == paint
    for plane in mask:
        plane[...] = connected_to_edge(plane)
    smallest, largest = PAINTED_SHARE_RANGE
    return mask if smallest <= mask.mean() <= largest else None


def connected_to_edge(mask: np.ndarray) -> np.ndarray:
    """Return the parts of a slice's mask (y, x) that touch an edge of the slice."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    at_edge = np.zeros(count + 1, dtype=bool)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_edge[line] = True
    at_edge[0] = False
    return at_edge[labels]


def _paint_of(corners: np.ndarray, hu: np.ndarray) -> float | None:
    """The value that many corners have and air has not; None where there is none."""
    if hu.dtype.kind == "f":
        missing = np.isnan(corners)
        if missing.mean() >= SMALLEST_CORNER_SHARE:
            return float("nan")
        corners = corners[~missing]
    is_air = (corners >= PADDING_BELOW_HU) & (corners <= HIGHEST_AIR_HU)
    others = corners[~is_air & (corners >= PADDING_BELOW_HU)]
    if others.size < SMALLEST_CORNER_SHARE * corners.size:
        return None
    values, counts = np.unique(others, return_counts=True)
    value, count = values[counts.argmax()], counts.max()
    if count < SMALLEST_CORNER_SHARE * corners.size:
        return None
    usual = (*USUAL_PAINT_HU, np.nanmin(hu), np.nanmax(hu))
    return float(value) if value in usual else None
