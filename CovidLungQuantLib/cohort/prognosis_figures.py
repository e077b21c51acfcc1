"""ROC curves, calibration and decision curves of prognostic models, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.cohort_texts import GROUP_COLORS
from CovidLungQuantLib.cohort.discrimination import (
    THRESHOLDS,
    Calibration,
    net_benefit,
    net_benefit_of_all,
    roc_curve,
)
from CovidLungQuantLib.cohort.figures import drawn_svg
from CovidLungQuantLib.cohort.prognosis import MODEL_A, MODEL_B, MODEL_C, Prognosis
from CovidLungQuantLib.display.colors import INK, QUIET_INK
from CovidLungQuantLib.display.numbers import decimal_text, true_minus

MODEL_COLORS = {MODEL_A: QUIET_INK, MODEL_B: GROUP_COLORS[0], MODEL_C: GROUP_COLORS[1]}
ROC_INCHES = (9.0, 4.2)
CALIBRATION_PANEL_INCHES = (3.6, 3.9)
DECISION_INCHES = (7.2, 4.2)
FOREST_ROW_INCHES = 0.22
ODDS_TICKS = (1.0, 2.0, 5.0)
UNIT = (-0.02, 1.02)


def roc_figure(found: Prognosis) -> str:
    """ROC curves of the models on the patients they are judged on."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#c9d1d6", linewidth=1)
        for model in found.models:
            _, sensitivity, false_positive = roc_curve(found.judged_events, model.probability)
            color = MODEL_COLORS[model.name]
            axes.plot(
                false_positive,
                sensitivity,
                color=color,
                linewidth=2,
                label=f"model {model.name}: C = {decimal_text(model.c.c, 3)} "
                f"({decimal_text(model.c.lower, 3)} to {decimal_text(model.c.upper, 3)})",
            )
            axes.plot(
                1 - model.cut_off.specificity.share,
                model.cut_off.sensitivity.share,
                "o",
                color=color,
                markeredgecolor="white",
                markersize=8,
            )
        axes.set(
            xlim=UNIT,
            ylim=UNIT,
            aspect="equal",
            xlabel="1 − specificity",
            ylabel="sensitivity",
        )
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))

    return drawn_svg(ROC_INCHES, draw)


def calibration_figure(judged: Sequence[tuple[str, Calibration]]) -> str:
    """Observed share of events against predicted probability, a panel a model."""

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, max(2, len(judged)), squeeze=False)[0]
        for axes in panels[len(judged) :]:
            axes.set_axis_off()
        for axes, (name, found) in zip(panels, judged, strict=False):
            predicted = [group.predicted for group in found.groups]
            observed = [group.observed.share for group in found.groups]
            lower = [group.observed.share - group.observed.lower for group in found.groups]
            upper = [group.observed.upper - group.observed.share for group in found.groups]
            most = min(
                1.0, max([*predicted, *(o + u for o, u in zip(observed, upper, strict=True))])
            )
            color = MODEL_COLORS.get(name, INK)
            axes.plot([0, most], [0, most], color="#c9d1d6", linewidth=1)
            axes.errorbar(
                predicted,
                observed,
                yerr=np.maximum([lower, upper], 0.0),
                fmt="o-",
                color=color,
                markersize=5,
                linewidth=1.2,
                elinewidth=0.8,
            )
            axes.set(xlabel="predicted probability", ylabel="observed share of events")
            axes.set_title(
                true_minus(
                    f"model {name}: slope {decimal_text(found.slope, 2)}, "
                    f"Brier {decimal_text(found.brier, 3)}"
                ),
                loc="left",
                fontsize=9,
                fontweight="bold",
            )

    width, height = CALIBRATION_PANEL_INCHES
    return drawn_svg((width * max(2, len(judged)), height), draw)


def decision_figure(found: Prognosis) -> str:
    """Net benefit of acting by each model, on all and on none, at each threshold."""
    events = found.judged_events

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.axhline(0.0, color="#c9d1d6", linewidth=1.2, label="none")
        axes.plot(
            THRESHOLDS,
            net_benefit_of_all(events),
            color=INK,
            linewidth=1,
            linestyle=":",
            label="all",
        )
        highest = float(events.mean())
        for model in found.models:
            axes.plot(
                THRESHOLDS,
                net_benefit(events, model.probability),
                color=MODEL_COLORS[model.name],
                linewidth=1.8,
                label=f"model {model.name}",
            )
        axes.set(
            xlim=(0.0, float(THRESHOLDS[-1])),
            ylim=(-0.15 * highest, 1.1 * highest),
            xlabel="threshold probability",
            ylabel="net benefit",
        )
        axes.legend(frameon=False, fontsize=8)

    return drawn_svg(DECISION_INCHES, draw)


def odds_figure(found: Prognosis) -> str:
    """Odds ratios with limits on a logarithmic scale, all models side by side."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    names = list(dict.fromkeys(name for model in found.models for name in model.fit.names[1:]))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.axvline(1.0, color="#c9d1d6", linewidth=1.2)
        shift = 0.22
        for number, model in enumerate(found.models):
            odds = np.exp(model.fit.coefficients)
            lower, upper = np.exp(model.fit.limits)
            rows = np.array([names.index(name) for name in model.fit.names[1:]], float)
            if len(rows):
                axes.errorbar(
                    odds[1:],
                    rows + shift * (number - (len(found.models) - 1) / 2),
                    xerr=[odds[1:] - lower[1:], upper[1:] - odds[1:]],
                    fmt="o",
                    color=MODEL_COLORS[model.name],
                    markersize=4,
                    elinewidth=1.2,
                    label=f"model {model.name}",
                )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=ODDS_TICKS))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("odds ratio (95 %)")
        axes.legend(frameon=False, fontsize=8)

    height = 1.2 + FOREST_ROW_INCHES * len(names) * max(1, len(found.models)) * 0.7
    return drawn_svg((8.0, max(2.4, height)), draw)
