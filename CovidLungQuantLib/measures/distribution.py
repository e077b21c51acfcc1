"""The lungs' distribution of Hounsfield units against that of normal lungs (Pan et al. 2021).

With p the share of the lung volume in each bin of HU and q that of a reference of normal lungs:

- Hellinger distance H = √(1 − Σ√(pᵢqᵢ)): 0 for equal, 1 for disjoint distributions; it is computed
  as √(½ Σ(√pᵢ − √qᵢ)²), which is the same and keeps small distances exact;
- intersection over union IoU = Σ min(pᵢ, qᵢ) / Σ max(pᵢ, qᵢ): 1 for equal, 0 for disjoint ones.

The relative density of lesions says how many times as dense as this scan's own normal lung they
are: (mean HU of lesion + 1000) / (mean HU of normal lung + 1000), HU + 1000 being proportional to
density between air and water.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from CovidLungQuantLib.measures.volumes import LabelHistograms, RegionMeasurement

# Bins of the distribution; what lies outside counts in the first or the last one.
LOWEST_BIN_HU = -1000
HIGHEST_BIN_HU = 200
BIN_WIDTH_HU = 20
BIN_COUNT = (HIGHEST_BIN_HU - LOWEST_BIN_HU) // BIN_WIDTH_HU
AIR_HU = -1000.0

REFERENCE_FILE = "normal-lung-reference.json"
# What Pan et al. 2021 found in 465 scans of patients: median and quartiles.
PUBLISHED_HELLINGER_DISTANCE = "0.24 (0.20–0.31)"
PUBLISHED_INTERSECTION_OVER_UNION = "0.66 (0.55–0.77)"


@dataclass(frozen=True, eq=False)
class NormalReference:
    """Normal lungs: the share of the lung volume in each bin, each scan weighing the same.

    Attributes:
        shares: float64 (`BIN_COUNT`,), sums to 1.
        scan_names: the scans it was made from.
    """

    shares: np.ndarray
    scan_names: tuple[str, ...]


@dataclass(frozen=True)
class NormalComparison:
    """How a scan differs from normal lungs; NaN where there is nothing to compare."""

    hellinger_distance: float
    intersection_over_union: float
    lesion_relative_density: float


def bin_counts(histograms: LabelHistograms) -> np.ndarray:
    """Return the voxels of all regions by label and bin, int64 (labels 0…3, `BIN_COUNT`)."""
    by_label = histograms.counts.sum(axis=0)
    hu = histograms.lowest_hu + np.arange(by_label.shape[1])
    bins = np.clip((hu - LOWEST_BIN_HU) // BIN_WIDTH_HU, 0, BIN_COUNT - 1)
    binned = np.zeros((by_label.shape[0], BIN_COUNT), dtype=np.int64)
    np.add.at(binned.T, bins, by_label.T)
    return binned


def hellinger_distance(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Hellinger distance of two distributions, each summing to 1."""
    return math.sqrt(0.5 * float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum()))


def intersection_over_union(p: np.ndarray, q: np.ndarray) -> float:
    """Return the overlap of two distributions, each summing to 1."""
    return float(np.minimum(p, q).sum() / np.maximum(p, q).sum())


def relative_density(mean_hu: float, normal_mean_hu: float) -> float:
    """Return how many times as dense as normal lung something is, by their mean HU."""
    if math.isnan(mean_hu) or not normal_mean_hu > AIR_HU:
        return math.nan
    return (mean_hu - AIR_HU) / (normal_mean_hu - AIR_HU)


def compare_with_normal(
    histograms: LabelHistograms, both: RegionMeasurement, reference: NormalReference
) -> NormalComparison:
    """Compare a scan's lungs with normal ones.

    Args:
        histograms: counts of the lungs, by any regions.
        both: row of both lungs.
        reference: normal lungs.
    """
    counts = bin_counts(histograms).sum(axis=0)
    total = counts.sum()
    if total == 0:
        return NormalComparison(math.nan, math.nan, math.nan)
    shares = counts / total
    return NormalComparison(
        hellinger_distance=hellinger_distance(shares, reference.shares),
        intersection_over_union=intersection_over_union(shares, reference.shares),
        lesion_relative_density=relative_density(both.lesion_mean_hu, both.normal_mean_hu),
    )


@cache
def shipped_reference() -> NormalReference:
    """Return the normal lungs that come with this software."""
    resource = files("CovidLungQuantLib") / "resources" / REFERENCE_FILE
    return reference_from_dict(json.loads(resource.read_text(encoding="utf-8")))


def reference_from_dict(stored: dict) -> NormalReference:
    """Return a reference from what `research.normal_reference` writes.

    Raises:
        ValueError: it was made with other bins.
    """
    bins = (stored["lowest_bin_hu"], stored["highest_bin_hu"], stored["bin_width_hu"])
    if bins != (LOWEST_BIN_HU, HIGHEST_BIN_HU, BIN_WIDTH_HU):
        raise ValueError("the normal-lung reference has other bins; make it again")
    counts = np.array([scan["voxels"] for scan in stored["scans"]], dtype=np.float64)
    return NormalReference(
        shares=(counts / counts.sum(axis=1, keepdims=True)).mean(axis=0),
        scan_names=tuple(scan["name"] for scan in stored["scans"]),
    )


def comparison_notes(reference: NormalReference) -> tuple[str, ...]:
    """Return the notes under a table with a comparison."""
    return (
        f"Hellinger distance and overlap (IoU) compare the HU of the lungs with those of "
        f"{len(reference.scan_names)} scans of normal lungs ({', '.join(reference.scan_names)}) in "
        f"bins of {BIN_WIDTH_HU} HU (Pan 2021, who found {PUBLISHED_HELLINGER_DISTANCE} and "
        f"{PUBLISHED_INTERSECTION_OVER_UNION} in patients); depth of breath changes them too.",
        "Relative density of lesions is (mean HU of lesion + 1000) / (mean HU of this scan's "
        "normal lung + 1000).",
    )
