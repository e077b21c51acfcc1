"""Whether values are Hounsfield units, slice by slice and as a whole.

Air around a body (about −1000 HU), lung, fat (−100) and muscle (+50) are in every chest, so a scale
that is halved or shifted shows in where they lie; and slices side by side look alike, so one whose
rescale was left out shows in that only a shift makes it look like its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.errors import BadInputError

LOWEST_COUNTED_HU, HIGHEST_COUNTED_HU = -1600, 1600
# Every second voxel in plane is enough for a histogram of a large slice.
LARGE_SIDE = 128

# Limits leave room for scans that were restored from pictures, and for lung at the border of a
# scan cropped to it. Half of −1000 HU and 500 HU above it are outside.
BORDER_AIR_BELOW_HU = -300
BORDER_AIR_RANGE_HU = (-1130, -600)
SMALLEST_BORDER_AIR_SHARE = 0.1
# The noise of air reaches further down, in few voxels.
BELOW_ANY_AIR_HU = -1200
LARGEST_SHARE_BELOW_AIR = 0.05
LOWEST_THOUSANDTH_BELOW_HU = -750
PAINTED_SHARE = 0.01
HIGHEST_TISSUE_MODE_HU = 220
TISSUE_ABOVE_HU = -300
SMOOTHING_HU = 12

# In the real scans tried, no shift beyond the smallest makes a slice more like its neighbour, and
# the best of them is 0.2 worse than none; a slice without its rescale is 0.4 better with it.
BIN_HU = 25
SMALLEST_SHIFT_HU = 175
LARGEST_SHIFT_HU = 1500
BETTER_WITH_SHIFT = 0.2
ALIKE_WITH_SHIFT = 0.5
# A slice of nothing but tissue, or but air, is like another after many a shift.
PLAIN_SHARE = 0.85
SMALLEST_MEASURED_SHARE = 0.05
SOFT_TISSUE_HU = (-250, 250)
EMPTY_SLICE_RATIO = 0.1
EVEN_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class _Histograms:
    """Counts of each HU in each slice, paint outside the field of view left out.

    Attributes:
        counts: (slices, HU from −1600 to 1599; values beyond are counted at the ends).
        voxels: how many voxels of a slice were looked at, painted ones included.
    """

    counts: np.ndarray
    voxels: int

    @property
    def total(self) -> np.ndarray:
        return self.counts.sum(axis=0)

    def between(self, low_hu: int, high_hu: int) -> np.ndarray:
        """How many voxels of each slice lie in [low, high)."""
        return self.counts[:, low_hu - LOWEST_COUNTED_HU : high_hu - LOWEST_COUNTED_HU].sum(axis=1)


def check_hounsfield_scale(hu: np.ndarray, painted: np.ndarray | None, name: str) -> None:
    """Refuse a chest whose values are not Hounsfield units, in whole or in single slices.

    Args:
        hu: int16 (axial slices from the feet up, rows, columns).
        painted: mask of what lies outside the field of view; None where nothing does.
        name: of the scan, for messages.

    Raises:
        BadInputError: air or tissue does not lie where it does in Hounsfield units, a slice between
            others is empty, or one is shifted against its neighbour.
    """
    histograms = _histograms(hu, painted)
    if not histograms.total.any():
        return
    _check_air(hu, painted, histograms.total, name)
    _check_tissue(histograms.total, name)
    _check_empty_slices(histograms, name)
    _check_shifts(histograms, name)


def _histograms(hu: np.ndarray, painted: np.ndarray | None) -> _Histograms:
    step = 2 if min(hu.shape[1:]) >= LARGE_SIDE else 1
    size = HIGHEST_COUNTED_HU - LOWEST_COUNTED_HU
    counts = np.empty((len(hu), size), dtype=np.int64)
    for index, plane in enumerate(hu):
        values = plane[::step, ::step]
        if painted is not None:
            values = values[~painted[index, ::step, ::step]]
        clipped = np.clip(values, LOWEST_COUNTED_HU, HIGHEST_COUNTED_HU - 1)
        counts[index] = np.bincount((clipped - LOWEST_COUNTED_HU).ravel(), minlength=size)
    return _Histograms(counts, hu[0, ::step, ::step].size)


def _refuse(name: str, reason: str) -> None:
    raise BadInputError(
        f'"{name}" is not in Hounsfield units ({reason}); export the original CT with its rescale'
        " slope and intercept applied."
    )


def _check_air(hu: np.ndarray, painted: np.ndarray | None, total: np.ndarray, name: str) -> None:
    border = _border(hu)
    is_air = border < BORDER_AIR_BELOW_HU
    if painted is not None:
        is_air &= ~_border(painted)
    air = border[is_air]
    if air.size > SMALLEST_BORDER_AIR_SHARE * border.size:
        air_hu = float(np.median(air))
        if not BORDER_AIR_RANGE_HU[0] <= air_hu <= BORDER_AIR_RANGE_HU[1]:
            _refuse(name, f"air around the body is {air_hu:.0f} HU instead of −1000")
    share_below = total[: BELOW_ANY_AIR_HU - LOWEST_COUNTED_HU].sum() / total.sum()
    if share_below > LARGEST_SHARE_BELOW_AIR:
        _refuse(name, f"{share_below:.0%} of its values lie below {BELOW_ANY_AIR_HU} and any air")
    # What was painted with air says nothing of the scale.
    lowest = int(np.flatnonzero(total)[0])
    if total[lowest] > PAINTED_SHARE * total.sum():
        total = total.copy()
        total[lowest] = 0
    summed = np.cumsum(total)
    lowest_hu = int(np.searchsorted(summed, summed[-1] / 1000.0)) + LOWEST_COUNTED_HU
    if lowest_hu > LOWEST_THOUSANDTH_BELOW_HU:
        _refuse(name, f"the lowest values are about {lowest_hu} HU, and air is −1000")


def _check_tissue(total: np.ndarray, name: str) -> None:
    mode_hu = _mode_hu(total, TISSUE_ABOVE_HU, HIGHEST_COUNTED_HU - 1)
    if mode_hu > HIGHEST_TISSUE_MODE_HU:
        _refuse(name, f"most tissue is {mode_hu} HU, and fat is −100 and muscle 50")


def _check_empty_slices(histograms: _Histograms, name: str) -> None:
    share = histograms.between(*SOFT_TISSUE_HU) / histograms.voxels
    usual = float(np.median(share))
    is_even = histograms.counts.max(axis=1) > EVEN_SHARE * histograms.voxels
    empty = np.flatnonzero((share < EMPTY_SLICE_RATIO * usual) | is_even)
    full = np.flatnonzero((share >= usual / 2) & ~is_even)
    if not full.size:
        return
    empty = empty[(empty > full[0]) & (empty < full[-1])]
    if empty.size:
        raise BadInputError(
            f'Slice {empty[0] + 1} of {len(share)} of "{name}" (counted from the feet) holds next'
            " to no tissue, unlike those around it (empty, or not in Hounsfield units); export the"
            " original CT again."
        )


def _check_shifts(histograms: _Histograms, name: str) -> None:
    """Refuse neighbours that are alike only when one is shifted by some hundred HU."""
    if len(histograms.counts) < 2:
        return
    counts = _without_spikes(histograms.counts)
    measured = np.maximum(counts.sum(axis=1), 1e-9)
    tissue = _Histograms(counts, 0).between(*SOFT_TISSUE_HU) / measured
    air = _Histograms(counts, 0).between(LOWEST_COUNTED_HU, TISSUE_ABOVE_HU) / measured
    is_plain = (
        (tissue > PLAIN_SHARE)
        | (air > PLAIN_SHARE)
        | (measured < SMALLEST_MEASURED_SHARE * histograms.voxels)
    )
    shares = counts.reshape(len(counts), -1, BIN_HU).sum(axis=2) / measured[:, np.newaxis]
    lower, upper = shares[:-1], shares[1:]
    unshifted = np.minimum(lower, upper).sum(axis=1)
    best, best_shift = np.zeros(len(lower)), np.zeros(len(lower), dtype=int)
    for step in range(SMALLEST_SHIFT_HU // BIN_HU, LARGEST_SHIFT_HU // BIN_HU + 1):
        for one, other in ((lower, upper), (upper, lower)):
            alike = np.minimum(one[:, :-step], other[:, step:]).sum(axis=1)
            best_shift[alike > best] = step * BIN_HU
            best = np.maximum(best, alike)
    is_shifted = (
        (best >= ALIKE_WITH_SHIFT)
        & (best - unshifted >= BETTER_WITH_SHIFT)
        & ~(is_plain[:-1] | is_plain[1:])
    )
    if is_shifted.any():
        at = int(np.argmax(is_shifted))
        raise BadInputError(
            f'Slices {at + 1} and {at + 2} of {len(counts)} of "{name}" (counted from the feet)'
            f" differ by about {best_shift[at]} HU all over, so not all are in Hounsfield units;"
            " export the original CT with the rescale slope and intercept of each slice."
        )


def _border(array: np.ndarray) -> np.ndarray:
    lines = (array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1])
    return np.concatenate([line.ravel() for line in lines])


def _mode_hu(total: np.ndarray, low_hu: int, high_hu: int) -> int:
    """The most frequent value in a range, in a smoothed histogram."""
    part = total[low_hu - LOWEST_COUNTED_HU : high_hu - LOWEST_COUNTED_HU]
    smooth = ndimage.gaussian_filter1d(part.astype(float), SMOOTHING_HU)
    return int(np.argmax(smooth)) + low_hu


def _without_spikes(counts: np.ndarray) -> np.ndarray:
    """Histograms in which the most frequent value of each slice counts as its neighbours do.

    Air that was painted evenly would make any two slices alike.
    """
    counts = counts.astype(float)
    rows = np.arange(len(counts))
    peaks = counts.argmax(axis=1)
    below, above = np.maximum(peaks - 1, 0), np.minimum(peaks + 1, counts.shape[1] - 1)
    is_inside = (peaks > 0) & (peaks < counts.shape[1] - 1)
    around = (counts[rows, below] + counts[rows, above]) / 2
    counts[rows, peaks] = np.where(is_inside, around, 0.0)
    return counts
