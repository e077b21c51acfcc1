"""The report page: one HTML file with everything in it, to look at and to print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.display.colors import (
    COUNTED_AIRLESS_COLOR,
    CT_SCORE_COLORS,
    INK,
    LEFT_OUT_COLOR,
    REGION_SCORE_COLORS,
    SUSPECTED_COLOR,
)
from CovidLungQuantLib.display.enhancement import (
    WINDOWS_SHOWN,
    enhancement_facts,
    enhancement_notes,
    vessel_band_names,
)
from CovidLungQuantLib.display.facts import (
    comparison_facts,
    general_notes,
    provenance_facts,
    warning_messages,
)
from CovidLungQuantLib.display.numbers import true_minus
from CovidLungQuantLib.display.pictures import choose_axial_slices
from CovidLungQuantLib.display.severity import score_facts
from CovidLungQuantLib.display.upright import UprightScan
from CovidLungQuantLib.display.windows import lung_window_text, tissue_window_text
from CovidLungQuantLib.labels import (
    APPROXIMATION,
    BOTH_LUNGS_REGION,
    GGO,
    HIGH_OPACITY,
    LABELS,
    LEFT_LUNG_REGION,
    LEFT_LUNG_VALUE,
    LUNG_SEGMENTS,
    NORMAL_LUNG,
    RIGHT_LUNG_REGION,
    RIGHT_LUNG_VALUE,
)
from CovidLungQuantLib.lesions.enhancement import Enhancement
from CovidLungQuantLib.measures.columns import Place, columns_in, density_columns
from CovidLungQuantLib.measures.distribution import (
    BIN_WIDTH_HU,
    bin_counts,
    comparison_notes,
    shipped_reference,
)
from CovidLungQuantLib.measures.lesion_islands import SMALLEST_ISLAND_ML
from CovidLungQuantLib.measures.measurements import Measurements
from CovidLungQuantLib.measures.score_bins import (
    CT_SCORE,
    CT_SCORE_EDGES_PERCENT,
    TOTAL_SEVERITY_SCORE,
)
from CovidLungQuantLib.measures.severity import severity_notes
from CovidLungQuantLib.measures.volumes import label_histograms
from CovidLungQuantLib.pages.charts import density_scale, hu_histogram, lobe_chart
from CovidLungQuantLib.pages.drawings import Svg
from CovidLungQuantLib.pages.rendering import render_page
from CovidLungQuantLib.pages.report_pictures import (
    decision_views,
    density_pictures,
    enhanced_views,
    label_views,
)
from CovidLungQuantLib.pages.severity_planes import (
    PLANES_OF_LUNG,
    planes_by_ct_score,
    planes_by_region_score,
)

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

TEMPLATE = "report.html.j2"
AXIAL_SLICE_COUNT = 6
LESIONS_SHOWN = 10


def write_report(path: Path | str, quantification: Quantification) -> None:
    """Write the report page of a quantification; see `report_html`."""
    Path(path).write_text(report_html(quantification), encoding="utf-8")


def report_html(quantification: Quantification) -> str:
    """Return the page: key numbers, tables, slices plain and with labels, histogram, provenance.

    Self-contained: pictures and charts are inside, nothing is loaded. The same quantification gives
    the same page.
    """
    scan = UprightScan.of(quantification)
    axial_slices = choose_axial_slices(scan.labels, AXIAL_SLICE_COUNT)
    return render_page(
        TEMPLATE,
        scan_name=quantification.ct.name,
        warnings=warning_messages(quantification),
        views=label_views(scan, axial_slices),
        density_pictures=density_pictures(scan, axial_slices),
        density_scale=density_scale(),
        decisions=(
            None if scan.lung_decisions is None else decision_views(scan, scan.lung_decisions)
        ),
        enhanced=_enhanced(quantification.enhancement, scan, axial_slices),
        islands=quantification.lesion_islands[:LESIONS_SHOWN],
        island_count=len(quantification.lesion_islands),
        smallest_island_ml=SMALLEST_ISLAND_ML,
        confidence_is_known=quantification.lesion_probability is not None,
        histogram=_histogram(quantification),
        provenance=provenance_facts(quantification),
        severity=_severity(quantification.measurements, scan),
        **_numbers(quantification.measurements),
        **_shared_facts(),
    )


def _numbers(measurements: Measurements) -> dict[str, Any]:
    """The tables, and what stands in the page's key numbers."""
    comparison = measurements.comparison
    return {
        "both": measurements.region(BOTH_LUNGS_REGION),
        "right": measurements.region(RIGHT_LUNG_REGION),
        "left": measurements.region(LEFT_LUNG_REGION),
        "rows": (*measurements.lungs, *measurements.lobes),
        "columns": columns_in(Place.REPORT),
        "density_columns": density_columns(),
        "notes": general_notes(measurements),
        "comparison": None if comparison is None else comparison_facts(comparison),
        "comparison_notes": comparison_notes(shipped_reference()),
    }


def _shared_facts() -> dict[str, Any]:
    """What is the same in every report."""
    return {
        "labels": LABELS,
        "NORMAL_LUNG": NORMAL_LUNG,
        "GGO": GGO,
        "HIGH_OPACITY": HIGH_OPACITY,
        "APPROXIMATION": APPROXIMATION,
        "CT_SCORE": CT_SCORE,
        "TOTAL_SEVERITY_SCORE": TOTAL_SEVERITY_SCORE,
        "CT_SCORE_COLORS": CT_SCORE_COLORS,
        "REGION_SCORE_COLORS": REGION_SCORE_COLORS,
        "ink": INK,
        "counted_airless_color": COUNTED_AIRLESS_COLOR,
        "left_out_color": LEFT_OUT_COLOR,
        "suspected_color": SUSPECTED_COLOR,
        "lung_window": lung_window_text(),
        "tissue_window": tissue_window_text(),
        "bin_width_hu": BIN_WIDTH_HU,
    }


def _severity(measurements: Measurements, scan: UprightScan) -> dict[str, Any] | None:
    """What the part on severity shows; None where there are no scores."""
    severity = measurements.severity
    if severity is None or scan.lobes is None or scan.segments is None:
        return None
    regions = [
        (segment, row, scored.ct_severity_score)
        for segment, row, scored in zip(
            LUNG_SEGMENTS, measurements.segments, severity.regions, strict=True
        )
    ]
    return {
        "scores": score_facts(severity),
        "columns": columns_in(Place.REPORT_SEVERITY),
        "lobes": list(zip(measurements.lobes, severity.lobes, strict=True)),
        "sums": severity,
        "lobe_chart": lobe_chart(measurements.lobes, CT_SCORE_EDGES_PERCENT),
        "lobe_planes": planes_by_ct_score(severity, scan, scan.lobes),
        "region_planes": planes_by_region_score(severity, scan, scan.segments),
        "plane_names": [name for _, name in PLANES_OF_LUNG],
        "regions_by_lung": [
            [region for region in regions if region[0].lobe.lung_value == lung_value]
            for lung_value in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE)
        ],
        "notes": severity_notes(severity.minimum_lesion_ml),
    }


def _enhanced(
    enhancement: Enhancement | None, scan: UprightScan, axial_slices: list[int]
) -> dict[str, Any] | None:
    """What the part on the enhanced scan shows; None where it was not enhanced."""
    if enhancement is None or scan.enhanced_hu is None:
        return None
    width_hu = WINDOWS_SHOWN * enhancement.window_width_hu
    return {
        "views": enhanced_views(scan, scan.enhanced_hu, axial_slices, width_hu),
        "window_width_hu": width_hu,
        "windows_shown": WINDOWS_SHOWN,
        "facts": [
            (name.capitalize(), true_minus(text)) for name, text in enhancement_facts(enhancement)
        ],
        "vessel_bands": vessel_band_names(),
        "severities": enhancement.severities,
        "notes": enhancement_notes(enhancement),
    }


def _histogram(quantification: Quantification) -> Svg | None:
    """The distribution of HU; None where there is no lung."""
    counts = bin_counts(
        label_histograms(quantification.ct.hu, quantification.labels, quantification.lungs)
    )
    return hu_histogram(counts, shipped_reference().shares) if counts.any() else None
