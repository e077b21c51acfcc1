"""Scatter and Bland–Altman plots as SVG; needs matplotlib, which is an optional extra."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.agreement import PairedAgreement
from CovidLungQuantLib.display.colors import INK, QUIET_INK
from CovidLungQuantLib.display.numbers import decimal_text, true_minus
from CovidLungQuantLib.errors import BadInputError

DOT = "#2a6fd6"
FIGURE_INCHES = (9.0, 3.7)
# The salt, and leaving the date out when saving, make the same input give the same file.
DRAWING_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "covidlungquant",
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": QUIET_INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def check_figures_possible() -> None:
    """Refuse to begin where matplotlib is missing.

    Raises:
        BadInputError: with what to do.
    """
    if find_spec("matplotlib") is None:
        raise BadInputError(
            "The figures need matplotlib; install it with “pip install covidlungquant[study]” or "
            "add --no-figures."
        )


def agreement_figure(
    title: str,
    unit: str,
    names: tuple[str, str],
    values: Sequence[float],
    reference: Sequence[float],
    agreement: PairedAgreement,
) -> str:
    """Scatter with the line of identity beside the Bland–Altman plot, as SVG text.

    Args:
        title: above both.
        unit: of the values.
        names: of who gave `values` and `reference`.
        values: one a case; pairs with NaN are left out.
        reference: likewise.
        agreement: of the same series.
    """
    first, second = np.asarray(values, float), np.asarray(reference, float)
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]

    def draw(figure: Any) -> None:
        scatter, bland_altman = figure.subplots(1, 2)
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        _draw_scatter(scatter, unit, names, first, second, agreement)
        _draw_bland_altman(bland_altman, unit, names, first, second, agreement)

    return drawn_svg(FIGURE_INCHES, draw)


def drawn_svg(size_inches: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """SVG text of what `draw` puts into a matplotlib figure; the same input gives the same text."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(DRAWING_STYLE):
        figure = Figure(figsize=size_inches, layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _draw_scatter(
    axes: Any,
    unit: str,
    names: tuple[str, str],
    first: np.ndarray,
    second: np.ndarray,
    agreement: PairedAgreement,
) -> None:
    highest = float(max(first.max(initial=0.0), second.max(initial=0.0))) or 1.0
    lowest = float(min(first.min(initial=0.0), second.min(initial=0.0)))
    margin = 0.05 * (highest - lowest)
    limits = (lowest - margin if lowest < 0 else -margin, highest + margin)
    axes.plot(limits, limits, color=QUIET_INK, linewidth=1)
    axes.scatter(second, first, s=26, color=DOT, alpha=0.75, linewidths=0)
    axes.set(
        xlim=limits,
        ylim=limits,
        aspect="equal",
        xlabel=f"{names[1]} ({unit})" if unit else names[1],
        ylabel=f"{names[0]} ({unit})" if unit else names[0],
    )
    axes.set_title(
        f"n = {agreement.n}, r = {decimal_text(agreement.pearson, 3)}, "
        f"ρ = {decimal_text(agreement.spearman, 3)}",
        fontsize=9,
        color=QUIET_INK,
    )


def _draw_bland_altman(
    axes: Any,
    unit: str,
    names: tuple[str, str],
    first: np.ndarray,
    second: np.ndarray,
    agreement: PairedAgreement,
) -> None:
    axes.axhline(0.0, color="#c9d1d6", linewidth=0.8)
    axes.scatter((first + second) / 2, first - second, s=26, color=DOT, alpha=0.75, linewidths=0)
    for height, style, text in (
        (agreement.upper_limit, "--", "+1.96 SD"),
        (agreement.bias, "-", "bias"),
        (agreement.lower_limit, "--", "−1.96 SD"),
    ):
        if np.isnan(height):
            continue
        axes.axhline(height, color=INK, linewidth=1, linestyle=style)
        axes.annotate(
            true_minus(f"{text} {height:.3g}"),
            xy=(1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=QUIET_INK,
            annotation_clip=False,
        )
    axes.margins(y=0.15)
    in_unit = f" ({unit})" if unit else ""
    axes.set(
        xlabel=f"mean of both{in_unit}",
        ylabel=f"{names[0]} − {names[1]}{in_unit}",
    )
    axes.set_title("Bland–Altman", fontsize=9, color=QUIET_INK)
