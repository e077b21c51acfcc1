"""The page of prognostic models, and that of a model's predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.cohort_texts import (
    closing_notes,
    estimate_text,
    exponent_text,
    limits_text,
    measure_title,
)
from CovidLungQuantLib.cohort.discrimination import (
    Calibration,
    CStatistic,
    CutOff,
    Share,
)
from CovidLungQuantLib.cohort.prognosis import (
    CROSS_VALIDATED,
    MODEL_A,
    MODEL_B,
    JudgedModel,
    Prognosis,
)
from CovidLungQuantLib.cohort.prognosis_figures import (
    calibration_figure,
    decision_figure,
    odds_figure,
    roc_figure,
)
from CovidLungQuantLib.cohort.prognosis_model import Applied
from CovidLungQuantLib.cohort.published_cohorts import BARTOLI
from CovidLungQuantLib.display.numbers import DASH, decimal_text, p_text, significant_text
from CovidLungQuantLib.pages.drawings import svg_figure
from CovidLungQuantLib.pages.sections import Section, ShownTable, sections_page

NOTES: tuple[str, ...] = (
    "Logistic regression by maximum likelihood (statsmodels), or with Firth's penalty where that "
    f"was asked for; models as {BARTOLI}: A clinical, B with the score, C with the burden.",
    "Limits in brackets hold 95 %: Wald for odds ratios, DeLong for C-statistics, Wilson for "
    "shares. Tests are two-sided and not corrected for their number.",
    "Cut-offs are Youden's, chosen on the patients fitted. Net benefit: TP/n − FP/n · t/(1 − t).",
    *closing_notes(),
)


def prognosis_page(found: Prognosis, with_figures: bool) -> str:
    """Odds ratios, C-statistics, calibration and decisions, as one HTML file."""

    def figures(svg: Any, description: str) -> list[Any]:
        return [svg_figure(svg(), description)] if with_figures else []

    judged = [(model.name, model.calibration) for model in found.models]
    sections = [
        Section("Patients", _patients_texts(found), tables=[_missing_table(found)]),
        Section(
            "Odds ratios",
            figures=figures(lambda: odds_figure(found), "Odds ratios"),
            tables=[_odds_table(found.models)],
        ),
        Section(
            "Do score and burden add to the clinical variables?",
            [f"Models are judged {_judged_text(found)}."],
            figures(lambda: roc_figure(found), "ROC curves"),
            _discrimination_tables(found),
        ),
        Section(
            "Calibration",
            figures=figures(lambda: calibration_figure(judged), "Calibration"),
            tables=[_calibration_table(judged)],
        ),
        Section(
            "Decision curve",
            ["decision_curve.csv has the numbers."],
            figures(lambda: decision_figure(found), "Decision curve"),
        ),
        Section("Cut-offs", tables=[_cut_off_table(found)]),
        *_interactions_section(found),
    ]
    title = f"Prognosis: {found.events} events among {found.patients} patients"
    return sections_page(title, sections, found.warnings, NOTES)


def applied_page(found: Applied, with_figures: bool) -> str:
    """How the predictions are distributed, and how true they were where that is known."""
    given = np.array([row.probability for row in found.predictions if not row.reason])
    texts = [
        f"Model {found.model.name} gives {len(given)} of {len(found.predictions)} rows a "
        f"probability of the event; predictions.csv has them.",
    ]
    if len(given):
        low, median, high = np.percentile(given, (25, 50, 75))
        texts.append(
            f"Median {decimal_text(float(median), 3)} (quartiles {decimal_text(float(low), 3)} to "
            f"{decimal_text(float(high), 3)}); {int((given >= found.model.cut_off).sum())} lie at "
            f"or above the cut-off of {decimal_text(found.model.cut_off, 3)}."
        )
    sections = [Section("Predictions", texts)]
    if found.c is not None and found.calibration is not None and found.cut_off is not None:
        judged = [(found.model.name, found.calibration)]
        figures = [svg_figure(calibration_figure(judged), "Calibration")] if with_figures else []
        rows = [
            ("C-statistic", c_text(found.c)),
            ("sensitivity at the cut-off", share_text(found.cut_off.sensitivity)),
            ("specificity at the cut-off", share_text(found.cut_off.specificity)),
        ]
        sections.append(
            Section(
                "Against what happened",
                figures=figures,
                tables=[ShownTable(("", "here (95 %)"), rows), _calibration_table(judged)],
            )
        )
    return sections_page("A prognostic model applied", sections, found.warnings, closing_notes())


def _patients_texts(found: Prognosis) -> list[str]:
    texts = [
        f"{found.patients} patients have all values, {found.events} of them the event; the models "
        f"were fitted to {found.training} with {found.training_events} events.",
    ]
    if found.models[0].fit.penalised:
        texts.append("Firth's penalty was used in all models.")
    return texts


def _judged_text(found: Prognosis) -> str:
    options = found.options
    if options.validation == CROSS_VALIDATED:
        return (
            f"by {options.repeats} × {options.folds}-fold cross-validation, on each patient's mean "
            "probability of the models that had not seen them"
        )
    return (
        f"on {len(found.judged_events)} patients held out, {int(found.judged_events.sum())} with "
        "the event"
    )


def _missing_table(found: Prognosis) -> ShownTable:
    rows = [
        (
            measure_title(row.column),
            f"{row.missing} of {row.of}",
            str(row.missing_with_event),
            str(row.missing_without_event),
        )
        for row in found.missing
    ]
    return ShownTable(("missing values", "", "with event", "without event"), rows)


def _odds_table(models: Sequence[JudgedModel]) -> ShownTable:
    names = list(dict.fromkeys(name for model in models for name in model.fit.names[1:]))
    rows = []
    for name in names:
        cells = []
        for model in models:
            if name not in model.fit.names:
                cells.append("")
                continue
            index = model.fit.names.index(name)
            odds = math.exp(model.fit.coefficients[index])
            limits = np.exp(model.fit.limits[:, index]).tolist()
            cells.append(f"{estimate_text(odds, limits, 2)}, {p_text(float(model.fit.p[index]))}")
        rows.append((name, *cells))
    headings = ("odds ratio (95 %)", *(f"model {model.name}" for model in models))
    return ShownTable(headings, rows)


def _discrimination_tables(found: Prognosis) -> list[ShownTable]:
    models = [
        (
            f"model {model.name}",
            decimal_text(model.events_per_variable, 1),
            c_text(model.c),
            decimal_text(model.training_c, 3),
            DASH
            if model.against_a is None
            else f"χ² {significant_text(model.against_a.chi2)} "
            f"({model.against_a.degrees_of_freedom})",
            DASH if model.against_a is None else p_text(model.against_a.p),
        )
        for model in found.models
    ]
    comparisons = [
        (
            f"{first} − {second}",
            estimate_text(item.difference, (item.lower, item.upper), 3),
            p_text(item.p),
        )
        for first, second, item in found.comparisons
    ]
    tables = [
        ShownTable(
            (
                "",
                "events per variable",
                "C (95 %)",
                "C on those fitted",
                "likelihood ratio against A (degrees of freedom)",
                "p",
            ),
            models,
        )
    ]
    if comparisons:
        tables.append(
            ShownTable(("", "difference of C (95 %)", "DeLong"), comparisons, "Models compared")
        )
    return tables


def _calibration_table(judged: Sequence[tuple[str, Calibration]]) -> ShownTable:
    rows = [
        (
            f"model {name}",
            estimate_text(found.intercept, found.intercept_limits, 2),
            estimate_text(found.slope, found.slope_limits, 2),
            decimal_text(found.brier, 4),
            decimal_text(found.scaled_brier, 3),
        )
        for name, found in judged
    ]
    return ShownTable(("", "intercept (95 %)", "slope (95 %)", "Brier", "scaled Brier"), rows)


def _cut_off_table(found: Prognosis) -> ShownTable:
    def row(name: str, cut_off: CutOff) -> tuple[str, ...]:
        return (
            name,
            exponent_text(cut_off.value),
            share_text(cut_off.sensitivity),
            share_text(cut_off.specificity),
            decimal_text(cut_off.youden, 3),
        )

    rows = [row(f"probability, model {model.name}", model.cut_off) for model in found.models]
    rows += [row(f"{measure_title(item.column)} alone", item.judged) for item in found.cut_offs]
    return ShownTable(
        ("", "at risk from", "sensitivity (95 %)", "specificity (95 %)", "Youden"), rows
    )


def _interactions_section(found: Prognosis) -> list[Section]:
    if not found.interactions:
        return []
    titles = {MODEL_A: "A", MODEL_B: "B"}
    rows = [
        (
            f"{titles.get(row.model, row.model)}: {measure_title(row.first)} × {row.second}",
            significant_text(row.test.chi2),
            str(row.test.degrees_of_freedom),
            row.test.reason or p_text(row.test.p),
        )
        for row in found.interactions
    ]
    text = "Each product added to its model alone; none of them is in the models above."
    headings = ("", "χ²", "degrees of freedom", "p")
    return [Section("Interactions", [text], tables=[ShownTable(headings, rows)])]


def c_text(c: CStatistic) -> str:
    return estimate_text(c.c, (c.lower, c.upper), 3)


def share_text(share: Share) -> str:
    if math.isnan(share.share):
        return DASH
    limits = limits_text(100 * share.lower, 100 * share.upper, 1)
    return f"{decimal_text(100 * share.share, 1)} % ({limits})"
