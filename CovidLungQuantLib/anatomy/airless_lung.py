"""Lung without air that the lung network took in: how much, on which side, and whether it is fluid.

Consolidation, collapse, a tumour and an effusion are all as dense as tissue. Only fluid can
sometimes be told from the rest: it is thinner than tissue, even, and lies in the dependent part.
Arrays are (z, y, x) and upright.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.anatomy.lung_network import CELL_ML, onto_grid
from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import LUNG_REGIONS

Spacing = tuple[float, float, float]

# Pleural fluid has 0…20 HU, blood and collapsed lung 30…60, more with contrast medium.
FLUID_HU = (-15.0, 25.0)
# Half of all cells of the network's grid lie within this; consolidation keeps bronchi and vessels.
FLUID_SPREAD_HU = 20.0
# What the threshold missed although it holds air.
HOLDS_AIR_BELOW_HU = -500.0
# Less cannot be judged: most of its cells hold something else, too.
SMALLEST_JUDGED_ML = 30.0
# Less is not worth a word.
SMALLEST_TOLD_ML = 5.0


@dataclass(frozen=True)
class AirlessLung:
    """Lung without air of one side.

    Attributes:
        region: name of the lung.
        volume_ml: how much was taken in.
        median_hu: of the cells that lie wholly in it; NaN where there are too few.
        looks_like_fluid: thin, even and in the back half of the lung.
    """

    region: str
    volume_ml: float
    median_hu: float
    looks_like_fluid: bool


def airless_lungs(
    hu: np.ndarray, airless: np.ndarray, lungs: np.ndarray, spacing_mm: Spacing
) -> tuple[AirlessLung, ...]:
    """Measure the lung without air of either side; sides with less than 5 mL are left out.

    Args:
        hu: int16 Hounsfield units (z, y, x).
        airless: bool (z, y, x), from `JoinedLungs.added`.
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, `airless` included.
        spacing_mm: voxel size (x, y, z).
    """
    found = []
    for value, region in LUNG_REGIONS.items():
        here = airless & (lungs == value)
        volume_ml = float(here.sum()) * float(np.prod(spacing_mm)) / 1000.0
        if volume_ml < SMALLEST_TOLD_ML:
            continue
        values = _hu_of_whole_cells(hu, here, spacing_mm)
        if values.size * CELL_ML < SMALLEST_JUDGED_ML:
            found.append(AirlessLung(region, volume_ml, float("nan"), False))
            continue
        low, median, high = (float(number) for number in np.percentile(values, (25, 50, 75)))
        fluid = (
            FLUID_HU[0] <= median <= FLUID_HU[1]
            and high - low <= FLUID_SPREAD_HU
            and _middle_row(here) > _middle_row(lungs == value)
        )
        found.append(AirlessLung(region, volume_ml, median, fluid))
    return tuple(found)


def _hu_of_whole_cells(hu: np.ndarray, part: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Mean HU of the cells of the network's grid that lie wholly in a part; hardly noisy."""
    box = bounding_box(part)
    whole = onto_grid(part[box], spacing_mm).numpy() > 0.99
    return onto_grid(hu[box], spacing_mm).numpy()[whole]


def _middle_row(mask: np.ndarray) -> float:
    per_row = np.count_nonzero(mask, axis=(0, 2))
    return float(np.average(np.arange(len(per_row)), weights=per_row))


def airless_warning(airless: AirlessLung) -> ScanWarning:
    """Say that lung without air counts as lung, and what it may be."""
    if airless.median_hu < HOLDS_AIR_BELOW_HU:
        return ScanWarning(
            "lung_added",
            f"{airless.volume_ml:.0f} mL of the {airless.region} were found by the lung network "
            "alone and count as lung; compare with the scan.",
        )
    start = (
        f"{airless.volume_ml:.0f} mL of the {airless.region} hold no air and count as lung and as "
        "high opacity"
    )
    if airless.looks_like_fluid:
        return ScanWarning(
            "fluid_counted_as_lung",
            f"{start}; thin ({airless.median_hu:.0f} HU), even and in the dependent part, they "
            "look like a pleural effusion: take it out by hand if it is not to count.",
        )
    return ScanWarning(
        "airless_lung_counted",
        f"{start} (consolidation, collapse, effusion or tumour, which are not told apart); compare "
        "with the scan.",
    )
