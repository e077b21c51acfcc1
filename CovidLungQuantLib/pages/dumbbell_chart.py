"""Before and after as a chart: two dots a row, joined by a line that shows which way it went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from CovidLungQuantLib.display.colors import AXIS_INK, INK, QUIET_INK, RULE
from CovidLungQuantLib.display.numbers import decimal_text
from CovidLungQuantLib.pages.drawings import Svg

# Told apart by their lightness, too.
BETTER, WORSE = "#1f7a4d", "#d9822b"
_LEFT, _TOP, _WIDTH, _STEP, _DOT = 190.0, 14.0, 620.0, 26.0, 6.0


@dataclass(frozen=True)
class Dumbbell:
    """One row: a figure before and after, 0…1, more being better; NaN where undefined."""

    name: str
    before: float
    after: float


def dumbbell_chart(rows: Sequence[Dumbbell], description: str) -> Svg:
    """Draw rows one below the other: a ring before, a dot after, on an axis from 0 to 1."""
    bottom = _TOP + _STEP * len(rows)
    parts = [_grid(bottom)]
    parts += [_row(row, _TOP + _STEP * (index + 0.5)) for index, row in enumerate(rows)]
    return Svg(
        f'<svg class="chart" viewBox="0 0 1000 {bottom + 26:.0f}" font-size="13" '
        f'fill="{AXIS_INK}" role="img" aria-label="{escape(description)}">{"".join(parts)}</svg>'
    )


def _x(value: float) -> float:
    return _LEFT + _WIDTH * min(max(value, 0.0), 1.0)


def _grid(bottom: float) -> str:
    return "".join(
        f'<line x1="{_x(tick):.1f}" x2="{_x(tick):.1f}" y1="{_TOP}" y2="{bottom:.1f}" '
        f'stroke="{RULE}"/><text x="{_x(tick):.1f}" y="{bottom + 18:.1f}" text-anchor="middle">'
        f"{tick:.1f}</text>"
        for tick in np.arange(0.0, 1.01, 0.2)
    )


def _row(row: Dumbbell, y: float) -> str:
    name = f'<text x="{_LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>'
    texts = f"{decimal_text(row.before, 3)} → {decimal_text(row.after, 3)}"
    text = f'<text x="{_LEFT + _WIDTH + 18}" y="{y + 4:.1f}" fill="{INK}">{texts}</text>'
    if math.isnan(row.before) or math.isnan(row.after):
        return name + text
    color = BETTER if row.after > row.before else WORSE if row.after < row.before else QUIET_INK
    return (
        f'{name}<line x1="{_x(row.before):.1f}" x2="{_x(row.after):.1f}" y1="{y:.1f}" '
        f'y2="{y:.1f}" stroke="{color}" stroke-width="4"/>'
        f'<circle cx="{_x(row.before):.1f}" cy="{y:.1f}" r="{_DOT}" fill="#fff" '
        f'stroke="{color}" stroke-width="2"/>'
        f'<circle cx="{_x(row.after):.1f}" cy="{y:.1f}" r="{_DOT}" fill="{color}"/>{text}'
    )
