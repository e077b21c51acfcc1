"""Does the extent of pneumonia add to what is known of a patient? Models as Bartoli et al. 2022.

Model A holds the clinical variables; B adds a CT score, C the burden. They are fitted on a part of
the cohort and judged on the rest, or by repeated cross-validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.cohort.discrimination import (
    Calibration,
    CComparison,
    CStatistic,
    CutOff,
    c_statistic,
    calibration,
    compare_c,
    judge_cut_off,
    youden_cut_off,
)
from CovidLungQuantLib.cohort.logistic import (
    LikelihoodRatio,
    LogisticFit,
    fit_logistic,
    likelihood_ratio,
)
from CovidLungQuantLib.cohort.prognosis_patients import (
    CROSS_VALIDATED,
    MissingValues,
    Patients,
    PrognosisOptions,
    divided,
    missing_values,
    one_row_a_patient,
)
from CovidLungQuantLib.cohort.variables import (
    Design,
    column_values,
    events_of,
    interaction_pairs,
    is_missing,
    make_variable,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable
from CovidLungQuantLib.progress import ProgressCallback, no_progress

MODEL_A, MODEL_B, MODEL_C = "A", "B", "C"
# Fewer events than this for each coefficient make them unreliable (Peduzzi et al. 1996).
EVENTS_PER_VARIABLE = 10.0


@dataclass(frozen=True, eq=False)
class JudgedModel:
    """A model and how it does on patients it has not seen.

    Attributes:
        name: `MODEL_A`, `MODEL_B` or `MODEL_C`.
        design: its terms.
        fit: on the training part, or on all where cross-validated.
        events_per_variable: the rarer outcome's patients for each coefficient but the intercept.
        against_a: likelihood-ratio test against model A; None for A itself.
        probability: (judged,) predicted for the patients it is judged on.
        c: on them.
        training_c: on the patients it was fitted to, which flatters.
        calibration: on the judged.
        cut_off: Youden's on the training part's probabilities, judged on the others.
    """

    name: str
    design: Design
    fit: LogisticFit
    events_per_variable: float
    against_a: LikelihoodRatio | None
    probability: np.ndarray
    c: CStatistic
    training_c: float
    calibration: Calibration
    cut_off: CutOff


@dataclass(frozen=True)
class InteractionTest:
    """Likelihood-ratio test of one more product in a model."""

    model: str
    first: str
    second: str
    test: LikelihoodRatio


@dataclass(frozen=True)
class CutOffRow:
    """Youden's cut-off of score or burden alone, in its own unit, judged on other patients."""

    column: str
    chosen: CutOff
    judged: CutOff
    c: CStatistic


@dataclass(frozen=True, eq=False)
class Prognosis:
    """Everything `prognosis` found.

    Attributes:
        options: asked for.
        missing: of each column used.
        patients: with all values; `events` among them.
        training: fitted, with `training_events`; all where cross-validated.
        judged_events: bool (judged,) what happened to those the models are judged on.
        models: A, B, C as far as asked for.
        comparisons: C-statistics of each pair of models, later minus earlier.
        interactions: tested one by one, not in the models.
        cut_offs: of score and burden alone.
        warnings: what to know before these are used.
    """

    options: PrognosisOptions
    missing: tuple[MissingValues, ...]
    patients: int
    events: int
    training: int
    training_events: int
    judged_events: np.ndarray
    models: tuple[JudgedModel, ...]
    comparisons: tuple[tuple[str, str, CComparison], ...]
    interactions: tuple[InteractionTest, ...]
    cut_offs: tuple[CutOffRow, ...]
    warnings: tuple[str, ...]


def prognosis(
    table: CohortTable, options: PrognosisOptions, progress: ProgressCallback = no_progress
) -> Prognosis:
    """Fit the models and judge them.

    Raises:
        BadInputError: a column cannot be used, there are too few events, or a model has no
            estimate.
    """
    columns = list(
        dict.fromkeys([*options.clinical, *(c for c in (options.score, options.burden) if c)])
    )
    if options.score is None and options.burden is None:
        raise BadInputError("Neither a score nor a burden is given; name at least one of them.")
    if options.outcome in columns:
        raise BadInputError(f"The outcome {options.outcome} cannot predict itself; leave it out.")
    table = one_row_a_patient(table, options)
    events = events_of(table, options.outcome, options.event)
    values = {column: column_values(table, column) for column in columns}
    missing = missing_values(options.outcome, values, events)
    complete = ~np.isnan(events)
    for column in columns:
        complete &= ~is_missing(values[column])
    cohort = divided(
        {column: items[complete] for column, items in values.items()},
        events[complete].astype(bool),
        options,
        table.name,
    )
    designs = _designs(table, cohort, options)
    models: list[JudgedModel] = []
    for name, design in designs.items():
        progress(len(models) / (len(designs) + 1), f"Fitting model {name}")
        models.append(_judged(name, design, designs[MODEL_A], cohort, options))
    progress(len(models) / (len(designs) + 1), "Testing interactions")
    interactions = _interaction_tests(designs, cohort, options)
    judged_events = cohort.events[cohort.judged]
    progress(1.0, "Fitted")
    return Prognosis(
        options=options,
        missing=missing,
        patients=int(complete.sum()),
        events=int(cohort.events.sum()),
        training=int(cohort.training.sum()),
        training_events=int(cohort.events[cohort.training].sum()),
        judged_events=judged_events,
        models=tuple(models),
        comparisons=tuple(
            (
                later.name,
                earlier.name,
                compare_c(judged_events, later.probability, earlier.probability),
            )
            for index, later in enumerate(models)
            for earlier in models[:index]
        ),
        interactions=interactions,
        cut_offs=tuple(
            _cut_off(column, cohort) for column in (options.score, options.burden) if column
        ),
        warnings=tuple(_warnings(table, options, int((~complete).sum()), models)),
    )


def _designs(table: CohortTable, cohort: Patients, options: PrognosisOptions) -> dict[str, Design]:
    """The terms of each model, standardised on the training part."""
    fitted = cohort.part(cohort.training)
    added = {MODEL_B: options.score, MODEL_C: options.burden}
    variables = {
        column: make_variable(
            table,
            column,
            # All texts there are: one that only the others have must not pass for the reference.
            cohort.values[column] if values.dtype == object else values,
            not options.per_unit and column in added.values(),
        )
        for column, values in fitted.items()
    }
    pairs = interaction_pairs(options.interactions, list(variables))
    designs = {}
    for name, column in ((MODEL_A, None), *added.items()):
        if name != MODEL_A and column is None:
            continue
        columns = [*options.clinical, *([column] if column else [])]
        designs[name] = Design(
            tuple(variables[item] for item in dict.fromkeys(columns)),
            tuple(pair for pair in pairs if set(pair) <= set(columns)),
        )
    return designs


def _judged(
    name: str, design: Design, model_a: Design, cohort: Patients, options: PrognosisOptions
) -> JudgedModel:
    matrix = design.matrix(cohort.values)
    training, judged, events = cohort.training, cohort.judged, cohort.events
    fit = fit_logistic(events[training], matrix[training], design.names, options.penalised)
    against_a = None
    if name != MODEL_A:
        nested = [design.names.index(item) for item in model_a.names]
        against_a = likelihood_ratio(events[training], matrix[training], fit, nested)
    fitted_probability = _probability(fit, matrix[training])
    if cohort.folds:
        probability = _out_of_fold(matrix, design, cohort, options)
    else:
        probability = _probability(fit, matrix[judged])
    chosen = youden_cut_off(events[training], fitted_probability)
    rarer = min(int(events[training].sum()), int((~events[training]).sum()))
    return JudgedModel(
        name=name,
        design=design,
        fit=fit,
        events_per_variable=rarer / max(1, len(fit.names) - 1),
        against_a=against_a,
        probability=probability,
        c=c_statistic(events[judged], probability),
        training_c=c_statistic(events[training], fitted_probability).c,
        calibration=calibration(events[judged], probability),
        cut_off=judge_cut_off(events[judged], probability, chosen.value),
    )


def _out_of_fold(
    matrix: np.ndarray, design: Design, cohort: Patients, options: PrognosisOptions
) -> np.ndarray:
    """For each patient the mean probability of the models that have not seen them."""
    total = np.zeros(len(matrix))
    for fold in cohort.folds:
        for number in range(options.folds):
            left_out = fold == number
            fit = fit_logistic(
                cohort.events[~left_out], matrix[~left_out], design.names, options.penalised
            )
            total[left_out] += _probability(fit, matrix[left_out])
    return total / len(cohort.folds)


def _probability(fit: LogisticFit, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-fit.log_odds(matrix))))


def _interaction_tests(
    designs: dict[str, Design], cohort: Patients, options: PrognosisOptions
) -> tuple[InteractionTest, ...]:
    """Score and burden times each clinical variable, one by one."""
    found = []
    events = cohort.events[cohort.training]
    values = cohort.part(cohort.training)
    for name, added in ((MODEL_B, options.score), (MODEL_C, options.burden)):
        if name not in designs or added is None:
            continue
        for column in options.clinical:
            pair = (added, column)
            if set(pair) in [set(item) for item in designs[name].interactions] or added == column:
                continue
            design = designs[name].with_interaction(*pair)
            matrix = design.matrix(values)
            nested = list(range(len(designs[name].names)))
            try:
                fit = fit_logistic(events, matrix, design.names, options.penalised)
                test = likelihood_ratio(events, matrix, fit, nested)
            except BadInputError:
                test = LikelihoodRatio(
                    np.nan, len(design.names) - len(nested), np.nan, "cannot be estimated"
                )
            found.append(InteractionTest(name, *pair, test))
    return tuple(found)


def _cut_off(column: str, cohort: Patients) -> CutOffRow:
    values = np.asarray(cohort.values[column], float)
    events, training, judged = cohort.events, cohort.training, cohort.judged
    chosen = youden_cut_off(events[training], values[training])
    return CutOffRow(
        column,
        chosen,
        judge_cut_off(events[judged], values[judged], chosen.value),
        c_statistic(events[judged], values[judged]),
    )


def _warnings(
    table: CohortTable, options: PrognosisOptions, incomplete: int, models: Sequence[JudgedModel]
) -> list[str]:
    found = []
    if table.left_out:
        found.append(f"{table.left_out} rows were left out, since their scan was not measured.")
    if incomplete:
        found.append(
            f"{incomplete} of {len(table.frame)} patients lack a value and are left out; if that "
            "has to do with their outcome, the estimates are biased."
        )
    few = [model for model in models if model.events_per_variable < EVENTS_PER_VARIABLE]
    found += [
        f"Model {model.name} has {model.events_per_variable:.1f} events for each variable; below "
        f"{EVENTS_PER_VARIABLE:g} estimates are unreliable, so give fewer variables"
        f"{'' if options.penalised else ' or add --penalised'}."
        for model in few
    ]
    if options.validation == CROSS_VALIDATED:
        found.append(
            "Cut-offs of score and burden alone are chosen and judged on the same patients, which "
            "flatters them."
        )
    return found
