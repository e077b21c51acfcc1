"""A fitted model as a small readable file, and what it predicts for another table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.discrimination import (
    NORMAL_95,
    Calibration,
    CStatistic,
    CutOff,
    c_statistic,
    calibration,
    judge_cut_off,
)
from CovidLungQuantLib.cohort.prognosis import JudgedModel, Prognosis
from CovidLungQuantLib.cohort.variables import (
    Design,
    Variable,
    events_of,
    is_missing,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable
from CovidLungQuantLib.files.tables import write_study_json
from CovidLungQuantLib.vetting import read_json

KIND = "covidlungquant prognosis model"
FORMAT = 1
FEWEST_TO_VALIDATE = 5


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A model as its file says.

    Attributes:
        name: of the model, A, B or C.
        outcome: column it predicts, and `event`, the value that is the event; None is 1.
        design: its terms.
        coefficients: log odds, in the order of the design's names.
        covariance: of them.
        cut_off: probability at or above which a patient counts as at risk.
    """

    name: str
    outcome: str
    event: str | None
    design: Design
    coefficients: np.ndarray
    covariance: np.ndarray
    cut_off: float


@dataclass(frozen=True)
class Prediction:
    """One row of the table: probability with 95 % limits, or why there is none.

    Attributes:
        place: number of its line or row.
        probability: of the event; NaN where it cannot be given.
        at_risk: 1 at or above the cut-off, 0 below; None where unknown.
        reason: why there is none.
        outside: variables that lie outside what the model was fitted to.
    """

    place: int
    probability: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    at_risk: int | None = None
    reason: str = ""
    outside: str = ""


@dataclass(frozen=True, eq=False)
class Applied:
    """Predictions, and how true they were where the table has the outcome; None otherwise."""

    model: SavedModel
    predictions: tuple[Prediction, ...]
    c: CStatistic | None
    calibration: Calibration | None
    cut_off: CutOff | None
    warnings: tuple[str, ...]


def model_content(found: Prognosis, model: JudgedModel) -> dict[str, Any]:
    """What the file of a model holds."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "model": model.name,
        "outcome": found.options.outcome,
        "event": found.options.event,
        "variables": [asdict(variable) for variable in model.design.variables],
        "interactions": [list(pair) for pair in model.design.interactions],
        "terms": list(model.fit.names),
        "coefficients": model.fit.coefficients.tolist(),
        "covariance": model.fit.covariance.tolist(),
        "penalised": model.fit.penalised,
        "patients": model.fit.patients,
        "events": model.fit.events,
        "cut_off": model.cut_off.value,
        "validation": {
            "how": found.options.validation,
            "c_statistic": asdict(model.c),
            "calibration_slope": model.calibration.slope,
            "calibration_intercept": model.calibration.intercept,
            "brier": model.calibration.brier,
        },
    }


def write_model(path: Path, found: Prognosis, model: JudgedModel) -> None:
    """Write the file of a model."""
    write_study_json(path, model_content(found, model))


def read_model(path: Path) -> SavedModel:
    """Read the file of a model.

    Raises:
        BadInputError: it is none, or of another format.
    """
    content = read_json(path)
    if content.get("kind") != KIND or content.get("format") != FORMAT:
        raise BadInputError(
            f"{path.name} is no model that “covidlungquant prognosis” has saved; give its "
            "model.json."
        )
    try:
        design = Design(
            tuple(_variable(item) for item in content["variables"]),
            tuple((str(first), str(second)) for first, second in content["interactions"]),
        )
        coefficients = np.array(content["coefficients"], float)
        covariance = np.array(content["covariance"], float)
        cut_off = float(content["cut_off"])
        size = len(design.names)
        numbers = np.concatenate([coefficients, covariance.ravel(), [cut_off]])
        if list(design.names) != content["terms"] or not np.isfinite(numbers).all():
            raise ValueError("terms")
        if coefficients.shape != (size,) or covariance.shape != (size, size):
            raise ValueError("size")
        event = content["event"]
        return SavedModel(
            str(content["model"]),
            str(content["outcome"]),
            None if event is None else str(event),
            design,
            coefficients,
            covariance,
            cut_off,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadInputError(
            f"{path.name} is a model that is damaged or was changed by hand; save it again with "
            "“covidlungquant prognosis”."
        ) from error


def _variable(item: dict[str, Any]) -> Variable:
    levels = tuple(str(level) for level in item["levels"])
    numbers = [float(item[name]) for name in ("mean", "sd", "lowest", "highest")]
    if not np.isfinite(numbers).all() or numbers[1] <= 0 or len(levels) == 1:
        raise ValueError("variable")
    return Variable(str(item["column"]), levels, *numbers)


def apply_model(model: SavedModel, table: CohortTable) -> Applied:
    """Predict for each row, and judge that where the table has the outcome.

    Raises:
        BadInputError: a variable of the model is missing, or an entry is no number.
    """
    columns = [variable.column for variable in model.design.variables]
    table.require(columns)
    values = {item.column: _values(table, item) for item in model.design.variables}
    reasons = _reasons(model, values, len(table.frame))
    known = np.array([not reason for reason in reasons])
    predictions: list[Prediction] = [
        Prediction(int(place), reason=reason)
        for place, reason in zip(table.frame.index, reasons, strict=True)
    ]
    if known.any():
        matrix = model.design.matrix({name: items[known] for name, items in values.items()})
        log_odds = matrix @ model.coefficients
        errors = np.sqrt(np.einsum("ij,jk,ik->i", matrix, model.covariance, matrix))
        outside = _outside(model, values)
        for index, row in enumerate(np.flatnonzero(known)):
            lower, probability, upper = (
                float(1 / (1 + np.exp(-(log_odds[index] + times * errors[index]))))
                for times in (-NORMAL_95, 0.0, NORMAL_95)
            )
            predictions[row] = Prediction(
                int(table.frame.index[row]),
                probability,
                lower,
                upper,
                int(probability >= model.cut_off),
                outside=outside[row],
            )
    judged = _judged(model, table, predictions)
    return Applied(model, tuple(predictions), *judged, _warnings(table, predictions))


def _values(table: CohortTable, variable: Variable) -> np.ndarray:
    if not variable.levels:
        return table.numbers(variable.column).to_numpy()
    return np.asarray(table.texts(variable.column).to_numpy(object))


def _reasons(model: SavedModel, values: dict[str, np.ndarray], rows: int) -> list[str]:
    """Why a row has no prediction; empty where it has one."""
    reasons: list[list[str]] = [[] for _ in range(rows)]
    for variable in model.design.variables:
        items = values[variable.column]
        absent = is_missing(items)
        for row in range(rows):
            if absent[row]:
                reasons[row].append(f"{variable.column} is missing")
            elif variable.levels and items[row] not in variable.levels:
                reasons[row].append(f"{variable.column} is not one of {', '.join(variable.levels)}")
    return ["; ".join(parts) for parts in reasons]


def _outside(model: SavedModel, values: dict[str, np.ndarray]) -> list[str]:
    """For each row the variables beyond the range the model was fitted to."""
    found: list[list[str]] = [[] for _ in next(iter(values.values()))]
    for variable in model.design.variables:
        if variable.levels:
            continue
        items = values[variable.column]
        for row in np.flatnonzero((items < variable.lowest) | (items > variable.highest)):
            found[row].append(variable.column)
    return [", ".join(parts) for parts in found]


def _judged(
    model: SavedModel, table: CohortTable, predictions: list[Prediction]
) -> tuple[CStatistic | None, Calibration | None, CutOff | None]:
    if model.outcome not in table.frame.columns or table.texts(model.outcome).isna().all():
        return None, None, None
    events = events_of(table, model.outcome, model.event)
    probability = np.array([row.probability for row in predictions])
    known = ~np.isnan(events) & ~np.isnan(probability)
    happened = events[known].astype(bool)
    if min(happened.sum(), (~happened).sum()) < FEWEST_TO_VALIDATE:
        return None, None, None
    given = probability[known]
    return (
        c_statistic(happened, given),
        calibration(happened, given),
        judge_cut_off(happened, given, model.cut_off),
    )


def _warnings(table: CohortTable, predictions: list[Prediction]) -> tuple[str, ...]:
    found = []
    if table.left_out:
        found.append(f"{table.left_out} rows were left out, since their scan was not measured.")
    without = sum(1 for row in predictions if row.reason)
    if without:
        found.append(
            f"{without} of {len(predictions)} rows have no prediction; the table says why."
        )
    outside = sum(1 for row in predictions if row.outside)
    if outside:
        found.append(
            f"{outside} rows lie outside the range of what the model was fitted to, where it may "
            "be wrong."
        )
    return tuple(found)
