"""A score against the burden as tables, JSON and a page with the plot of Pan et al. 2021."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.cohort_texts import (
    GROUP_COLORS,
    closing_notes,
    estimate_text,
    exponent_text,
    limits_text,
    measure_title,
)
from CovidLungQuantLib.cohort.figures import drawn_svg
from CovidLungQuantLib.cohort.published_cohorts import (
    PAN,
    PAN_BURDEN_OF_SCORE_LINEAR,
    PAN_BURDEN_OF_SCORE_QUADRATIC,
    PAN_SPEARMAN,
)
from CovidLungQuantLib.cohort.score_burden import (
    CT_SCORE,
    PLAIN,
    QUADRATIC,
    PolynomialFit,
    ScoreBurden,
)
from CovidLungQuantLib.display.colors import INK, QUIET_INK
from CovidLungQuantLib.display.numbers import decimal_text, mean_sd_text, p_text
from CovidLungQuantLib.files.tables import write_csv, write_study_json
from CovidLungQuantLib.pages.drawings import svg_figure
from CovidLungQuantLib.pages.sections import Section, ShownTable, sections_page

CORRELATIONS_FILE = "correlations.csv"
FITS_FILE = "fits.csv"
SCORE_BURDEN_JSON_FILE = "score-burden.json"
SCORE_BURDEN_PAGE_FILE = "score-burden.html"
SCORE_BURDEN_FILES = (
    CORRELATIONS_FILE,
    FITS_FILE,
    SCORE_BURDEN_JSON_FILE,
    SCORE_BURDEN_PAGE_FILE,
)
FIGURE_INCHES = (7.0, 5.0)
POWERS = ("constant", "linear", "square")

NOTES: tuple[str, ...] = (
    "ρ: Spearman, ties by mean ranks. Partial ρ: of the ranks, with the linear effect of the ranks "
    "of days, or of each patient's mean, taken out of both (pingouin). Its limits take scans as "
    "independent; those of the bootstrap draw whole patients.",
    "Fits by least squares; limits of coefficients are robust against clusters of one patient "
    "where patients are named. r² is about the mean.",
    f"{PAN}: ρ {PAN_SPEARMAN:.3f} partial for time (465 scans), burden = −0.27 + 0.37·score + "
    "0.13·score² (r² 0.924), linear −3.89 + 2.4·score (r² 0.850).",
    *closing_notes(),
)


def write_score_burden(folder: Path, found: ScoreBurden, with_figures: bool) -> list[str]:
    """Write `SCORE_BURDEN_FILES` into `folder` and return their names."""
    correlations = [
        {
            "group": row.group,
            "controlled_for": row.controlled_for,
            **asdict(row.correlation),
            "bootstrap_lower": row.bootstrap_lower,
            "bootstrap_upper": row.bootstrap_upper,
            "reason": row.reason,
        }
        for row in found.correlations
    ]
    fits = [_fit_row(fit) for fit in found.fits]
    write_csv(folder / CORRELATIONS_FILE, correlations)
    write_csv(folder / FITS_FILE, fits)
    write_study_json(
        folder / SCORE_BURDEN_JSON_FILE,
        {
            "options": asdict(found.options),
            "scans": len(found.scores),
            "correlations": correlations,
            "fits": fits,
            "p_of_square": found.p_of_square,
            "mean_away_from_published": found.away_from_published[0],
            "sd_away_from_published": found.away_from_published[1],
            "warnings": list(found.warnings),
            "notes": list(NOTES),
        },
    )
    page = score_burden_page(found, with_figures)
    (folder / SCORE_BURDEN_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(SCORE_BURDEN_FILES)


def score_burden_page(found: ScoreBurden, with_figures: bool) -> str:
    """Plot, correlations and fits, as one HTML file without outside parts."""
    score, burden = measure_title(found.options.score), measure_title(found.options.burden)
    texts = [f"The square improves the fit with {p_text(found.p_of_square)} (F test)."]
    if not math.isnan(found.away_from_published[0]):
        texts.append(
            f"Burden minus the published curve, mean ± SD: "
            f"{mean_sd_text(*found.away_from_published, 2)} percentage points."
        )
    correlations = [
        (
            f"{row.group or 'all scans'}, partial for {row.controlled_for}"
            if row.controlled_for != PLAIN
            else row.group or "all scans",
            str(row.correlation.n),
            estimate_text(row.correlation.r, (row.correlation.lower, row.correlation.upper), 3),
            limits_text(row.bootstrap_lower, row.bootstrap_upper, 3)
            if not math.isnan(row.bootstrap_lower)
            else "",
            row.reason or p_text(row.correlation.p),
        )
        for row in found.correlations
    ]
    fits = [
        (
            fit.kind,
            formula_text(fit),
            decimal_text(fit.r2, 3),
            decimal_text(fit.r2_adjusted, 3),
            p_text(fit.p),
            decimal_text(fit.aic, 1),
        )
        for fit in found.fits
    ]
    figures = (
        [svg_figure(score_burden_figure(found), f"{burden} against {score}")]
        if with_figures
        else []
    )
    sections = [
        Section(
            f"{burden} against {score}",
            texts,
            figures,
            [ShownTable(("fit", "burden =", "r²", "adjusted r²", "F test", "AIC"), fits)],
        ),
        Section(
            "Rank correlation",
            tables=[
                ShownTable(("", "scans", "ρ (95 %)", "95 % of patients drawn", "p"), correlations)
            ],
        ),
    ]
    title = f"{score} against {burden}: {len(found.scores)} scans"
    return sections_page(title, sections, found.warnings, NOTES)


def score_burden_figure(found: ScoreBurden) -> str:
    """Scans as dots, both fits and the published curve, as Figure 2 of Pan et al. 2021."""
    groups = sorted(set(found.groups.tolist()))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for group, color in zip(groups, GROUP_COLORS, strict=False):
            of_group = found.groups == group
            axes.scatter(
                found.scores[of_group],
                found.burden[of_group],
                s=16,
                color=color,
                alpha=0.5,
                linewidths=0,
                label=group or None,
            )
        for fit in found.fits:
            axes.plot(
                fit.scores,
                fit.curve,
                color=INK,
                linewidth=2 if fit.kind == QUADRATIC else 1.2,
                linestyle="-" if fit.kind == QUADRATIC else ":",
                label=f"{fit.kind}: {formula_text(fit)}  (r² {decimal_text(fit.r2, 3)})",
            )
        if found.options.score == CT_SCORE:
            _draw_published(axes, found.fits[0].scores)
        axes.set(
            xlabel=measure_title(found.options.score), ylabel=measure_title(found.options.burden)
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8, loc="upper left")

    return drawn_svg(FIGURE_INCHES, draw)


def _draw_published(axes: Any, scores: np.ndarray) -> None:
    for coefficients, style, name in (
        (PAN_BURDEN_OF_SCORE_QUADRATIC, "--", "quadratic"),
        (PAN_BURDEN_OF_SCORE_LINEAR, "-.", "linear"),
    ):
        axes.plot(
            scores,
            np.polynomial.polynomial.polyval(scores, coefficients),
            color=QUIET_INK,
            linewidth=1.2,
            linestyle=style,
            label=f"{PAN}, published, {name}",
        )


def formula_text(fit: PolynomialFit) -> str:
    """The fit such as “−0.27 + 0.37·score + 0.13·score²”."""
    text = exponent_text(float(fit.coefficients[0]))
    for value, power in zip(fit.coefficients[1:], ("score", "score²"), strict=False):
        text += f" {'−' if value < 0 else '+'} {exponent_text(abs(float(value)))}·{power}"
    return text


def correlation_text(found: ScoreBurden) -> list[tuple[str, ...]]:
    """Rows for the terminal."""
    rows: list[tuple[str, ...]] = [("", "n", "rho (95 %)", "p")]
    for row in found.correlations:
        limits = row.correlation.lower, row.correlation.upper
        rows.append(
            (
                f"{row.group or 'all scans'}, controlled for {row.controlled_for}",
                str(row.correlation.n),
                estimate_text(row.correlation.r, limits, 3),
                row.reason or p_text(row.correlation.p),
            )
        )
    return rows


def _fit_row(fit: PolynomialFit) -> dict[str, Any]:
    row: dict[str, Any] = {"fit": fit.kind}
    for index, power in enumerate(POWERS):
        known = index < len(fit.coefficients)
        row[power] = float(fit.coefficients[index]) if known else math.nan
        row[f"{power}_lower"] = float(fit.limits[0, index]) if known else math.nan
        row[f"{power}_upper"] = float(fit.limits[1, index]) if known else math.nan
    return row | {
        "r2": fit.r2,
        "r2_adjusted": fit.r2_adjusted,
        "p": fit.p,
        "aic": fit.aic,
    }
