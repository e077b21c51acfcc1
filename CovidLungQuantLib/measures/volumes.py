"""Volumes, extents and Hounsfield units of the lungs, from a label map.

Definitions (Bartoli et al. 2022, Grodecki et al. 2021, Pan et al. 2021 agree):

- lung volume = normal lung + GGO + high opacity, in mL, counted on the scan's own grid;
- extent of GGO, of high opacity and of lesion (their sum, "pneumonia burden") = its volume as a
  percentage of the lung volume;
- mean and standard deviation (SD) of the HU of all voxels of a region or class; the SD is that of
  the voxels themselves (population SD, divided by n).

A quotient without a denominator (percentages of an absent lung, HU of an absent class) is NaN,
never zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import (
    BACKGROUND_VALUE,
    BOTH_LUNGS_REGION,
    CLASS_COUNT,
    GGO,
    HIGH_OPACITY,
    LEFT_LUNG_REGION,
    LEFT_LUNG_VALUE,
    NORMAL_LUNG,
    RIGHT_LUNG_REGION,
    RIGHT_LUNG_VALUE,
    UNCLASSIFIED_LESION_VALUE,
)

# Which values of the lung map make up each region, in the order of the table.
LUNG_REGIONS: dict[str, tuple[int, ...]] = {
    BOTH_LUNGS_REGION: (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE),
    RIGHT_LUNG_REGION: (RIGHT_LUNG_VALUE,),
    LEFT_LUNG_REGION: (LEFT_LUNG_VALUE,),
}

NOTES: tuple[str, ...] = (
    "Lung volume is normal lung + GGO + high opacity; percentages are of the region's lung volume "
    "(Bartoli 2022, Grodecki 2021, Pan 2021).",
    "High opacity is consolidation and pleural effusion together (Grodecki 2021); effusion lies "
    "outside the aerated lung but is counted in the lung volume.",
    "GGO is hazy opacity that does not hide bronchi or vessels.",
    "Mean and SD of HU are over all voxels of the region (mean_hu, sd_hu) or class; "
    "SD is the population SD. An empty cell has nothing to be computed from.",
)

# A result outside these is not impossible but should not pass in silence. Adults at inspiration
# have 4.5 ± 1.3 L of lung (COVID cohort of Pan 2021: 3.4–4.8 L between quartiles), 53.6 ± 1.5 % of
# it on the right, and normal lung of −870…−830 HU. The limits leave room for expiration, unequal
# disease and thick slices: volume up to +3 SD, right share ± 5 SD.
PLAUSIBLE_LUNG_VOLUME_ML = (1500.0, 8400.0)
PLAUSIBLE_RIGHT_SHARE_PERCENT = (46.0, 61.0)
PLAUSIBLE_NORMAL_LUNG_MEAN_HU = (-950.0, -650.0)
# The usual HU of GGO (Pan 2021); judged only where there is enough of it to have a steady mean.
PLAUSIBLE_GGO_MEAN_HU = (-750.0, -350.0)
SMALLEST_JUDGED_GGO_ML = 10.0

_HU_OFFSET = -int(np.iinfo(np.int16).min)
_HU_COUNT = 2 * _HU_OFFSET
# Slices counted at once: bounds the memory of the count whatever the scan's length.
_SLICES_AT_ONCE = 32


@dataclass(frozen=True)
class RegionMeasurement:
    """What is measured in one region; the fields are the table's columns, in order.

    Volumes in mL, extents in % of the region's lung volume, HU as mean and population SD over all
    voxels of the region (`mean_hu`, `sd_hu`) or of the class. NaN where there is no voxel.
    """

    region: str
    volume_ml: float
    normal_ml: float
    ggo_ml: float
    high_opacity_ml: float
    lesion_ml: float
    ggo_percent: float
    high_opacity_percent: float
    lesion_percent: float
    mean_hu: float
    sd_hu: float
    normal_mean_hu: float
    normal_sd_hu: float
    ggo_mean_hu: float
    ggo_sd_hu: float
    high_opacity_mean_hu: float
    high_opacity_sd_hu: float
    lesion_mean_hu: float
    lesion_sd_hu: float


@dataclass(frozen=True)
class Measurements:
    """The table: one `RegionMeasurement` a row, the notes under it and what looks implausible."""

    regions: tuple[RegionMeasurement, ...]
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[ScanWarning, ...] = field(default=())

    def region(self, name: str) -> RegionMeasurement:
        """Return the row of a region; raises KeyError where the table has none of that name."""
        for row in self.regions:
            if row.region == name:
                return row
        raise KeyError(name)


def check_labels(labels: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Refuse a label map that cannot be measured on a scan of array shape `shape` (z, y, x).

    Raises:
        BadInputError: another shape, values that are not whole numbers, or values other than 0…3.
    """
    if labels.shape != tuple(shape):
        raise BadInputError(
            f"The segmentation has {_size(labels.shape)} voxels but the scan has {_size(shape)}; "
            "give the segmentation that belongs to this scan."
        )
    if labels.dtype.kind not in "biu":
        raise BadInputError(
            f"The segmentation holds {labels.dtype} values; save it as a label map of whole "
            "numbers (0 background, 1 normal lung, 2 GGO, 3 high opacity)."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest >= BACKGROUND_VALUE and highest < CLASS_COUNT:
        return
    # Only looked for once the map is known to be refused: np.unique is slow on a whole scan.
    unknown = sorted({int(v) for v in np.unique(labels)} - set(range(CLASS_COUNT)))
    if unknown == [UNCLASSIFIED_LESION_VALUE]:
        raise BadInputError(
            f"The segmentation holds lesion of no stated class (value {UNCLASSIFIED_LESION_VALUE})"
            "; relabel it as GGO (2) or high opacity (3) before measuring."
        )
    listed = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
    raise BadInputError(
        f"The segmentation holds values that are no label ({listed}); allowed are 0 background, "
        "1 normal lung, 2 GGO and 3 high opacity."
    )


def label_histograms(hu: np.ndarray, labels: np.ndarray, region_map: np.ndarray) -> np.ndarray:
    """Count the labelled voxels by region, label and HU in one pass.

    Args:
        hu: int16 Hounsfield units, (z, y, x).
        labels: label map as `check_labels` accepts it, (z, y, x).
        region_map: unsigned integers, (z, y, x): which region a voxel belongs to; 0 is none.

    Returns:
        int64 counts of shape (regions, labels, 65536): `region_map.max() + 1` regions, labels
        0…3 (background is left at zero), and HU −32768…32767.
    """
    if hu.dtype != np.int16:
        raise TypeError(f"hu must be int16, not {hu.dtype}")
    if not hu.shape == labels.shape == region_map.shape:
        raise ValueError(f"shapes differ: {hu.shape}, {labels.shape}, {region_map.shape}")
    region_count = int(region_map.max()) + 1
    bin_count = region_count * CLASS_COUNT * _HU_COUNT
    counts = np.zeros(bin_count, dtype=np.int64)
    for first in range(0, hu.shape[0], _SLICES_AT_ONCE):
        chunk = slice(first, first + _SLICES_AT_ONCE)
        lung = np.flatnonzero(labels[chunk])
        code = region_map[chunk].reshape(-1)[lung].astype(np.intp)
        code *= CLASS_COUNT
        code += labels[chunk].reshape(-1)[lung]
        code *= _HU_COUNT
        code += hu[chunk].reshape(-1)[lung]
        code += _HU_OFFSET
        counts += np.bincount(code, minlength=bin_count)
    return counts.reshape(region_count, CLASS_COUNT, _HU_COUNT)


def measure_region(name: str, histograms: np.ndarray, voxel_volume_ml: float) -> RegionMeasurement:
    """Measure one region from its counts.

    Args:
        name: what to call the region.
        histograms: int64 counts (labels 0…3, 65536), as from `label_histograms`.
        voxel_volume_ml: volume of one voxel.
    """
    normal = histograms[NORMAL_LUNG.value]
    ggo = histograms[GGO.value]
    high_opacity = histograms[HIGH_OPACITY.value]
    lesion = ggo + high_opacity
    lung = normal + lesion
    voxels = int(lung.sum())

    def volume_ml(counts: np.ndarray) -> float:
        return int(counts.sum()) * voxel_volume_ml

    def percent(counts: np.ndarray) -> float:
        return 100.0 * int(counts.sum()) / voxels if voxels else math.nan

    mean_hu, sd_hu = _mean_and_sd(lung)
    normal_mean_hu, normal_sd_hu = _mean_and_sd(normal)
    ggo_mean_hu, ggo_sd_hu = _mean_and_sd(ggo)
    high_opacity_mean_hu, high_opacity_sd_hu = _mean_and_sd(high_opacity)
    lesion_mean_hu, lesion_sd_hu = _mean_and_sd(lesion)
    return RegionMeasurement(
        region=name,
        volume_ml=volume_ml(lung),
        normal_ml=volume_ml(normal),
        ggo_ml=volume_ml(ggo),
        high_opacity_ml=volume_ml(high_opacity),
        lesion_ml=volume_ml(lesion),
        ggo_percent=percent(ggo),
        high_opacity_percent=percent(high_opacity),
        lesion_percent=percent(lesion),
        mean_hu=mean_hu,
        sd_hu=sd_hu,
        normal_mean_hu=normal_mean_hu,
        normal_sd_hu=normal_sd_hu,
        ggo_mean_hu=ggo_mean_hu,
        ggo_sd_hu=ggo_sd_hu,
        high_opacity_mean_hu=high_opacity_mean_hu,
        high_opacity_sd_hu=high_opacity_sd_hu,
        lesion_mean_hu=lesion_mean_hu,
        lesion_sd_hu=lesion_sd_hu,
    )


def measure_regions(
    hu: np.ndarray,
    labels: np.ndarray,
    region_map: np.ndarray,
    regions: Mapping[str, tuple[int, ...]],
    voxel_volume_ml: float,
) -> tuple[RegionMeasurement, ...]:
    """Measure any regions, each a set of values of `region_map`.

    Args:
        hu: int16 Hounsfield units, (z, y, x).
        labels: label map, (z, y, x); values as in `labels.py`.
        region_map: unsigned integers, (z, y, x), above 0 wherever `labels` is.
        regions: for each region its name and the values of `region_map` that make it up.
        voxel_volume_ml: volume of one voxel.

    Raises:
        BadInputError: `labels` cannot be measured; see `check_labels`.
        ValueError: a labelled voxel belongs to no region, so it would be missing in the table.
    """
    check_labels(labels, hu.shape)
    histograms = label_histograms(hu, labels, region_map)
    if histograms[0].any():
        raise ValueError("every labelled voxel must belong to a region")
    return tuple(
        measure_region(name, _sum_of(histograms, values), voxel_volume_ml)
        for name, values in regions.items()
    )


def measure_lungs(
    hu: np.ndarray, labels: np.ndarray, lungs: np.ndarray, voxel_volume_ml: float
) -> Measurements:
    """Measure both lungs, the right and the left one.

    Args:
        hu: int16 Hounsfield units, (z, y, x).
        labels: label map, (z, y, x); values as in `labels.py`.
        lungs: uint8 (z, y, x), left or right wherever `labels` > 0.
        voxel_volume_ml: volume of one voxel.

    Raises:
        BadInputError: `labels` cannot be measured; see `check_labels`.
        ValueError: a labelled voxel belongs to neither lung.
    """
    regions = measure_regions(hu, labels, lungs, LUNG_REGIONS, voxel_volume_ml)
    return Measurements(regions, NOTES, _implausible(*regions))


def _sum_of(histograms: np.ndarray, region_values: tuple[int, ...]) -> np.ndarray:
    present = [value for value in region_values if value < histograms.shape[0]]
    return histograms[present].sum(axis=0)


def _mean_and_sd(counts: np.ndarray) -> tuple[float, float]:
    """Mean and population SD of HU; sums are whole numbers, so nothing is lost before dividing."""
    hu = np.flatnonzero(counts)
    occupied = counts[hu]
    hu = hu - _HU_OFFSET
    number = int(occupied.sum())
    if number == 0:
        return math.nan, math.nan
    total = int(occupied @ hu)
    total_of_squares = int(occupied @ hu**2)
    return total / number, math.sqrt(number * total_of_squares - total**2) / number


def _implausible(
    both: RegionMeasurement, right: RegionMeasurement, left: RegionMeasurement
) -> tuple[ScanWarning, ...]:
    """What of the numbers lies outside the plausible ranges above."""
    if both.volume_ml == 0:
        return (
            ScanWarning("no_lung", "Nothing is labelled as lung; there is nothing to measure."),
        )
    warnings = []
    if not _within(both.volume_ml, PLAUSIBLE_LUNG_VOLUME_ML):
        warnings.append(
            ScanWarning(
                "lung_volume_implausible",
                f"The lung volume of {both.volume_ml:.0f} mL is outside "
                f"{_range(PLAUSIBLE_LUNG_VOLUME_ML)} mL; check that the scan shows the whole lungs "
                "and that the segmentation covers them.",
            )
        )
    if right.volume_ml == 0 or left.volume_ml == 0:
        absent = RIGHT_LUNG_REGION if right.volume_ml == 0 else LEFT_LUNG_REGION
        warnings.append(ScanWarning("one_lung", f"No {absent} was found; check the segmentation."))
    else:
        right_share_percent = 100.0 * right.volume_ml / both.volume_ml
        if not _within(right_share_percent, PLAUSIBLE_RIGHT_SHARE_PERCENT):
            warnings.append(
                ScanWarning(
                    "right_left_share_implausible",
                    f"The right lung makes up {right_share_percent:.0f} % of the lung volume "
                    f"(plausible {_range(PLAUSIBLE_RIGHT_SHARE_PERCENT)} %); check that both lungs "
                    "are complete and told apart correctly.",
                )
            )
    if both.normal_ml > 0 and not _within(both.normal_mean_hu, PLAUSIBLE_NORMAL_LUNG_MEAN_HU):
        warnings.append(
            ScanWarning(
                "normal_lung_hu_implausible",
                f"Normal lung has a mean of {both.normal_mean_hu:.0f} HU (plausible "
                f"{_range(PLAUSIBLE_NORMAL_LUNG_MEAN_HU)} HU); check that the scan is in HU and in "
                "inspiration, and that no lesion is labelled as normal lung.",
            )
        )
    if both.ggo_ml >= SMALLEST_JUDGED_GGO_ML and not _within(
        both.ggo_mean_hu, PLAUSIBLE_GGO_MEAN_HU
    ):
        warnings.append(
            ScanWarning(
                "ggo_hu_implausible",
                f"GGO has a mean of {both.ggo_mean_hu:.0f} HU (usual "
                f"{_range(PLAUSIBLE_GGO_MEAN_HU)} HU); check what is labelled as GGO.",
            )
        )
    return tuple(warnings)


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.0f} to {limits[1]:.0f}".replace("-", "−")


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in reversed(shape))
