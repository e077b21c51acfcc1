"""Does a scan lie as its header says? Its mean shape is compared with that of an average chest.

Spine and table lie behind, the heart to the left and low, the lungs are narrow above and hollowed
by the diaphragm below. All of that is in the average of many chests on a coarse grid between the
outermost points of the lungs. What turns with an axis is the average less its own mirror image:
a scan that is mirrored against it correlates with the opposite sign.

The average and how far it can be trusted are made by `research.average_chest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from pathlib import Path

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.grids import CoarseGrid, Spacing
from CovidLungQuantLib.anatomy.morphology import fill_holes_in_planes, largest_component
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError

AVERAGE_CHEST_FILE = Path(__file__).resolve().parents[1] / "resources" / "average-chest.npy"
GRID_SIZE = 16
COARSE_MM = 4.0
# Room around the lungs for what lies before, behind and beside them; none above and below, where
# scans end at different heights.
MARGIN_SHARE = 0.12
LOWEST_HU, HIGHEST_HU = -1000.0, 300.0
BODY_ABOVE_HU = -400.0
AIR_BELOW_HU = -500.0
SMALLEST_LUNG_SHARE_OF_LARGEST = 0.15
SMALLEST_JUDGED_LUNG_ML = 800.0
# Of 22 scans, each left out of its average, head and foot and front and back correlate by 0.40 and
# more, left and right by 0.11 and more (research/results/average-chest.csv). Lungs half of which
# are dense, where the heart hardly shows, may come out a little below 0.
TURNED_BELOW = -0.07
# A scan is refused where it fits the average well the other way round and badly as it is.
GOOD_FIT = 0.6
CLEARLY_BETTER_BY = 0.15

AXIS_NAMES = {
    0: ("upside_down", "upside down (the head end and the foot end are exchanged)"),
    1: ("front_and_back_exchanged", "with front and back exchanged"),
    2: ("sides_exchanged", "with left and right exchanged"),
}

Orientation = tuple[tuple[int, ...], tuple[int, ...]]
AS_IT_IS: Orientation = ((0, 1, 2), ())


@dataclass(frozen=True)
class ChestFit:
    """How a scan fits the average chest.

    Attributes:
        correlation: with the average, as the scan lies.
        best_correlation: the highest of the 48 ways to turn and mirror it.
        best: that way: order of the axes, and the axes then mirrored.
        signs: for z, y and x, the correlation of what turns with the axis, −1…1; negative where the
            scan is mirrored along it.
    """

    correlation: float
    best_correlation: float
    best: Orientation
    signs: tuple[float, float, float]


def chest_fit(
    hu: np.ndarray, spacing_mm: Spacing, average: np.ndarray | None = None
) -> ChestFit | None:
    """Compare a scan with the average chest.

    Args:
        hu: int16 Hounsfield units (z, y, x), upright by its header.
        spacing_mm: voxel size (x, y, z).
        average: another than the shipped one, on the same grid.

    Returns:
        None where too little air-filled lung is found to judge.
    """
    scan = chest_on_grid(hu, spacing_mm)
    if scan is None:
        return None
    average = average_chest() if average is None else average.astype(np.float32)
    fits = {
        (order, flipped): _correlation(np.flip(scan.transpose(order), flipped), average)
        for order in permutations(range(3))
        for flipped in _subsets_of_axes()
    }
    best = max(fits, key=lambda orientation: fits[orientation])
    up, back, left = (
        _correlation(scan - np.flip(scan, axis), average - np.flip(average, axis), centred=False)
        for axis in range(3)
    )
    return ChestFit(fits[AS_IT_IS], fits[best], best, (up, back, left))


def check_chest_orientation(hu: np.ndarray, spacing_mm: Spacing) -> tuple[ScanWarning, ...]:
    """Refuse a scan that lies in another way than its header says, or warn where it seems to.

    Args:
        hu: int16 Hounsfield units (z, y, x), upright by its header.
        spacing_mm: voxel size (x, y, z).

    Raises:
        BadInputError: the axes are exchanged, or the scan is upside down or front to back.
    """
    fit = chest_fit(hu, spacing_mm)
    if fit is None:
        return ()
    is_clear = (
        fit.best_correlation >= GOOD_FIT
        and fit.best_correlation - fit.correlation >= CLEARLY_BETTER_BY
    )
    if is_clear and fit.best[0] != AS_IT_IS[0]:
        raise BadInputError(
            "The axes of this scan are exchanged: what its header calls head to foot, front to "
            "back and left to right are other directions in the chest it shows; export the scan "
            "again with its orientation."
        )
    turned = [axis for axis, sign in enumerate(fit.signs) if sign < TURNED_BELOW]
    if is_clear and (0 in turned or 1 in turned):
        raise BadInputError(
            f"This scan lies {' and '.join(AXIS_NAMES[axis][1] for axis in turned)} against what "
            "its header says; export the scan again with its orientation."
        )
    return tuple(_warning(axis) for axis in turned)


def _warning(axis: int) -> ScanWarning:
    code, text = AXIS_NAMES[axis]
    if code == "sides_exchanged":
        return ScanWarning(
            code,
            "The chest looks as if left and right were exchanged (the heart lies to the right): "
            "check the scan's orientation, or whether the patient's organs are mirrored; sides and "
            "lobes are those of the header.",
        )
    return ScanWarning(code, f"The chest looks as if it lay {text}; check the scan's orientation.")


@cache
def average_chest() -> np.ndarray:
    """The average chest, float32 (z, y, x) of `GRID_SIZE` each way, in HU."""
    return np.load(AVERAGE_CHEST_FILE, allow_pickle=False).astype(np.float32)


def chest_on_grid(hu: np.ndarray, spacing_mm: Spacing) -> np.ndarray | None:
    """A chest on the grid of the average: from the first to the last of its air-filled lungs.

    Args:
        hu: int16 (z, y, x).
        spacing_mm: voxel size (x, y, z).

    Returns:
        Clipped HU, float32, `GRID_SIZE` in each direction; None where there is too little lung.
    """
    grid = CoarseGrid.of(hu.shape, spacing_mm, COARSE_MM, COARSE_MM)
    coarse = np.clip(grid.reduce(hu), LOWEST_HU, HIGHEST_HU)
    lungs = air_filled_lungs(coarse)
    if np.count_nonzero(lungs) * grid.voxel_volume_ml < SMALLEST_JUDGED_LUNG_ML:
        return None
    places = []
    widths = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(lungs.any(axis=others))
        margin = MARGIN_SHARE * (inside[-1] + 1 - inside[0]) if axis else 0.0
        first, last = inside[0] - margin, inside[-1] + 1 + margin
        width = (last - first) / GRID_SIZE
        places.append(first + width * (np.arange(GRID_SIZE) + 0.5) - 0.5)
        widths.append(width)
    smooth = ndimage.gaussian_filter(coarse, [width / 3 for width in widths])
    where = np.stack(np.meshgrid(*places, indexing="ij"))
    return ndimage.map_coordinates(smooth, where, order=1, mode="nearest").astype(np.float32)


def air_filled_lungs(coarse: np.ndarray) -> np.ndarray:
    """Large air inside the body, bool (z, y, x); good enough to know where a chest lies.

    Args:
        coarse: HU on a grid of about `COARSE_MM`.
    """
    body = largest_component(coarse > BODY_ABOVE_HU)
    filled = fill_holes_in_planes(body)
    parts, count = ndimage.label(ndimage.binary_opening(filled & (coarse < AIR_BELOW_HU)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes > SMALLEST_LUNG_SHARE_OF_LARGEST * max(sizes.max(), 1))[parts]


def _subsets_of_axes() -> list[tuple[int, ...]]:
    return [
        tuple(axis for axis, chosen in enumerate(choice) if chosen)
        for choice in product((False, True), repeat=3)
    ]


def _correlation(first: np.ndarray, second: np.ndarray, centred: bool = True) -> float:
    """Pearson's, or without taking off the means."""
    if centred:
        first, second = first - first.mean(), second - second.mean()
    length = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / length if length else 0.0
