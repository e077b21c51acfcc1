"""The report's section on severity: scores, lobes, the 20 regions, and where they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from CovidLungQuantLib.display.pictures import encode_palette_png
from CovidLungQuantLib.labels import APPROXIMATION, GGO, HIGH_OPACITY, LOBES, LUNG_SEGMENTS
from CovidLungQuantLib.measures.measurements import Measurements
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
    SEVERE_CT_SEVERITY_SCORE,
    Severity,
    severity_notes,
)
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.outputs.page import (
    UprightScan,
    axis_step,
    color_swatch,
    css_color,
    html_notes,
    html_table,
    percent_text,
    swatch,
    volume_text,
)

Color = tuple[float, float, float]

# Lobe CT score 0…5, light to dark so that the order shows without colour vision.
CT_SCORE_COLORS: tuple[Color, ...] = (
    (0.80, 0.84, 0.86),
    (1.00, 0.93, 0.63),
    (1.00, 0.76, 0.35),
    (0.96, 0.51, 0.22),
    (0.80, 0.22, 0.16),
    (0.47, 0.04, 0.18),
)
# Points of a region in the CT-SS, 0…2.
REGION_SCORE_COLORS: tuple[Color, ...] = (
    CT_SCORE_COLORS[0],
    CT_SCORE_COLORS[2],
    CT_SCORE_COLORS[4],
)
UNKNOWN_COLOR: Color = (0.35, 0.38, 0.42)
SCORE_OPACITY = 0.62
BORDER_COLOR = (0.06, 0.09, 0.11, 0.95)
# Where the three coronal planes lie between the front and the back of the lungs.
PLANES_OF_LUNG = ((0.25, "front"), (0.5, "middle"), (0.75, "back"))
SMALLEST_NAMED_CM2 = 6.0
BORDER_MM = 2.0
# Edges of the lobe CT score's bins, drawn in the chart of lobes.
CT_SCORE_EDGES_PERCENT = (5, 25, 50, 75)


def severity_section(measurements: Measurements, scan: UprightScan) -> str:
    """Return the section; empty where there are no scores."""
    severity = measurements.severity
    if severity is None or scan.lobes is None or scan.segments is None:
        return ""
    return "\n".join(
        [
            "<h2>Severity</h2>",
            _scores(severity),
            '<div class="columns" style="margin-top:18px">',
            _lobe_table(severity, measurements.lobes),
            _lobe_chart(measurements.lobes),
            "</div>",
            _pictures(severity, scan),
            f"<h3>The 20 regions of the CT-SS ({APPROXIMATION})</h3>",
            _region_tables(severity, measurements.segments),
            html_notes(severity_notes(severity.minimum_lesion_ml)),
        ]
    )


def _scores(severity: Severity) -> str:
    unknown = "unknown: a lobe or region is missing"
    severe = (
        f"severe: above {SEVERE_CT_SEVERITY_SCORE}"
        if severity.is_severe
        else f"not above the mark of {SEVERE_CT_SEVERITY_SCORE}"
    )
    tiles = [
        ("Lobe CT score", severity.ct_score, HIGHEST_CT_SCORE, "five lobes of 0–5"),
        ("Involved lobes", severity.involved_lobes, len(LOBES), "with more than stray lesion"),
        (
            f"CT-SS ({APPROXIMATION})",
            severity.ct_severity_score,
            HIGHEST_CT_SEVERITY_SCORE,
            severe,
        ),
        (
            "Total severity score",
            severity.total_severity_score,
            HIGHEST_TOTAL_SEVERITY_SCORE,
            "five lobes of 0–4",
        ),
    ]
    return (
        '<div class="key scores">'
        + "".join(
            f'<div style="--accent:#8a97a3"><span class="name">{name}</span><br>'
            f'<span class="number">{_score_text(score)} <small>of {highest}</small></span><br>'
            f'<span class="detail">{unknown if score is None else detail}</span></div>'
            for name, score, highest, detail in tiles
        )
        + "</div>"
    )


def _lobe_table(severity: Severity, rows: tuple[RegionMeasurement, ...]) -> str:
    headings = [
        "Lobe",
        "Lesion <span>mL</span>",
        "Lesion <span>%</span>",
        "CT score <span>0–5</span>",
        "Total severity <span>0–4</span>",
    ]
    cells = [
        [
            f"{_ct_score_swatch(lobe.ct_score)}{row.region.capitalize()}",
            volume_text(row.lesion_ml),
            percent_text(row.lesion_percent),
            _score_text(lobe.ct_score),
            _score_text(lobe.total_severity_score),
        ]
        for row, lobe in zip(rows, severity.lobes, strict=True)
    ]
    sums = ["Sum", "", "", _score_text(severity.ct_score)]
    return html_table(headings, [*cells, [*sums, _score_text(severity.total_severity_score)]])


def _lobe_chart(rows: tuple[RegionMeasurement, ...]) -> str:
    """GGO and high opacity of each lobe, stacked, in per cent of the lobe, as an SVG chart."""
    left, top, width, bar, step = 44.0, 6.0, 350.0, 22.0, 34.0
    known = [row.lesion_percent for row in rows if not math.isnan(row.lesion_percent)]
    tick_percent = axis_step(max([*known, 1.0]))
    highest = min(tick_percent * math.ceil(max([*known, 1.0]) / tick_percent), 100.0)
    bottom = top + step * len(rows)
    parts = []
    for tick in np.arange(0, highest + tick_percent / 2, tick_percent):
        x = left + width * tick / highest
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#dde3e7"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g} %</text>'
        )
    for edge in CT_SCORE_EDGES_PERCENT:
        if edge < highest:
            x = left + width * edge / highest
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#5a6772" '
                'stroke-dasharray="3 3"/>'
            )
    for index, (lobe, row) in enumerate(zip(LOBES, rows, strict=True)):
        y = top + step * index + (step - bar) / 2
        x = left
        for label, value in ((GGO, row.ggo_percent), (HIGH_OPACITY, row.high_opacity_percent)):
            length = 0.0 if math.isnan(value) else width * value / highest
            parts.append(
                f'<rect x="{x:.2f}" y="{y:.1f}" width="{length:.2f}" height="{bar}" '
                f'fill="{css_color(label.color)}"/>'
            )
            x += length
        parts.append(
            f'<text x="{left - 8}" y="{y + bar / 2 + 5:.1f}" text-anchor="end">'
            f"{lobe.short_name}</text>"
            # On a rim of paper, for the dashed edges run behind it.
            f'<text x="{x + 6:.1f}" y="{y + bar / 2 + 5:.1f}" stroke="#fff" stroke-width="5" '
            'paint-order="stroke">'
            f"{percent_text(row.lesion_percent)} %</text>"
        )
    return (
        f'<figure><svg class="chart" viewBox="0 0 460 {bottom + 22:.0f}" font-size="13" '
        'fill="#3e4a54" role="img" aria-label="Lesion by lobe">'
        + "".join(parts)
        + f"</svg><figcaption>Lesion in per cent of each lobe: {swatch(GGO)}{GGO.name} and "
        f"{swatch(HIGH_OPACITY)}{HIGH_OPACITY.name.lower()}, stacked. Dashed: edges of the CT "
        "score’s bins.</figcaption></figure>"
    )


def _pictures(severity: Severity, scan: UprightScan) -> str:
    """Three coronal planes with lobes by CT score, and again with regions by their points."""
    lobe_scores = {
        lobe.value: scored.ct_score for lobe, scored in zip(LOBES, severity.lobes, strict=True)
    }
    region_scores = {
        segment.value: scored.ct_severity_score
        for segment, scored in zip(LUNG_SEGMENTS, severity.regions, strict=True)
    }
    lobe_texts = {
        lobe.value: f"{lobe.short_name} {_score_text(lobe_scores[lobe.value])}" for lobe in LOBES
    }
    region_texts = {segment.value: str(segment.value) for segment in LUNG_SEGMENTS}
    planes = _coronal_planes(scan)
    where = ", ".join(name for _, name in PLANES_OF_LUNG)
    ct_pictures = {
        y: scan.coronal_plane(y, "severity").ct(scan.coronal(scan.hu, y)) for y in planes
    }
    lobes = _row_of_planes(scan, scan.lobes, ct_pictures, lobe_scores, CT_SCORE_COLORS, lobe_texts)
    # The CT is stored once; the second row refers to it.
    same_pictures = {y: scan.coronal_plane(y, "severity").ct_again() for y in planes}
    regions = _row_of_planes(
        scan, scan.segments, same_pictures, region_scores, REGION_SCORE_COLORS, region_texts
    )
    return (
        '<div class="figures">'
        f"<figure>{lobes}<figcaption>Lobes by CT score: {_legend(CT_SCORE_COLORS)}. Coronal "
        f"planes in the {where} of the lungs; patient’s right on the left.</figcaption></figure>"
        f"<figure>{regions}<figcaption>The 20 regions ({APPROXIMATION}) by their points in the "
        f"CT-SS: {_legend(REGION_SCORE_COLORS)}. Numbers as in the table below.</figcaption>"
        "</figure></div>"
    )


def _coronal_planes(scan: UprightScan) -> list[int]:
    """Indices y of the planes that have the stated parts of the lung in front of them."""
    lung = np.cumsum(np.count_nonzero(scan.labels, axis=(0, 2)))
    return [int(np.searchsorted(lung, part * lung[-1])) for part, _ in PLANES_OF_LUNG]


def _row_of_planes(
    scan: UprightScan,
    regions: np.ndarray,
    ct_pictures: Mapping[int, str],
    scores: Mapping[int, int | None],
    colors: tuple[Color, ...],
    texts: Mapping[int, str],
) -> str:
    """The planes side by side, each region in the colour of its score, with borders and texts."""
    color_index = np.zeros(max(scores) + 1, np.uint8)
    for value, score in scores.items():
        color_index[value] = len(colors) + 1 if score is None else score + 1
    border_index = len(colors) + 2
    palette = [*((*color, SCORE_OPACITY) for color in (*colors, UNKNOWN_COLOR)), BORDER_COLOR]
    drawings = []
    for y, ct_picture in ct_pictures.items():
        place = scan.coronal_plane(y, "severity")
        x_mm, _, z_mm = scan.geometry.spacing_mm
        shown = np.where(scan.coronal(scan.labels, y) > 0, scan.coronal(regions, y), 0)
        picture = color_index[shown]
        picture[_borders(shown, (z_mm, x_mm))] = border_index
        drawings.append(
            place.svg(
                f"Coronal plane {y + 1}",
                ct_picture
                + place.smooth_overlay(encode_palette_png(picture, palette))
                + "".join(
                    place.text(*_middle(shown == value), text)
                    for value, text in texts.items()
                    if np.count_nonzero(shown == value) * x_mm * z_mm >= 100 * SMALLEST_NAMED_CM2
                ),
            )
        )
    return f'<div class="three">{"".join(drawings)}</div>'


def _borders(regions: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Pixels at the border of two regions, about `BORDER_MM` wide; spacing of (row, column)."""
    border = np.zeros(regions.shape, bool)
    for axis, step_mm in enumerate(spacing_mm):
        turned, drawn = np.moveaxis(regions, axis, 0), np.moveaxis(border, axis, 0)
        differs = (turned[:-1] != turned[1:]) & (turned[:-1] > 0) & (turned[1:] > 0)
        for shift in range(max(1, round(BORDER_MM / step_mm))):
            drawn[shift : len(differs) + shift] |= differs[: len(drawn) - shift]
    return border & (regions > 0)


def _middle(mask: np.ndarray) -> tuple[float, float]:
    """Middle of the True pixels as parts of height and width."""
    rows, columns = np.nonzero(mask)
    return (rows.mean() + 0.5) / mask.shape[0], (columns.mean() + 0.5) / mask.shape[1]


def _region_tables(severity: Severity, rows: tuple[RegionMeasurement, ...]) -> str:
    """The regions of the right lung and, beside them, those of the left one."""
    headings = ["", "Region", "Lesion <span>mL</span>", "Lesion <span>%</span>", "Points"]
    sides: dict[int, list[list[str]]] = {}
    for segment, row, scored in zip(LUNG_SEGMENTS, rows, severity.regions, strict=True):
        sides.setdefault(segment.lobe.lung_value, []).append(
            [
                str(segment.value),
                f"{_region_swatch(scored.ct_severity_score)}{segment.short_name}",
                volume_text(row.lesion_ml),
                percent_text(row.lesion_percent),
                _score_text(scored.ct_severity_score),
            ]
        )
    tables = "".join(html_table(headings, cells) for cells in sides.values())
    return f'<div class="columns regions">{tables}</div>'


def _legend(colors: tuple[Color, ...]) -> str:
    return " ".join(f"{color_swatch(color)}{score}" for score, color in enumerate(colors))


def _ct_score_swatch(score: int | None) -> str:
    return color_swatch(UNKNOWN_COLOR if score is None else CT_SCORE_COLORS[score])


def _region_swatch(score: int | None) -> str:
    return color_swatch(UNKNOWN_COLOR if score is None else REGION_SCORE_COLORS[score])


def _score_text(score: int | None) -> str:
    return "–" if score is None else str(score)
