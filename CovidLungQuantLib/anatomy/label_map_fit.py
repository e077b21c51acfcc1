"""Does a label map lie on the lungs of its scan, and does it say what its values should?

A label map that was mirrored, turned upside down or made for other values measures something else
in silence. Its lungs are compared with the air in the chest, as they lie and turned over; arrays
are (z, y, x) and upright.
"""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.anatomy.chest_orientation import COARSE_MM, air_filled_lungs
from CovidLungQuantLib.anatomy.grids import CoarseGrid, Spacing
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG, is_lung

# Ways to turn a label map over, by what they exchange.
TURNED_OVER: dict[tuple[int, ...], str] = {
    (0,): "upside down",
    (1,): "with front and back exchanged",
    (2,): "with left and right exchanged",
    (0, 1): "upside down and with front and back exchanged",
    (0, 2): "upside down and with left and right exchanged",
    (1, 2): "with front and back and left and right exchanged",
    (0, 1, 2): "mirrored through its middle",
}
# Lungs that lie right overlap with the air of 22 chests by a Dice of 0.85 and more, also where half
# of the lung is dense; mirrored sideways, by 0.05 and more less.
CLEARLY_BETTER_BY = 0.05
SOFT_ABOVE_HU = -300.0
LARGEST_SOFT_SHARE = 0.25
AERATED_BELOW_HU = -700.0
# Values 1 and 2 that lie on one side each, as lung masks have them.
SHARE_ON_ITS_SIDE = 0.95


def check_label_map(
    hu: np.ndarray, labels: np.ndarray, spacing_mm: Spacing
) -> tuple[ScanWarning, ...]:
    """Refuse a label map that is turned over or of other values; warn of lung on soft tissue.

    Args:
        hu: int16 Hounsfield units (z, y, x).
        labels: uint8 (z, y, x), values of `labels.py`.
        spacing_mm: voxel size (x, y, z).

    Raises:
        BadInputError: the label map fits the scan clearly better turned over, or its values stand
            for the two lungs.
    """
    _refuse_lung_mask(hu, labels)
    grid = CoarseGrid.of(hu.shape, spacing_mm, COARSE_MM, COARSE_MM)
    coarse = grid.reduce(hu)
    lungs = grid.reduce(is_lung(labels)) >= 0.5
    if not lungs.any():
        return ()
    air = air_filled_lungs(coarse)
    overlap = _dice(lungs, air)
    better = {axes: _dice(np.flip(lungs, axes), air) for axes in TURNED_OVER}
    best = max(better, key=lambda axes: better[axes])
    if better[best] > overlap + CLEARLY_BETTER_BY:
        raise BadInputError(
            f"The segmentation lies {TURNED_OVER[best]} against this scan; give the one that was "
            "made for it, in the scan's own orientation."
        )
    normal = grid.reduce(labels == NORMAL_LUNG.value) >= 0.5
    soft_share = float((coarse[normal] > SOFT_ABOVE_HU).mean()) if normal.any() else 0.0
    if soft_share > LARGEST_SOFT_SHARE:
        return (
            ScanWarning(
                "normal_lung_on_tissue",
                f"{100 * soft_share:.0f} % of what is labelled as normal lung is as dense as soft "
                "tissue; check that the segmentation belongs to this scan.",
            ),
        )
    return ()


def _refuse_lung_mask(hu: np.ndarray, labels: np.ndarray) -> None:
    """Refuse 1 and 2 that stand for the two lungs, as lungmask and others write them."""
    first, second = labels == NORMAL_LUNG.value, labels == GGO.value
    if not (first.any() and second.any()) or hu[second].mean() > AERATED_BELOW_HU:
        return
    columns_of_first, columns_of_second = (
        mask.sum(axis=(0, 1), dtype=np.int64) for mask in (first, second)
    )
    middle = (columns_of_first * np.arange(labels.shape[2])).sum() / columns_of_first.sum()
    other = (columns_of_second * np.arange(labels.shape[2])).sum() / columns_of_second.sum()
    border = int((middle + other) / 2)
    shares = [
        max(columns[:border].sum(), columns[border:].sum()) / columns.sum()
        for columns in (columns_of_first, columns_of_second)
    ]
    if min(shares) >= SHARE_ON_ITS_SIDE:
        raise BadInputError(
            "The label map holds the two lungs (1 and 2), not normal lung and GGO: what is "
            "labelled 2 is air-filled lung of one side; give a segmentation of 1 normal lung, 2 "
            "GGO and 3 high opacity."
        )


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 0.0
