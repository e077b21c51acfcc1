"""The report's charts as SVG: distribution of HU, lesion by lobe, scale of densities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from CovidLungQuantLib.display.colors import AXIS_INK, INK, QUIET_INK, RULE, css_color
from CovidLungQuantLib.display.density import DENSITY_RANGE_HU, DENSITY_STEPS, density_colors
from CovidLungQuantLib.display.numbers import decimal_text, percent_text
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LABELS, LOBES
from CovidLungQuantLib.measures.distribution import HIGHEST_BIN_HU, LOWEST_BIN_HU
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.pages.drawings import Svg

_TEXT = f'font-size="13" fill="{AXIS_INK}"'


@dataclass(frozen=True)
class _Frame:
    """Where the data of a chart lie in its drawing."""

    left: float
    top: float
    width: float
    height: float


# Histogram: steps of HU across, per cent upwards.
_HISTOGRAM = _Frame(52.0, 14.0, 915.0, 220.0)
HU_TICK = 200
# What is lower than this is not seen.
LOWEST_BAR = 0.05
# Lobes: one bar below the other, per cent across.
_BARS_LEFT, _BARS_TOP, _BARS_WIDTH, _BAR, _BAR_STEP = 44.0, 6.0, 350.0, 22.0, 34.0


def hu_histogram(counts: np.ndarray, normal_shares: np.ndarray) -> Svg:
    """Draw lung voxels by HU, stacked by label, with the distribution of normal lungs.

    Args:
        counts: voxels by (label value, bin) of `measures.distribution`, at least one.
        normal_shares: of normal lungs, one a bin.
    """
    shares_percent = 100.0 * counts / counts.sum()
    normal_percent = 100.0 * normal_shares
    step_percent, highest_percent = _axis(
        max(shares_percent.sum(axis=0).max(), normal_percent.max())
    )
    parts = [
        _percent_lines(step_percent, highest_percent),
        _stacked_bars(shares_percent, highest_percent),
        _outline(normal_percent, highest_percent),
        _hu_ticks(),
    ]
    return Svg(
        f'<svg class="chart" viewBox="0 0 1000 262" {_TEXT} role="img" '
        f'aria-label="HU histogram of the lungs">{"".join(parts)}</svg>'
    )


def lobe_chart(rows: Sequence[RegionMeasurement], edges_percent: Sequence[float]) -> Svg:
    """Draw GGO and high opacity of each lobe, stacked, in per cent of the lobe.

    Args:
        rows: of the table, in the order of `labels.LOBES`.
        edges_percent: where to draw dashed lines.
    """
    known = [row.lesion_percent for row in rows if not math.isnan(row.lesion_percent)]
    step_percent, highest = _axis(max([*known, 1.0]))
    highest = min(highest, 100.0)
    bottom = _BARS_TOP + _BAR_STEP * len(rows)
    parts = [_lobe_grid(step_percent, highest, bottom, edges_percent)]
    for index, (lobe, row) in enumerate(zip(LOBES, rows, strict=True)):
        parts.append(_lobe_bar(index, lobe.short_name, row, highest))
    return Svg(
        f'<svg class="chart" viewBox="0 0 460 {bottom + 22:.0f}" {_TEXT} role="img" '
        f'aria-label="Lesion by lobe">{"".join(parts)}</svg>'
    )


def density_scale() -> Svg:
    """Draw the colours of densities with their HU."""
    lowest, highest = DENSITY_RANGE_HU
    left, width = 30.0, 500.0
    bars = "".join(
        f'<rect x="{left + index * width / DENSITY_STEPS:.2f}" y="4" '
        f'width="{width / DENSITY_STEPS + 0.3:.2f}" height="12" fill="{css_color(color[:3])}"/>'
        for index, color in enumerate(density_colors())
    )
    ticks = "".join(
        f'<text x="{left + width * (hu - lowest) / (highest - lowest):.1f}" y="32" '
        f'text-anchor="middle">{decimal_text(hu)}{" HU" if hu == highest else ""}</text>'
        for hu in range(lowest, highest + 1, 300)
    )
    return Svg(f'<svg viewBox="0 0 1000 38" class="chart" {_TEXT}>{bars}{ticks}</svg>')


def _axis(highest_shown: float) -> tuple[float, float]:
    """A round step that parts 0…`highest_shown` into about four, and the axis' end."""
    rough = highest_shown / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return step, step * math.ceil(highest_shown / step)


def _percent_lines(step_percent: float, highest_percent: float) -> str:
    frame = _HISTOGRAM
    lines = []
    for tick in np.arange(0, highest_percent + step_percent / 2, step_percent):
        y = frame.top + frame.height * (1 - tick / highest_percent)
        lines.append(
            f'<line x1="{frame.left}" x2="{frame.left + frame.width}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{RULE}"/>'
            f'<text x="{frame.left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g} %</text>'
        )
    return "".join(lines)


def _stacked_bars(shares_percent: np.ndarray, highest_percent: float) -> str:
    frame = _HISTOGRAM
    bar_width = frame.width / shares_percent.shape[1]
    bottom = np.zeros(shares_percent.shape[1])
    bars = []
    for label in LABELS:
        for index, value in enumerate(shares_percent[label.value]):
            height = frame.height * value / highest_percent
            if height >= LOWEST_BAR:
                y = frame.top + frame.height * (1 - bottom[index] / highest_percent) - height
                bars.append(
                    f'<rect x="{frame.left + index * bar_width:.2f}" y="{y:.2f}" '
                    f'width="{bar_width - 0.6:.2f}" height="{height:.2f}" '
                    f'fill="{css_color(label.color)}"/>'
                )
        bottom += shares_percent[label.value]
    return "".join(bars)


def _outline(percent: np.ndarray, highest_percent: float) -> str:
    frame = _HISTOGRAM
    bar_width = frame.width / len(percent)
    points = " ".join(
        f"{frame.left + x * bar_width:.2f},"
        f"{frame.top + frame.height * (1 - value / highest_percent):.2f}"
        for index, value in enumerate(percent)
        for x in (index, index + 1)
    )
    return f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="1.3"/>'


def _hu_ticks() -> str:
    frame = _HISTOGRAM
    ticks = []
    for hu in range(LOWEST_BIN_HU, HIGHEST_BIN_HU + 1, HU_TICK):
        unit = " HU" if hu == HIGHEST_BIN_HU else ""
        x = frame.left + frame.width * (hu - LOWEST_BIN_HU) / (HIGHEST_BIN_HU - LOWEST_BIN_HU)
        ticks.append(
            f'<text x="{x:.1f}" y="{frame.top + frame.height + 20}" text-anchor="middle">'
            f"{decimal_text(hu)}{unit}</text>"
        )
    return "".join(ticks)


def _lobe_grid(
    step_percent: float, highest: float, bottom: float, edges_percent: Sequence[float]
) -> str:
    lines = []
    for tick in np.arange(0, highest + step_percent / 2, step_percent):
        x = _BARS_LEFT + _BARS_WIDTH * tick / highest
        lines.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_BARS_TOP}" y2="{bottom}" stroke="{RULE}"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g} %</text>'
        )
    for edge in edges_percent:
        if edge < highest:
            x = _BARS_LEFT + _BARS_WIDTH * edge / highest
            lines.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_BARS_TOP}" y2="{bottom}" '
                f'stroke="{QUIET_INK}" stroke-dasharray="3 3"/>'
            )
    return "".join(lines)


def _lobe_bar(index: int, name: str, row: RegionMeasurement, highest: float) -> str:
    y = _BARS_TOP + _BAR_STEP * index + (_BAR_STEP - _BAR) / 2
    middle = y + _BAR / 2 + 5
    x = _BARS_LEFT
    parts = []
    for label, value in ((GGO, row.ggo_percent), (HIGH_OPACITY, row.high_opacity_percent)):
        length = 0.0 if math.isnan(value) else _BARS_WIDTH * value / highest
        parts.append(
            f'<rect x="{x:.2f}" y="{y:.1f}" width="{length:.2f}" height="{_BAR}" '
            f'fill="{css_color(label.color)}"/>'
        )
        x += length
    parts.append(
        f'<text x="{_BARS_LEFT - 8}" y="{middle:.1f}" text-anchor="end">{name}</text>'
        # On a rim of paper, for the dashed edges run behind it.
        f'<text x="{x + 6:.1f}" y="{middle:.1f}" stroke="#fff" stroke-width="5" '
        f'paint-order="stroke">{escape(percent_text(row.lesion_percent))} %</text>'
    )
    return "".join(parts)
