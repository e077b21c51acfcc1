"""The measurements as CSV and JSON, in full precision."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.files.tables import none_for_nan, write_csv, write_json
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.lesions.enhancement import VESSEL_BANDS_MM
from CovidLungQuantLib.measures.airways_and_vessels import measure_airways_and_vessels
from CovidLungQuantLib.measures.columns import column_keys
from CovidLungQuantLib.measures.measurements import Measurements, region_figures, table_rows
from CovidLungQuantLib.versions import software_versions

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

WARNINGS_COLUMN = "warnings"
# Options that may hold a path, of which only the file name belongs into a result.
PATH_OPTIONS = ("model",)


def write_measurements_csv(path: Path | str, quantification: Quantification) -> None:
    """Write one row a region; numbers as Python's shortest exact form, an empty cell for NaN.

    The last column repeats in each row the codes of the run's warnings, joined by ";".
    """
    warning_codes = ";".join(dict.fromkeys(w.code for w in quantification.warnings))
    write_csv(
        path,
        [
            {**row, WARNINGS_COLUMN: warning_codes}
            for row in table_rows(quantification.measurements)
        ],
        [*column_keys(), WARNINGS_COLUMN],
    )


def write_result_json(path: Path | str, quantification: Quantification) -> None:
    """Write `result_dict` as JSON."""
    write_json(path, result_dict(quantification))


def result_dict(quantification: Quantification) -> dict[str, Any]:
    """Return everything but the voxels: numbers, what made them, warnings and notes.

    NaN becomes None. Holds the scan's name and geometry, and neither paths nor patient data.
    """
    geometry = quantification.ct.geometry
    measurements = quantification.measurements
    return {
        "scan": quantification.ct.name,
        "disclaimer": DISCLAIMER,
        "measurements": [none_for_nan(region_figures(region)) for region in measurements.regions],
        "scores": _scores_dict(measurements),
        "comparison_with_normal": _comparison_dict(measurements),
        "airways_and_vessels": _airways_and_vessels_dict(quantification),
        "enhancement": _enhancement_dict(quantification),
        "warnings": [asdict(warning) for warning in quantification.warnings],
        "notes": list(measurements.notes),
        "provenance": _provenance_dict(quantification),
        "versions": software_versions(),
        "geometry": {
            "size_xyz": list(reversed(geometry.shape)),
            "spacing_mm_xyz": [float(value) for value in geometry.spacing_mm],
            "origin_mm_lps": [float(value) for value in geometry.origin_mm],
            "direction_lps": [[float(value) for value in row] for row in geometry.direction],
        },
    }


def _scores_dict(measurements: Measurements) -> dict[str, Any] | None:
    severity = measurements.severity
    if severity is None:
        return None
    return {
        "ct_score": severity.ct_score,
        "involved_lobes": severity.involved_lobes,
        "ct_severity_score": severity.ct_severity_score,
        "severe_by_ct_severity_score": severity.is_severe,
        "total_severity_score": severity.total_severity_score,
        **asdict(severity),
    }


def _comparison_dict(measurements: Measurements) -> dict[str, Any] | None:
    if measurements.comparison is None:
        return None
    return none_for_nan(asdict(measurements.comparison))


def _airways_and_vessels_dict(quantification: Quantification) -> dict[str, Any] | None:
    if quantification.airways_and_vessels is None:
        return None
    measured = measure_airways_and_vessels(
        quantification.airways_and_vessels,
        quantification.labels,
        quantification.ct.geometry.voxel_volume_ml,
    )
    return none_for_nan(asdict(measured))


def _enhancement_dict(quantification: Quantification) -> dict[str, Any] | None:
    enhancement = quantification.enhancement
    if enhancement is None:
        return None
    numbers = ("baseline", "baseline_hu", "bias_hu", "window_width_hu", "parenchyma_ml")
    return {
        **{name: getattr(enhancement, name) for name in numbers},
        "vessel_bands_mm": [
            [low_mm, high_mm if math.isfinite(high_mm) else None]
            for low_mm, high_mm in VESSEL_BANDS_MM
        ],
        "severities": [asdict(severity) for severity in enhancement.severities],
    }


def _provenance_dict(quantification: Quantification) -> dict[str, Any] | None:
    if quantification.provenance is None:
        return None
    provenance = asdict(quantification.provenance)
    for option in PATH_OPTIONS:
        if provenance["options"].get(option):
            provenance["options"][option] = Path(provenance["options"][option]).name
    return provenance
