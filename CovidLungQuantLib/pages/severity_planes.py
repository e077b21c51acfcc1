"""Coronal planes with each lobe, or each of the 20 regions, in the colour of its score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.display.colors import (
    CT_SCORE_COLORS,
    REGION_SCORE_COLORS,
    UNKNOWN_SCORE_COLOR,
    Color,
)
from CovidLungQuantLib.display.numbers import score_text
from CovidLungQuantLib.display.pictures import encode_palette_png
from CovidLungQuantLib.display.upright import UprightScan
from CovidLungQuantLib.labels import LOBES, LUNG_SEGMENTS
from CovidLungQuantLib.measures.severity import Severity
from CovidLungQuantLib.pages.drawings import Plane, Svg

SCORE_OPACITY = 0.62
BORDER_COLOR = (0.06, 0.09, 0.11, 0.95)
# Where the three coronal planes lie between the front and the back of the lungs.
PLANES_OF_LUNG = ((0.25, "front"), (0.5, "middle"), (0.75, "back"))
SMALLEST_NAMED_CM2 = 6.0
BORDER_MM = 2.0


@dataclass(frozen=True)
class _ScoredMap:
    """A map of regions (z, y, x) with the score and the text of each of its values."""

    regions: np.ndarray
    scores: Mapping[int, int | None]
    texts: Mapping[int, str]
    colors: tuple[Color, ...]


def planes_by_ct_score(severity: Severity, scan: UprightScan, lobes: np.ndarray) -> list[Svg]:
    """Return three coronal planes with lobes by CT score; they hold the CT of the planes.

    Args:
        severity: the scores.
        scan: what to draw.
        lobes: lobe map, upright (z, y, x).
    """
    scores = {lobe.value: row.ct_score for lobe, row in zip(LOBES, severity.lobes, strict=True)}
    texts = {lobe.value: f"{lobe.short_name} {score_text(scores[lobe.value])}" for lobe in LOBES}
    return _planes(
        scan,
        _ScoredMap(lobes, scores, texts, CT_SCORE_COLORS),
        lambda plane, y: plane.ct(scan.coronal(scan.hu, y)),
    )


def planes_by_region_score(
    severity: Severity, scan: UprightScan, segments: np.ndarray
) -> list[Svg]:
    """Return the planes of `planes_by_ct_score` with regions by their points, numbered.

    Args:
        severity: the scores.
        scan: what to draw.
        segments: map of the 20 regions, upright (z, y, x).
    """
    scores = {
        segment.value: row.ct_severity_score
        for segment, row in zip(LUNG_SEGMENTS, severity.regions, strict=True)
    }
    texts = {segment.value: str(segment.value) for segment in LUNG_SEGMENTS}
    # The CT is stored once; these refer to it.
    return _planes(
        scan,
        _ScoredMap(segments, scores, texts, REGION_SCORE_COLORS),
        lambda plane, y: plane.ct_again(),
    )


def _planes(
    scan: UprightScan, scored: _ScoredMap, ct_picture: Callable[[Plane, int], str]
) -> list[Svg]:
    drawings = []
    for y in _coronal_planes(scan):
        plane = Plane.coronal(scan, y, "severity")
        content = ct_picture(plane, y) + _overlay(scan, scored, plane, y)
        drawings.append(plane.svg(f"Coronal plane {y + 1}", content))
    return drawings


def _coronal_planes(scan: UprightScan) -> list[int]:
    """Indices y of the planes that have the stated parts of the lung in front of them."""
    lung = np.cumsum(np.count_nonzero(scan.labels, axis=(0, 2)))
    return [int(np.searchsorted(lung, part * lung[-1])) for part, _ in PLANES_OF_LUNG]


def _overlay(scan: UprightScan, scored: _ScoredMap, plane: Plane, y: int) -> str:
    """Each region in the colour of its score, with borders and texts."""
    x_mm, z_mm = scan.coronal_pixel_mm
    shown = np.where(scan.coronal(scan.labels, y) > 0, scan.coronal(scored.regions, y), 0)
    picture = _color_index(scored)[shown]
    picture[_borders(shown, (z_mm, x_mm))] = len(scored.colors) + 2
    colors = (*scored.colors, UNKNOWN_SCORE_COLOR)
    palette = [*((*color, SCORE_OPACITY) for color in colors), BORDER_COLOR]
    named = (
        plane.text(*_middle(shown == value), text)
        for value, text in scored.texts.items()
        if np.count_nonzero(shown == value) * x_mm * z_mm >= 100 * SMALLEST_NAMED_CM2
    )
    return plane.picture(encode_palette_png(picture, palette)) + "".join(named)


def _color_index(scored: _ScoredMap) -> np.ndarray:
    """Which colour of the palette each value of the map has, counted from 1."""
    index = np.zeros(max(scored.scores) + 1, np.uint8)
    for value, score in scored.scores.items():
        index[value] = len(scored.colors) + 1 if score is None else score + 1
    return index


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
