"""Curves over time as Pan et al. 2021 draw them, and each patient's scans, as SVG."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.cohort_texts import GROUP_COLORS, exponent_text, measure_title
from CovidLungQuantLib.cohort.figures import drawn_svg
from CovidLungQuantLib.cohort.published_cohorts import PAN, PAN_CURVES
from CovidLungQuantLib.cohort.time_curve import CubicFit, cubic
from CovidLungQuantLib.cohort.timecourse import Timecourse
from CovidLungQuantLib.display.colors import QUIET_INK
from CovidLungQuantLib.display.numbers import decimal_text

PANEL_INCHES = (4.6, 3.9)
PANELS_ACROSS = 2
PUBLISHED_UNTIL_DAY = 70.0
DAY_LABEL = "days from symptom onset"


def curves_figure(found: Timecourse, with_published: bool) -> str:
    """A panel a measure: scans as dots, curve and 95 % band of each group, its formula."""
    measures = found.options.measures
    colors = group_colors(found)

    def draw(figure: Any) -> None:
        for panel, measure in zip(_panels(figure, len(measures)), measures, strict=True):
            for group in found.groups:
                scans = found.scans[measure].of_group(group)
                fit = _fit(found, measure, group)
                color = colors[group]
                panel.scatter(scans.days, scans.values, s=9, color=color, alpha=0.45, linewidths=0)
                panel.fill_between(fit.days, *fit.band, color=color, alpha=0.18, linewidth=0)
                panel.plot(fit.days, fit.curve, color=color, linewidth=2, label=_legend(group, fit))
                if not math.isnan(fit.peak_day):
                    panel.plot(
                        fit.peak_day, fit.peak_height, "v", color=color, markeredgecolor="white"
                    )
            if with_published:
                _draw_published(panel, measure)
            _finish(panel, measure, found.scans[measure].values)
            panel.legend(frameon=False, fontsize=7, loc="upper right")

    return drawn_svg(_size(len(measures)), draw)


def patients_figure(found: Timecourse, measure: str) -> str:
    """A panel a group: each patient's scans joined by a line, the group's curve over them."""
    colors = group_colors(found)
    scans = found.scans[measure]

    def draw(figure: Any) -> None:
        for panel, group in zip(_panels(figure, len(found.groups)), found.groups, strict=True):
            of_group = scans.of_group(group)
            for patient in dict.fromkeys(of_group.patients):
                own = of_group.patients == patient
                order = np.argsort(of_group.days[own], kind="stable")
                panel.plot(
                    of_group.days[own][order],
                    of_group.values[own][order],
                    color=colors[group],
                    linewidth=0.8,
                    marker="o",
                    markersize=2,
                    alpha=0.5,
                )
            fit = _fit(found, measure, group)
            panel.plot(fit.days, fit.curve, color="black", linewidth=2)
            _finish(panel, measure, of_group.values)
            panel.set_title(
                f"{group}: {fit.patients} patients, {fit.scans} scans",
                loc="left",
                fontsize=10,
                fontweight="bold",
            )

    return drawn_svg(_size(len(found.groups)), draw)


def group_colors(found: Timecourse) -> dict[str, str]:
    """The colour of each group."""
    return dict(zip(found.groups, GROUP_COLORS, strict=False))


def _fit(found: Timecourse, measure: str, group: str) -> CubicFit:
    return next(
        item.cubic for item in found.curves if (item.measure, item.group) == (measure, group)
    )


def formula_text(coefficients: np.ndarray) -> str:
    """The curve such as “0.413·x − 0.0148·x² + 1.27·10⁻⁴·x³”."""
    text = f"{exponent_text(float(coefficients[0]))}·x"
    for value, power in zip(coefficients[1:], ("x²", "x³"), strict=True):
        text += f" {'−' if value < 0 else '+'} {exponent_text(abs(float(value)))}·{power}"
    return text


def _legend(group: str, fit: CubicFit) -> str:
    return f"{group}: {formula_text(fit.coefficients)}  (r² {decimal_text(fit.r2, 3)})"


def _draw_published(panel: Any, measure: str) -> None:
    last = min(PUBLISHED_UNTIL_DAY, panel.get_xlim()[1])
    days = np.linspace(0.0, last, 101)
    for number, coefficients in enumerate(PAN_CURVES.get(measure, {}).values()):
        panel.plot(
            days,
            cubic(np.array(coefficients), days),
            color=QUIET_INK,
            linewidth=1,
            linestyle="--",
            label=f"{PAN}, published" if number == 0 else None,
        )


def _finish(panel: Any, measure: str, values: np.ndarray) -> None:
    panel.set_title(measure_title(measure), loc="left", fontsize=10, fontweight="bold")
    panel.set(xlabel=DAY_LABEL, ylabel=measure_title(measure))
    panel.set_xlim(left=0.0)
    lowest, highest = min(0.0, float(values.min())), float(values.max())
    # Room for the legend above the scans; curves below zero are cut.
    panel.set_ylim(lowest, lowest + 1.3 * (highest - lowest) or 1.0)


def _panels(figure: Any, count: int) -> list[Any]:
    across = min(count, PANELS_ACROSS)
    panels = figure.subplots(-(-count // across), across, squeeze=False).ravel()
    for panel in panels[count:]:
        panel.set_axis_off()
    return list(panels[:count])


def _size(panels: int) -> tuple[float, float]:
    across = min(panels, PANELS_ACROSS)
    return PANEL_INCHES[0] * max(across, 1.4), PANEL_INCHES[1] * -(-panels // across)
