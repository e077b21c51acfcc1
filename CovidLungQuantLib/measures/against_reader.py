"""A label map against a reader's: overlap, surfaces, volumes and extents of each structure.

Classes the reader did not state: a reference may hold lesion of unknown class
(`UNCLASSIFIED_LESION_VALUE`). It counts for the total lesion and the lung. Slices that hold any are
left out for GGO and high opacity, on both sides.

Voxels of which the reader did not know whether they are lung (`UNKNOWN_LUNG_VALUE`) are surely no
lesion. They are left out of lung, normal lung and extents, on both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    NORMAL_LUNG,
    UNCLASSIFIED_LESION_VALUE,
    UNKNOWN_LUNG_VALUE,
    has_stated_class,
)
from CovidLungQuantLib.measures.overlap import (
    SurfaceDistances,
    dice,
    surface_distances,
    volume_similarity,
)
from CovidLungQuantLib.measures.structures import LUNG, STRUCTURES, structure_mask

# Cases with less lesion than this say little about overlap; their Dice is also given without them.
MINIMUM_EXTENT_PERCENT = 0.5


@dataclass(frozen=True)
class ComparisonMeasure:
    """One figure of a `StructureComparison`.

    Attributes:
        key: name of its field.
        title: what a reader sees, without the unit.
        unit: in full; empty for a plain number.
        short_unit: where there is hardly room; empty if `unit` does.
    """

    key: str
    title: str
    unit: str = ""
    short_unit: str = ""


MEASURES: tuple[ComparisonMeasure, ...] = (
    ComparisonMeasure("dice", "Dice"),
    ComparisonMeasure("volume_similarity", "volume similarity"),
    ComparisonMeasure("hausdorff95_mm", "95 % Hausdorff", "mm"),
    ComparisonMeasure("mean_surface_distance_mm", "mean surface distance", "mm"),
    ComparisonMeasure("volume_ml", "volume", "mL"),
    ComparisonMeasure("reference_volume_ml", "reader's volume", "mL"),
    ComparisonMeasure("volume_error_ml", "volume error", "mL"),
    ComparisonMeasure("volume_error_percent", "volume error", "%"),
    ComparisonMeasure("extent_percent", "extent", "%"),
    ComparisonMeasure("reference_extent_percent", "reader's extent", "%"),
    ComparisonMeasure("extent_error_points", "extent error", "percentage points", "points"),
)
MEASURES_BY_KEY: dict[str, ComparisonMeasure] = {measure.key: measure for measure in MEASURES}


@dataclass(frozen=True)
class StructureComparison:
    """One structure of one scan; NaN where a figure is undefined, `reason` says why.

    Attributes:
        structure: one of `STRUCTURES`.
        slices: compared; fewer than the scan's where the reader did not state the class.
        dice: see `measures.overlap`, also for the next three.
        volume_similarity: of the volumes, whatever the position.
        hausdorff95_mm: 95 % Hausdorff distance.
        mean_surface_distance_mm: average symmetric surface distance.
        volume_ml: on the slices compared; also the next.
        reference_volume_ml: the reader's.
        volume_error_ml: volume − reader's.
        volume_error_percent: the same in per cent of the reader's.
        extent_percent: share of the lung on the slices compared, lung = normal + lesion.
        reference_extent_percent: the reader's structure in the reader's lung.
        extent_error_points: extent − reader's, in percentage points.
        reason: why figures are missing; empty if none is.
    """

    structure: str
    slices: int
    dice: float = math.nan
    volume_similarity: float = math.nan
    hausdorff95_mm: float = math.nan
    mean_surface_distance_mm: float = math.nan
    volume_ml: float = math.nan
    reference_volume_ml: float = math.nan
    volume_error_ml: float = math.nan
    volume_error_percent: float = math.nan
    extent_percent: float = math.nan
    reference_extent_percent: float = math.nan
    extent_error_points: float = math.nan
    reason: str = ""


def class_slices(reference: np.ndarray) -> np.ndarray:
    """Slices on which the reader stated the class of every lesion, bool (z,).

    Slices without lesion are among them. All False where lesions are there and none has a class.
    """
    unknown = (reference == UNCLASSIFIED_LESION_VALUE).any(axis=(1, 2))
    if unknown.any() and not has_stated_class(reference[~unknown]).any():
        return np.zeros_like(unknown)
    return ~unknown


def compare_label_maps(
    labels: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[StructureComparison, ...]:
    """Compare every structure of a label map with the reader's.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`.
        reference: the reader's, same grid; `UNCLASSIFIED_LESION_VALUE` and `UNKNOWN_LUNG_VALUE`
            allowed.
        spacing_mm: voxel size (x, y, z).
    """
    if labels.shape != reference.shape:
        raise ValueError(f"shapes differ: {labels.shape}, {reference.shape}")
    return tuple(
        _compare_structure(structure, labels, reference, spacing_mm) for structure in STRUCTURES
    )


def _compare_structure(
    structure: str,
    labels: np.ndarray,
    reference: np.ndarray,
    spacing_mm: tuple[float, float, float],
) -> StructureComparison:
    reasons: list[str] = []
    has_lungs = (labels == NORMAL_LUNG.value).any()
    reference_has_lungs = (reference == NORMAL_LUNG.value).any()
    if not has_lungs:
        reasons.append("the segmentation has no normal lung, so its lung and extents are unknown")
    if not reference_has_lungs:
        reasons.append("the reference has no normal lung, so its lung and extents are unknown")
    if structure in (LUNG, NORMAL_LUNG.name) and reasons:
        return _nothing(structure, reasons)
    whole = True
    if structure in (GGO.name, HIGH_OPACITY.name):
        counted = class_slices(reference)
        if not counted.any():
            return _nothing(structure, ["the reference states no class of lesion"])
        whole = bool(counted.all())
        if not whole:
            reasons.append(
                f"the class is not stated on {np.count_nonzero(~counted)} of {len(counted)} "
                "slices, which are left out, and surfaces are not compared"
            )
            labels, reference = labels[counted], reference[counted]
    lung_known = reference != UNKNOWN_LUNG_VALUE
    mask = structure_mask(labels, structure)
    if structure in (LUNG, NORMAL_LUNG.name):
        mask &= lung_known
    reference_mask = structure_mask(reference, structure)
    if not reference_mask.any():
        reasons.append(f"the reference has no {_in_text(structure)}")
    elif not mask.any():
        reasons.append(f"the segmentation has no {_in_text(structure)}, so no surface")
    distances = (
        surface_distances(mask, reference_mask, spacing_mm)
        if whole
        else SurfaceDistances(math.nan, math.nan)
    )
    voxel_ml = math.prod(spacing_mm) / 1000.0
    volume_ml = np.count_nonzero(mask) * voxel_ml
    reference_volume_ml = np.count_nonzero(reference_mask) * voxel_ml
    extent_percent = _share_of_lung(mask, labels, lung_known) if has_lungs else math.nan
    reference_extent_percent = (
        _share_of_lung(reference_mask, reference, lung_known) if reference_has_lungs else math.nan
    )
    return StructureComparison(
        structure=structure,
        slices=len(mask),
        dice=dice(mask, reference_mask),
        volume_similarity=volume_similarity(mask, reference_mask),
        hausdorff95_mm=distances.hausdorff95_mm,
        mean_surface_distance_mm=distances.mean_mm,
        volume_ml=volume_ml,
        reference_volume_ml=reference_volume_ml,
        volume_error_ml=volume_ml - reference_volume_ml,
        volume_error_percent=(
            100.0 * (volume_ml - reference_volume_ml) / reference_volume_ml
            if reference_volume_ml
            else math.nan
        ),
        extent_percent=extent_percent,
        reference_extent_percent=reference_extent_percent,
        extent_error_points=extent_percent - reference_extent_percent,
        reason="; ".join(reasons),
    )


def _nothing(structure: str, reasons: list[str]) -> StructureComparison:
    return StructureComparison(structure, 0, reason="; ".join(reasons))


def _share_of_lung(mask: np.ndarray, labels: np.ndarray, lung_known: np.ndarray) -> float:
    """Per cent of the lung that `mask` covers, where lung or not is known."""
    lung = structure_mask(labels, LUNG) & lung_known
    lung_voxels = np.count_nonzero(lung)
    return 100.0 * np.count_nonzero(mask & lung) / lung_voxels if lung_voxels else math.nan


def _in_text(structure: str) -> str:
    return structure if structure == GGO.name else structure.lower()
