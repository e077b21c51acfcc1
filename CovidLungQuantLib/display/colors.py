"""Colours of scores, and how pages write a colour; labels have theirs in `labels.py`."""

from __future__ import annotations

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
UNKNOWN_SCORE_COLOR: Color = (0.35, 0.38, 0.42)

# Text, lines and what stands back, as in the pages' stylesheet.
INK = "#1d2730"
QUIET_INK = "#5a6772"
AXIS_INK = "#3e4a54"
RULE = "#dde3e7"


def score_color(score: int | None, colors: tuple[Color, ...]) -> Color:
    """Return the colour of a score among those of all scores from 0 on; None is unknown."""
    return UNKNOWN_SCORE_COLOR if score is None else colors[score]


def css_color(color: tuple[float, ...]) -> str:
    """Return an RGB colour of 0…1 as CSS writes it."""
    return "#" + "".join(f"{round(255 * component):02x}" for component in color)
