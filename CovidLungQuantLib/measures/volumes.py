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
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.labels import CLASS_COUNT, GGO, HIGH_OPACITY, NORMAL_LUNG

# Slices counted at once: bounds the memory of the count whatever the scan's length.
_SLICES_AT_ONCE = 16


@dataclass(frozen=True)
class RegionMeasurement:
    """What is measured in one region; `columns.REGION_COLUMNS` says what each field is.

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

    @property
    def normal_percent(self) -> float:
        """Normal lung as a percentage of the lung volume; NaN without lung."""
        return 100.0 * self.normal_ml / self.volume_ml if self.volume_ml else math.nan


@dataclass(frozen=True, eq=False)
class LabelHistograms:
    """How many labelled voxels there are by region, label and HU.

    Attributes:
        counts: int64 (regions, labels 0…3, HU); the last axis begins at `lowest_hu`. Background is
            not counted.
        lowest_hu: HU of the first count.
    """

    counts: np.ndarray
    lowest_hu: int

    def of(self, region_values: tuple[int, ...]) -> LabelHistograms:
        """Return the counts (1, labels, HU) of some regions together."""
        present = [value for value in region_values if value < self.counts.shape[0]]
        return LabelHistograms(self.counts[present].sum(axis=0, keepdims=True), self.lowest_hu)


def label_histograms(hu: np.ndarray, labels: np.ndarray, region_map: np.ndarray) -> LabelHistograms:
    """Count the labelled voxels by region, label and HU in one pass.

    Args:
        hu: int16 Hounsfield units, (z, y, x).
        labels: label map as `check_labels` accepts it, (z, y, x).
        region_map: uint8 (z, y, x): which region a voxel belongs to, up to 63; 0 is none.

    Returns:
        `region_map.max() + 1` regions, labels 0…3, and the HU that occur in the scan.
    """
    if hu.dtype != np.int16:
        raise TypeError(f"hu must be int16, not {hu.dtype}")
    if not hu.shape == labels.shape == region_map.shape:
        raise ValueError(f"shapes differ: {hu.shape}, {labels.shape}, {region_map.shape}")
    region_count = int(region_map.max()) + 1
    if region_count * CLASS_COUNT > np.iinfo(np.uint8).max + 1:
        raise ValueError(f"{region_count} regions are more than can be counted at once")
    lowest_hu, highest_hu = int(hu.min()), int(hu.max())
    hu_count = highest_hu - lowest_hu + 1
    bin_count = region_count * CLASS_COUNT * hu_count
    counts = np.zeros(bin_count, dtype=np.int64)
    for first in range(0, hu.shape[0], _SLICES_AT_ONCE):
        chunk = slice(first, first + _SLICES_AT_ONCE)
        chunk_labels = labels[chunk].astype(np.uint8).reshape(-1)
        cell = region_map[chunk].astype(np.uint8).reshape(-1) * np.uint8(CLASS_COUNT)
        cell += chunk_labels
        lung = np.flatnonzero(chunk_labels)
        code = cell[lung].astype(np.intp)
        code *= hu_count
        code += hu[chunk].reshape(-1)[lung]
        code -= lowest_hu
        counts += np.bincount(code, minlength=bin_count)
    return LabelHistograms(counts.reshape(region_count, CLASS_COUNT, hu_count), lowest_hu)


def measure_region(
    name: str, histograms: LabelHistograms, voxel_volume_ml: float
) -> RegionMeasurement:
    """Measure everything in `histograms` as one region.

    Args:
        name: what to call the region.
        histograms: counts, as from `label_histograms`.
        voxel_volume_ml: volume of one voxel.
    """
    by_label = histograms.counts.sum(axis=0)
    normal = by_label[NORMAL_LUNG.value]
    ggo = by_label[GGO.value]
    high_opacity = by_label[HIGH_OPACITY.value]
    lesion = ggo + high_opacity
    lung = normal + lesion
    voxels = int(lung.sum())

    def volume_ml(counts: np.ndarray) -> float:
        return int(counts.sum()) * voxel_volume_ml

    def percent(counts: np.ndarray) -> float:
        return 100.0 * int(counts.sum()) / voxels if voxels else math.nan

    mean_hu, sd_hu = _mean_and_sd(lung, histograms.lowest_hu)
    normal_mean_hu, normal_sd_hu = _mean_and_sd(normal, histograms.lowest_hu)
    ggo_mean_hu, ggo_sd_hu = _mean_and_sd(ggo, histograms.lowest_hu)
    high_opacity_mean_hu, high_opacity_sd_hu = _mean_and_sd(high_opacity, histograms.lowest_hu)
    lesion_mean_hu, lesion_sd_hu = _mean_and_sd(lesion, histograms.lowest_hu)
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
    histograms: LabelHistograms,
    regions: Mapping[str, tuple[int, ...]],
    voxel_volume_ml: float,
) -> tuple[RegionMeasurement, ...]:
    """Measure any regions, each a set of values of the region map that was counted.

    Args:
        histograms: as from `label_histograms`.
        regions: for each region its name and the values of the region map that make it up.
        voxel_volume_ml: volume of one voxel.

    Raises:
        ValueError: a labelled voxel belongs to no region, so it would be missing in the table.
    """
    if histograms.counts[0].any():
        raise ValueError("every labelled voxel must belong to a region")
    return tuple(
        measure_region(name, histograms.of(values), voxel_volume_ml)
        for name, values in regions.items()
    )


def _mean_and_sd(counts: np.ndarray, lowest_hu: int) -> tuple[float, float]:
    """Mean and population SD of HU; sums are whole numbers, so nothing is lost before dividing."""
    hu = np.flatnonzero(counts)
    occupied = counts[hu]
    hu = hu + lowest_hu
    number = int(occupied.sum())
    if number == 0:
        return math.nan, math.nan
    total = int(occupied @ hu)
    total_of_squares = int(occupied @ hu**2)
    return total / number, math.sqrt(number * total_of_squares - total**2) / number
