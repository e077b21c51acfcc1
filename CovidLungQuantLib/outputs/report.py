"""The report page: one HTML file with everything in it, to look at and to print."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.ct.orientation import orientation_of
from CovidLungQuantLib.display.pictures import (
    choose_axial_slices,
    choose_coronal_plane,
    encode_labels_png,
)
from CovidLungQuantLib.display.windows import LUNG_WINDOW_LEVEL_HU, LUNG_WINDOW_WIDTH_HU
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    DISCLAIMER,
    GGO,
    HIGH_OPACITY,
    LABELS,
    LEFT_LUNG_REGION,
    NORMAL_LUNG,
    RIGHT_LUNG_REGION,
)
from CovidLungQuantLib.lesions.kinds import KIND_CHOICES
from CovidLungQuantLib.measures.distribution import (
    BIN_WIDTH_HU,
    HIGHEST_BIN_HU,
    LOWEST_BIN_HU,
    bin_counts,
    comparison_notes,
    shipped_reference,
)
from CovidLungQuantLib.measures.measurements import Measurements
from CovidLungQuantLib.measures.severity import severity_notes
from CovidLungQuantLib.measures.volumes import RegionMeasurement, label_histograms
from CovidLungQuantLib.outputs.density_section import density_section
from CovidLungQuantLib.outputs.enhancement_section import enhancement_section
from CovidLungQuantLib.outputs.page import (
    Plane,
    UprightScan,
    axis_step,
    css_color,
    html_notes,
    html_table,
    percent_text,
    signed_text,
    swatch,
    volume_text,
    warnings_box,
)
from CovidLungQuantLib.outputs.severity_section import severity_section
from CovidLungQuantLib.versions import software_versions

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Provenance, Quantification

AXIAL_SLICE_COUNT = 6

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1040px; padding: 28px 32px; background: #fff; color: #1d2730;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 2px 0 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 34px 0 10px; }
.over { margin: 0; color: #5a6772; font-size: 14px; }
.disclaimer { margin: 10px 0 0; color: #5a6772; font-size: 14px; }
.warnings { margin: 20px 0 0; padding: 10px 16px; border-left: 5px solid #c77700;
  background: #fff6e6; }
.warnings strong { display: block; }
.warnings ul { margin: 4px 0 0; padding-left: 20px; }
.key { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; margin: 24px 0 0; }
.key div { border-top: 5px solid var(--accent); background: #f5f7f8; padding: 10px 14px 12px; }
.key .number { font-size: 34px; font-weight: 650; line-height: 1.2; white-space: nowrap; }
.key .number small { font-size: 18px; font-weight: 500; }
.key .name { font-weight: 600; }
.key .detail { color: #5a6772; font-size: 13px; }
.key.scores { margin-top: 0; }
.key.scores .number { font-size: 27px; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 28px; align-items: start; }
.figures { display: grid; gap: 14px; margin-top: 18px; }
.columns td:first-child { white-space: nowrap; }
.regions th:nth-child(2), .regions td:nth-child(2) { text-align: left; }
.regions td { padding: 4px 10px; }
h3 { font-size: 14px; margin: 22px 0 6px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid #dde3e7; }
th { font-weight: 600; font-size: 13px; color: #3e4a54; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
th span { font-weight: 400; color: #5a6772; }
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 5px; border-radius: 2px; }
.notes { margin: 10px 0 0; padding-left: 18px; color: #5a6772; font-size: 13px; }
.legend { color: #3e4a54; font-size: 14px; margin: 0 0 8px; }
.legend span + span { margin-left: 18px; }
.views { display: grid; grid-template-columns: 1fr 1fr; gap: 18px 20px; }
.views.wide { grid-template-columns: 1fr; }
figure { margin: 0; break-inside: avoid; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 3px; background: #000; }
.three { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 3px; background: #000; }
.four { display: grid; grid-template-columns: repeat(4, 1fr); gap: 3px; background: #000;
  align-items: center; }
.three svg, .four svg,
.pair svg { display: block; width: 100%; height: auto; }
.pair image.labels { image-rendering: pixelated; }
figcaption { font-size: 13px; color: #5a6772; margin-top: 3px; }
.chart { width: 100%; height: auto; display: block; }
.narrow { max-width: 420px; margin-top: 18px; }
.narrow td:last-child { text-align: right; }
.provenance { font-size: 13px; color: #3e4a54; }
.provenance td { text-align: left; padding: 3px 10px; vertical-align: top; }
.provenance td:first-child { width: 170px; color: #5a6772; }
.provenance td:last-child { overflow-wrap: anywhere; }
h2, .key, .warnings, table { break-inside: avoid; break-after: auto; }
h2, h3 { break-after: avoid; }
@media (max-width: 720px) { .key { grid-template-columns: 1fr 1fr; }
  .views, .columns { grid-template-columns: 1fr; } body { padding: 16px; }
  .scroll { overflow-x: auto; } }
@media print { @page { size: A4; margin: 13mm; } body { padding: 0; max-width: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def write_report(path: Path | str, quantification: Quantification) -> None:
    """Write the report page of a quantification; see `report_html`."""
    Path(path).write_text(report_html(quantification), encoding="utf-8")


def report_html(quantification: Quantification) -> str:
    """Return the page: key numbers, tables, slices plain and with labels, histogram, provenance.

    Self-contained: pictures and charts are inside, nothing is loaded. The same quantification gives
    the same page.
    """
    scan_name = escape(quantification.ct.name)
    scan = UprightScan.of(quantification)
    axial_slices = choose_axial_slices(scan.labels, AXIAL_SLICE_COUNT)
    body = "\n".join(
        [
            '<p class="over">COVID-19 pneumonia on chest CT: quantification</p>',
            f"<h1>{scan_name}</h1>",
            f'<p class="disclaimer">{escape(DISCLAIMER)}</p>',
            _warnings_box(quantification),
            _key_numbers(quantification),
            "<h2>Volumes and extents</h2>",
            _volume_table(quantification),
            html_notes(_general_notes(quantification.measurements)),
            severity_section(quantification.measurements, scan),
            _views(scan, axial_slices),
            density_section(scan, axial_slices),
            enhancement_section(
                quantification.enhancement,
                orientation_of(quantification.ct.geometry),
                scan,
                axial_slices,
            ),
            "<h2>Hounsfield units</h2>",
            _hu_table(quantification),
            _histogram(quantification),
            _comparison(quantification.measurements),
            "<h2>How this was made</h2>",
            _provenance_table(quantification),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{scan_name}: COVID-19 pneumonia quantification</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _warnings_box(quantification: Quantification) -> str:
    return warnings_box(list(dict.fromkeys(warning.message for warning in quantification.warnings)))


def _key_numbers(quantification: Quantification) -> str:
    regions = {region.region: region for region in quantification.measurements.regions}
    both = regions[BOTH_LUNGS_REGION]
    right, left = regions[RIGHT_LUNG_REGION], regions[LEFT_LUNG_REGION]
    tiles = [
        (
            "#1d2730",
            "Pneumonia burden",
            percent_text(both.lesion_percent),
            "%",
            f"{volume_text(both.lesion_ml)} mL lesion: "
            f"right {percent_text(right.lesion_percent)} %, "
            f"left {percent_text(left.lesion_percent)} %",
        ),
        (
            css_color(GGO.color),
            "Ground-glass opacity",
            percent_text(both.ggo_percent),
            "%",
            f"{volume_text(both.ggo_ml)} mL",
        ),
        (
            css_color(HIGH_OPACITY.color),
            "High opacity",
            percent_text(both.high_opacity_percent),
            "%",
            f"{volume_text(both.high_opacity_ml)} mL; consolidation and effusion",
        ),
        (
            css_color(NORMAL_LUNG.color),
            "Lung volume",
            volume_text(both.volume_ml),
            "mL",
            f"right {volume_text(right.volume_ml)} mL, left {volume_text(left.volume_ml)} mL",
        ),
    ]
    return (
        '<div class="key">'
        + "".join(
            f'<div style="--accent:{accent}"><span class="name">{name}</span>'
            f'<br><span class="number">{number} <small>{unit}</small></span>'
            f'<br><span class="detail">{detail}</span></div>'
            for accent, name, number, unit, detail in tiles
        )
        + "</div>"
    )


def _volume_table(quantification: Quantification) -> str:
    headings = [
        "Region",
        "Lung <span>mL</span>",
        f"{swatch(NORMAL_LUNG)}Normal <span>mL</span>",
        f"{swatch(GGO)}GGO <span>mL</span>",
        "GGO <span>%</span>",
        f"{swatch(HIGH_OPACITY)}High opacity <span>mL</span>",
        "High opacity <span>%</span>",
        "Lesion <span>mL</span>",
        "Lesion <span>%</span>",
    ]
    rows = [
        [
            escape(region.region.capitalize()),
            volume_text(region.volume_ml),
            volume_text(region.normal_ml),
            volume_text(region.ggo_ml),
            percent_text(region.ggo_percent),
            volume_text(region.high_opacity_ml),
            percent_text(region.high_opacity_percent),
            volume_text(region.lesion_ml),
            percent_text(region.lesion_percent),
        ]
        for region in (*quantification.measurements.lungs, *quantification.measurements.lobes)
    ]
    return html_table(headings, rows)


def _hu_table(quantification: Quantification) -> str:
    headings = [
        "Mean ± SD <span>HU</span>",
        "Whole lung",
        f"{swatch(NORMAL_LUNG)}Normal lung",
        f"{swatch(GGO)}GGO",
        f"{swatch(HIGH_OPACITY)}High opacity",
        "Lesion",
    ]
    rows = [
        [escape(region.region.capitalize()), *_hu_cells(region)]
        for region in (*quantification.measurements.lungs, *quantification.measurements.lobes)
    ]
    return html_table(headings, rows)


def _hu_cells(region: RegionMeasurement) -> list[str]:
    pairs = [
        (region.mean_hu, region.sd_hu),
        (region.normal_mean_hu, region.normal_sd_hu),
        (region.ggo_mean_hu, region.ggo_sd_hu),
        (region.high_opacity_mean_hu, region.high_opacity_sd_hu),
        (region.lesion_mean_hu, region.lesion_sd_hu),
    ]
    return ["–" if math.isnan(mean) else f"{signed_text(mean)} ± {sd:.0f}" for mean, sd in pairs]


def _general_notes(measurements: Measurements) -> list[str]:
    """The notes that do not stand elsewhere in the page."""
    elsewhere = set(comparison_notes(shipped_reference()))
    if measurements.severity is not None:
        elsewhere |= set(severity_notes(measurements.severity.minimum_lesion_ml))
    return [note for note in measurements.notes if note not in elsewhere]


def _comparison(measurements: Measurements) -> str:
    """How the lungs differ from normal ones."""
    comparison = measurements.comparison
    if comparison is None:
        return ""
    values = [
        ("Hellinger distance from normal lungs", comparison.hellinger_distance, 2),
        ("Overlap with normal lungs (IoU)", comparison.intersection_over_union, 2),
        ("Relative density of lesions", comparison.lesion_relative_density, 1),
    ]
    rows = [
        [name, "–" if math.isnan(value) else f"{value:.{digits}f}"]
        for name, value, digits in values
    ]
    return (
        '<div class="narrow">'
        + html_table(["Against normal lungs", ""], rows)
        + "</div>"
        + html_notes(comparison_notes(shipped_reference()))
    )


def _views(scan: UprightScan, axial_slices: list[int]) -> str:
    """Axial slices and one coronal plane, each without and with the labels."""
    x_mm, y_mm, _ = scan.geometry.spacing_mm
    figures = []
    for z in reversed(axial_slices):
        lesion_cm2 = np.count_nonzero(scan.labels[z] >= GGO.value) * x_mm * y_mm / 100
        caption = (
            f"Axial slice {z + 1} of {scan.labels.shape[0]} counted upwards, "
            f"{_height_mm(scan.geometry, z)}; lesion {lesion_cm2:.1f} cm²"
        )
        figures.append(
            _pair(scan.axial_plane(z), scan.axial(scan.hu, z), scan.axial(scan.labels, z), caption)
        )
    y = choose_coronal_plane(scan.labels)
    coronal = _pair(
        scan.coronal_plane(y),
        scan.coronal(scan.hu, y),
        scan.coronal(scan.labels, y),
        f"Coronal plane {y + 1} of {scan.labels.shape[1]} counted from front to back",
    )
    legend = "".join(
        f"<span>{swatch(label)}{label.name}{' (ground-glass opacity)' if label is GGO else ''}"
        "</span>"
        for label in LABELS
    )
    return (
        "<h2>Slices through the lungs</h2>"
        f'<p class="legend">{legend}<span>Patient’s right on the left; lung window, level '
        f"{signed_text(LUNG_WINDOW_LEVEL_HU)} HU, width {LUNG_WINDOW_WIDTH_HU} HU</span></p>"
        f'<div class="views">{"".join(figures)}</div>'
        f'<h2>Coronal view</h2><div class="views wide">{coronal}</div>'
    )


def _pair(plane: Plane, hu: np.ndarray, labels: np.ndarray, caption: str) -> str:
    """One plane plain and with labels."""
    return (
        '<figure><div class="pair">'
        + plane.svg("CT", plane.ct(hu))
        + plane.svg("CT with labels", plane.ct_again() + plane.overlay(encode_labels_png(labels)))
        + f"</div><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _histogram(quantification: Quantification) -> str:
    """Lung voxels by HU, stacked by label, as an SVG chart."""
    counts = bin_counts(
        label_histograms(quantification.ct.hu, quantification.labels, quantification.lungs)
    )
    total = counts.sum()
    if total == 0:
        return ""
    lowest, highest = LOWEST_BIN_HU, HIGHEST_BIN_HU
    shares_percent = 100.0 * counts / total
    normal_percent = 100.0 * shipped_reference().shares
    highest_shown = max(shares_percent.sum(axis=0).max(), normal_percent.max())
    left, top, width, height = 52.0, 14.0, 915.0, 220.0
    step_percent = axis_step(highest_shown)
    highest_percent = step_percent * math.ceil(highest_shown / step_percent)
    bar_width = width / shares_percent.shape[1]
    parts = []
    for tick in np.arange(0, highest_percent + step_percent / 2, step_percent):
        y = top + height * (1 - tick / highest_percent)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dde3e7"/>'
        )
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g} %</text>')
    bottom = np.zeros(shares_percent.shape[1])
    for label in LABELS:
        for index, value in enumerate(shares_percent[label.value]):
            bar_height = height * value / highest_percent
            if bar_height >= 0.05:
                y = top + height * (1 - bottom[index] / highest_percent) - bar_height
                parts.append(
                    f'<rect x="{left + index * bar_width:.2f}" y="{y:.2f}" '
                    f'width="{bar_width - 0.6:.2f}" height="{bar_height:.2f}" '
                    f'fill="{css_color(label.color)}"/>'
                )
        bottom += shares_percent[label.value]
    edges = "".join(
        f"{left + x * bar_width:.2f},{top + height * (1 - value / highest_percent):.2f} "
        for index, value in enumerate(normal_percent)
        for x in (index, index + 1)
    )
    parts.append(
        f'<polyline points="{edges.strip()}" fill="none" stroke="#1d2730" stroke-width="1.3"/>'
    )
    for hu in range(lowest, highest + 1, 200):
        unit = " HU" if hu == highest else ""
        x = left + width * (hu - lowest) / (highest - lowest)
        parts.append(
            f'<text x="{x:.1f}" y="{top + height + 20}" text-anchor="middle">'
            f"{signed_text(hu)}{unit}</text>"
        )
    return (
        '<figure style="margin-top:18px"><svg class="chart" viewBox="0 0 1000 262" '
        'font-size="13" fill="#3e4a54" role="img" aria-label="HU histogram of the lungs">'
        + "".join(parts)
        + "</svg><figcaption>Distribution of Hounsfield units in both lungs: per cent of the lung "
        f"volume in steps of {BIN_WIDTH_HU} HU, stacked: "
        + ", ".join(f"{swatch(label)}{label.name}" for label in LABELS)
        + ". The first and the last bar also hold what lies below and above. The line is the "
        "distribution of normal lungs.</figcaption></figure>"
    )


def _provenance_table(quantification: Quantification) -> str:
    geometry = quantification.ct.geometry
    size = " × ".join(str(length) for length in reversed(geometry.shape))
    spacing = " × ".join(f"{value:.4g}" for value in geometry.spacing_mm)
    rows = [("Scan", f"{quantification.ct.name}: {size} voxels of {spacing} mm")]
    provenance = quantification.provenance
    if provenance is not None and provenance.model_name is None:
        rows.append(("Segmentation", "given by the user; only measured here"))
    if provenance is not None and provenance.model_name is not None:
        rows.append(("Model", provenance.model_name))
        rows.append(("Model SHA-256", provenance.model_sha256 or "–"))
        kinds = KIND_CHOICES.get(provenance.options.get("kinds") or "", "–")
        rows.append(("GGO and high opacity", f"told apart {kinds}"))
        rows.append(("Device", provenance.device or "–"))
        if provenance.changed_voxels:
            rows.append(("Corrected by hand", f"{provenance.changed_voxels} voxels changed"))
    if provenance is not None and quantification.lobes is not None:
        rows.append(("Lobes", _lobes_text(provenance)))
    if provenance is not None:
        seconds = ", ".join(f"{name} {value:.1f} s" for name, value in provenance.timings_s.items())
        rows.append(("Time", seconds))
    versions = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    rows.append(("Versions", versions))
    cells = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows)
    return f'<table class="provenance">{cells}</table>'


def _lobes_text(provenance: Provenance) -> str:
    if provenance.lobe_model_name is None:
        return "given by the user, cut to the lungs and filled up"
    return (
        f"by the shape of the lungs and visible fissures; model {provenance.lobe_model_name}, "
        f"SHA-256 {provenance.lobe_model_sha256}"
    )


def _height_mm(geometry: Geometry, z: int) -> str:
    """Where the middle of an upright axial slice lies between feet and head."""
    _, rows, columns = geometry.shape
    middle = geometry.ijk_to_lps @ [(columns - 1) / 2, (rows - 1) / 2, z, 1.0]
    return f"{'S' if middle[2] >= 0 else 'I'} {abs(middle[2]):.1f} mm"
