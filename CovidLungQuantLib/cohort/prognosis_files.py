"""Prognostic models as tables, JSON, a page and a model file; and predictions of a model."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.discrimination import (
    THRESHOLDS,
    Share,
    net_benefit,
    net_benefit_of_all,
)
from CovidLungQuantLib.cohort.prognosis import (
    JudgedModel,
    Prognosis,
)
from CovidLungQuantLib.cohort.prognosis_model import Applied, write_model
from CovidLungQuantLib.cohort.prognosis_page import NOTES, applied_page, c_text, prognosis_page
from CovidLungQuantLib.display.numbers import decimal_text, p_text
from CovidLungQuantLib.files.cohort_tables import CohortTable
from CovidLungQuantLib.files.tables import write_csv, write_study_json

ODDS_FILE = "odds_ratios.csv"
MODELS_FILE = "models.csv"
COMPARISONS_FILE = "comparisons.csv"
INTERACTIONS_FILE = "interactions.csv"
CUT_OFFS_FILE = "cut_offs.csv"
MISSING_FILE = "missing.csv"
DECISION_FILE = "decision_curve.csv"
MODEL_FILE = "model.json"
PROGNOSIS_JSON_FILE = "prognosis.json"
PROGNOSIS_PAGE_FILE = "prognosis.html"
PROGNOSIS_FILES = (
    ODDS_FILE,
    MODELS_FILE,
    COMPARISONS_FILE,
    INTERACTIONS_FILE,
    CUT_OFFS_FILE,
    MISSING_FILE,
    DECISION_FILE,
    MODEL_FILE,
    PROGNOSIS_JSON_FILE,
    PROGNOSIS_PAGE_FILE,
)
PREDICTIONS_FILE = "predictions.csv"
APPLIED_JSON_FILE = "applied.json"
APPLIED_PAGE_FILE = "applied.html"
APPLIED_FILES = (PREDICTIONS_FILE, APPLIED_JSON_FILE, APPLIED_PAGE_FILE)
# Columns that tell whose prediction it is, as far as the table has them.
IDENTIFIERS = ("scan_id", "patient_id")


def write_prognosis(folder: Path, found: Prognosis, with_figures: bool) -> list[str]:
    """Write `PROGNOSIS_FILES` into `folder` and return their names; the last model is saved."""
    tables: dict[str, tuple[list[dict[str, Any]], tuple[str, ...]]] = {
        ODDS_FILE: ([row for model in found.models for row in _odds_rows(model)], ()),
        MODELS_FILE: ([_model_row(model) for model in found.models], ()),
        COMPARISONS_FILE: (
            [
                {"first": first, "second": second, **asdict(comparison)}
                for first, second, comparison in found.comparisons
            ],
            ("first", "second", "difference", "lower", "upper", "z", "p"),
        ),
        INTERACTIONS_FILE: (
            [
                {"model": row.model, "first": row.first, "second": row.second, **asdict(row.test)}
                for row in found.interactions
            ],
            ("model", "first", "second", "chi2", "degrees_of_freedom", "p", "reason"),
        ),
        CUT_OFFS_FILE: (_cut_off_rows(found), ()),
        MISSING_FILE: ([asdict(row) for row in found.missing], ()),
        DECISION_FILE: (_decision_rows(found), ()),
    }
    for file, (rows, columns) in tables.items():
        write_csv(folder / file, rows, columns or None)
    write_model(folder / MODEL_FILE, found, found.models[-1])
    write_study_json(
        folder / PROGNOSIS_JSON_FILE,
        {
            "options": asdict(found.options),
            "patients": found.patients,
            "events": found.events,
            "training": found.training,
            "training_events": found.training_events,
            "judged": len(found.judged_events),
            "judged_events": int(found.judged_events.sum()),
            **{Path(file).stem: rows for file, (rows, _) in tables.items()},
            "warnings": list(found.warnings),
            "notes": list(NOTES),
        },
    )
    page = prognosis_page(found, with_figures)
    (folder / PROGNOSIS_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(PROGNOSIS_FILES)


def models_text(found: Prognosis) -> list[tuple[str, ...]]:
    """Rows for the terminal: C-statistic, test against A and calibration of each model."""
    rows: list[tuple[str, ...]] = [
        ("", "events/variable", "C (95 %)", "against A", "slope", "Brier")
    ]
    for model in found.models:
        rows.append(
            (
                f"model {model.name}",
                decimal_text(model.events_per_variable, 1),
                c_text(model.c),
                "" if model.against_a is None else p_text(model.against_a.p),
                decimal_text(model.calibration.slope, 2),
                decimal_text(model.calibration.brier, 3),
            )
        )
    return rows


def write_applied(
    folder: Path, found: Applied, table: CohortTable, with_figures: bool
) -> list[str]:
    """Write `APPLIED_FILES` into `folder` and return their names."""
    identifiers = {
        name: table.texts(name).tolist() for name in IDENTIFIERS if name in table.frame.columns
    }
    rows = [
        {
            table.place: row.place,
            **{name: values[index] or "" for name, values in identifiers.items()},
            "probability": row.probability,
            "lower": row.lower,
            "upper": row.upper,
            "at_risk": "" if row.at_risk is None else row.at_risk,
            "reason": row.reason,
            "outside": row.outside,
        }
        for index, row in enumerate(found.predictions)
    ]
    write_csv(folder / PREDICTIONS_FILE, rows)
    write_study_json(
        folder / APPLIED_JSON_FILE,
        {
            "model": found.model.name,
            "outcome": found.model.outcome,
            "cut_off": found.model.cut_off,
            "rows": len(rows),
            "c_statistic": None if found.c is None else asdict(found.c),
            "calibration": None if found.calibration is None else asdict(found.calibration),
            "judged_cut_off": None if found.cut_off is None else asdict(found.cut_off),
            "warnings": list(found.warnings),
        },
    )
    page = applied_page(found, with_figures)
    (folder / APPLIED_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(APPLIED_FILES)


def _odds_rows(model: JudgedModel) -> list[dict[str, Any]]:
    fit = model.fit
    odds, (lower, upper) = np.exp(fit.coefficients), np.exp(fit.limits)
    return [
        {
            "model": model.name,
            "term": name,
            "log_odds": float(fit.coefficients[index]),
            "se": float(fit.standard_errors[index]),
            "odds_ratio": float(odds[index]),
            "lower": float(lower[index]),
            "upper": float(upper[index]),
            "p": float(fit.p[index]),
        }
        for index, name in enumerate(fit.names)
    ]


def _model_row(model: JudgedModel) -> dict[str, Any]:
    against_a, judged = model.against_a, model.calibration
    return {
        "model": model.name,
        "patients": model.fit.patients,
        "events": model.fit.events,
        "penalised": int(model.fit.penalised),
        "log_likelihood": model.fit.log_likelihood,
        "events_per_variable": model.events_per_variable,
        "chi2_against_a": math.nan if against_a is None else against_a.chi2,
        "degrees_of_freedom": "" if against_a is None else against_a.degrees_of_freedom,
        "p_against_a": math.nan if against_a is None else against_a.p,
        **{f"c_{name}": value for name, value in asdict(model.c).items() if name != "c"},
        "c": model.c.c,
        "training_c": model.training_c,
        "brier": judged.brier,
        "scaled_brier": judged.scaled_brier,
        "calibration_intercept": judged.intercept,
        "calibration_slope": judged.slope,
        "calibration_slope_lower": judged.slope_limits[0],
        "calibration_slope_upper": judged.slope_limits[1],
    }


def _cut_off_rows(found: Prognosis) -> list[dict[str, Any]]:
    judged = [(f"probability of model {model.name}", model.cut_off) for model in found.models]
    judged += [(row.column, row.judged) for row in found.cut_offs]
    return [
        {
            "of": name,
            "cut_off": cut_off.value,
            "youden": cut_off.youden,
            **_share_columns("sensitivity", cut_off.sensitivity),
            **_share_columns("specificity", cut_off.specificity),
        }
        for name, cut_off in judged
    ]


def _share_columns(name: str, share: Share) -> dict[str, Any]:
    return {
        name: share.share,
        f"{name}_lower": share.lower,
        f"{name}_upper": share.upper,
    }


def _decision_rows(found: Prognosis) -> list[dict[str, Any]]:
    benefits = {
        f"model_{model.name}": net_benefit(found.judged_events, model.probability)
        for model in found.models
    }
    benefits["all"] = net_benefit_of_all(found.judged_events)
    return [
        {"threshold": float(threshold)}
        | {name: float(values[index]) for name, values in benefits.items()}
        | {"none": 0.0}
        for index, threshold in enumerate(THRESHOLDS)
    ]
