"""The whole table of a scan: lungs, lobes and regions, scores, and the comparison with normal."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import numpy as np

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    LEFT_LUNG_REGION,
    LEFT_LUNG_VALUE,
    LOBES,
    LUNG_SEGMENTS,
    RIGHT_LUNG_REGION,
    RIGHT_LUNG_VALUE,
)
from CovidLungQuantLib.measures.columns import SCORE_COLUMNS, region_columns
from CovidLungQuantLib.measures.distribution import (
    NormalComparison,
    compare_with_normal,
    comparison_notes,
    shipped_reference,
)
from CovidLungQuantLib.measures.plausibility import implausible, implausible_lobes
from CovidLungQuantLib.measures.severity import (
    DEFAULT_MINIMUM_LESION_ML,
    Severity,
    score_severity,
    severity_notes,
)
from CovidLungQuantLib.measures.volumes import (
    LabelHistograms,
    RegionMeasurement,
    label_histograms,
    measure_regions,
)

# Which values of the lung map make up each region, in the order of the table.
LUNG_REGIONS: dict[str, tuple[int, ...]] = {
    BOTH_LUNGS_REGION: (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE),
    RIGHT_LUNG_REGION: (RIGHT_LUNG_VALUE,),
    LEFT_LUNG_REGION: (LEFT_LUNG_VALUE,),
}
LOBE_REGIONS: tuple[str, ...] = tuple(lobe.name.lower() for lobe in LOBES)
SEGMENT_REGIONS: tuple[str, ...] = tuple(segment.row_name for segment in LUNG_SEGMENTS)
# The same lungs, then lobes and regions, as values of the segment map.
ALL_REGIONS: dict[str, tuple[int, ...]] = {
    **{
        name: tuple(s.value for s in LUNG_SEGMENTS if s.lobe.lung_value in lung_values)
        for name, lung_values in LUNG_REGIONS.items()
    },
    **{
        name: tuple(s.value for s in LUNG_SEGMENTS if s.lobe is lobe)
        for name, lobe in zip(LOBE_REGIONS, LOBES, strict=True)
    },
    **{name: (s.value,) for name, s in zip(SEGMENT_REGIONS, LUNG_SEGMENTS, strict=True)},
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


@dataclass(frozen=True)
class Measurements:
    """The numbers of a scan.

    Attributes:
        regions: the table, one row a region: both lungs, right and left; with lobes, also the five
            lobes and their 20 regions.
        notes: what stands under the table.
        warnings: what looks implausible.
        severity: scores; None without lobes.
        comparison: against normal lungs.
    """

    regions: tuple[RegionMeasurement, ...]
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[ScanWarning, ...] = field(default=())
    severity: Severity | None = None
    comparison: NormalComparison | None = None

    def region(self, name: str) -> RegionMeasurement:
        """Return the row of a region; raises KeyError where the table has none of that name."""
        for row in self.regions:
            if row.region == name:
                return row
        raise KeyError(name)

    @property
    def lungs(self) -> tuple[RegionMeasurement, ...]:
        """Rows of both lungs, the right and the left one."""
        return self.regions[: len(LUNG_REGIONS)]

    @property
    def lobes(self) -> tuple[RegionMeasurement, ...]:
        """Rows of the five lobes in the order of `labels.LOBES`; empty without lobes."""
        return self.regions[len(LUNG_REGIONS) :][: len(LOBES)]

    @property
    def segments(self) -> tuple[RegionMeasurement, ...]:
        """Rows of the 20 regions in the order of `labels.LUNG_SEGMENTS`; empty without lobes."""
        return self.regions[len(LUNG_REGIONS) + len(LOBES) :]


def region_figures(row: RegionMeasurement) -> dict[str, str | float]:
    """Return what files hold of a region but the scores, by column."""
    return {column.key: column.value(row) for column in region_columns()}


def table_rows(measurements: Measurements) -> list[dict[str, str | int | float]]:
    """Return the table with all `columns.table_columns`, one dictionary a row."""
    scores = _scores_by_region(measurements)
    return [
        {
            **region_figures(row),
            **{
                column.key: math.nan if value is None else value
                for column in SCORE_COLUMNS
                for value in [scores.get(row.region, {}).get(column.key)]
            },
        }
        for row in measurements.regions
    ]


def measure_lungs(
    hu: np.ndarray,
    labels: np.ndarray,
    lungs: np.ndarray,
    voxel_volume_ml: float,
    segments: np.ndarray | None = None,
    minimum_lesion_ml: float = DEFAULT_MINIMUM_LESION_ML,
) -> Measurements:
    """Measure both lungs, each lung and, where they are known, each lobe and region.

    Args:
        hu: int16 Hounsfield units, (z, y, x).
        labels: label map, (z, y, x); values as in `labels.py`.
        lungs: uint8 (z, y, x), left or right wherever `labels` > 0. Not looked at with `segments`.
        voxel_volume_ml: volume of one voxel.
        segments: uint8 (z, y, x), values of `labels.LUNG_SEGMENTS` wherever `labels` > 0; None
            leaves out lobes, regions and scores.
        minimum_lesion_ml: lesion of a lobe or region up to this volume does not score.

    Raises:
        BadInputError: `labels` cannot be measured; see `check_labels`.
        ValueError: a labelled voxel belongs to no lung or region.
    """
    check_labels(labels, hu.shape)
    histograms = label_histograms(hu, labels, lungs if segments is None else segments)
    return measurements_from_histograms(
        histograms, voxel_volume_ml, segments is not None, minimum_lesion_ml
    )


def measurements_from_histograms(
    histograms: LabelHistograms,
    voxel_volume_ml: float,
    has_lobes: bool,
    minimum_lesion_ml: float = DEFAULT_MINIMUM_LESION_ML,
) -> Measurements:
    """Measure what was counted already.

    Args:
        histograms: counted by the values of `labels.LUNG_SEGMENTS` if `has_lobes`, otherwise by
            left and right lung.
        voxel_volume_ml: volume of one voxel.
        has_lobes: without, lobes, regions and scores are left out.
        minimum_lesion_ml: lesion of a lobe or region up to this volume does not score.

    Raises:
        ValueError: a labelled voxel belongs to no lung or region.
    """
    regions = measure_regions(
        histograms, ALL_REGIONS if has_lobes else LUNG_REGIONS, voxel_volume_ml
    )
    both = regions[0]
    reference = shipped_reference()
    measurements = Measurements(
        regions=regions,
        notes=(*NOTES, *comparison_notes(reference)),
        warnings=implausible(*regions[: len(LUNG_REGIONS)]),
        comparison=compare_with_normal(histograms, both, reference),
    )
    if not has_lobes:
        return measurements
    return Measurements(
        regions=regions,
        notes=(*NOTES, *severity_notes(minimum_lesion_ml), *comparison_notes(reference)),
        warnings=(*measurements.warnings, *implausible_lobes(both, measurements.lobes)),
        severity=score_severity(measurements.lobes, measurements.segments, minimum_lesion_ml),
        comparison=measurements.comparison,
    )


def _scores_by_region(measurements: Measurements) -> dict[str, dict[str, int | float | None]]:
    scores: dict[str, dict[str, int | float | None]] = {BOTH_LUNGS_REGION: {}}
    if measurements.comparison is not None:
        scores[BOTH_LUNGS_REGION] |= asdict(measurements.comparison)
    severity = measurements.severity
    if severity is None:
        return scores
    scores[BOTH_LUNGS_REGION] |= {
        "ct_score": severity.ct_score,
        "total_severity_score": severity.total_severity_score,
        "ct_severity_score": severity.ct_severity_score,
        "involved_lobes": severity.involved_lobes,
    }
    for lobe in severity.lobes:
        scores[lobe.region] = {
            "ct_score": lobe.ct_score,
            "total_severity_score": lobe.total_severity_score,
            "involved_lobes": None if lobe.involved is None else int(lobe.involved),
        }
    for region in severity.regions:
        scores[region.region] = {"ct_severity_score": region.ct_severity_score}
    return scores
