"""Patients of a prognosis: a row each, with all values; who is fitted and who is judged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from CovidLungQuantLib.cohort.variables import is_missing
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable

HELD_OUT, CROSS_VALIDATED = "held-out", "cross-validation"
DEFAULT_SCORE, DEFAULT_BURDEN = "ct_severity_score", "lesion_percent"
ONLY, FIRST, LAST = "only", "first", "last"
FEWEST_EVENTS = 10
FEWEST_EVENTS_VALIDATED = 5


@dataclass(frozen=True)
class PrognosisOptions:
    """What to model, and by which columns.

    Attributes:
        outcome: column of 0 and 1, or of two texts, of which `event` is the event.
        event: see above; None takes 1.
        clinical: columns of model A; may be none.
        score: column that model B adds; None leaves B out.
        burden: column that model C adds; None leaves C out.
        interactions: pairs “x:y” to add to the models that have both.
        per_unit: leave score and burden in their unit; otherwise odds ratios are per SD.
        validation: `HELD_OUT` or `CROSS_VALIDATED`.
        held_out_percent: of the patients, drawn with the same share of events.
        folds: of the cross-validation; `repeats` of it are averaged.
        repeats: see above.
        penalised: Firth's penalty in all models.
        patient: column of patients; None takes each row as one.
        scan: which scan of a patient counts: `ONLY` (there must be one), `FIRST` or `LAST`.
        days: column that orders a patient's scans.
        seed: of the draws.
    """

    outcome: str = "outcome"
    event: str | None = None
    clinical: tuple[str, ...] = ()
    score: str | None = DEFAULT_SCORE
    burden: str | None = DEFAULT_BURDEN
    interactions: tuple[str, ...] = ()
    per_unit: bool = False
    validation: str = HELD_OUT
    held_out_percent: float = 30.0
    folds: int = 5
    repeats: int = 20
    penalised: bool = False
    patient: str | None = "patient_id"
    scan: str = ONLY
    days: str = "days_from_onset"
    seed: int = 0


@dataclass(frozen=True)
class MissingValues:
    """Missing values of one column, among patients with and without the event."""

    column: str
    missing: int
    of: int
    missing_with_event: int
    missing_without_event: int


@dataclass(frozen=True, eq=False)
class Patients:
    """Complete patients: values by column, events, and which are fitted and judged."""

    values: dict[str, np.ndarray]
    events: np.ndarray
    training: np.ndarray
    judged: np.ndarray
    folds: tuple[np.ndarray, ...] = field(default=())

    def part(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The values of some patients."""
        return {column: values[rows] for column, values in self.values.items()}


def one_row_a_patient(table: CohortTable, options: PrognosisOptions) -> CohortTable:
    """The rows that count, one a patient.

    Raises:
        BadInputError: a patient has several and none is chosen, or a patient or day is missing.
    """
    if options.patient is None:
        return table
    patients = table.texts(options.patient)
    absent = patients.index[patients.isna()]
    if len(absent):
        raise table.refuse(
            absent[0],
            f"the patient is missing (column {options.patient}); add it or remove the row",
        )
    if options.scan == ONLY:
        repeated = patients.index[patients.duplicated()]
        if len(repeated):
            raise table.refuse(
                repeated[0],
                f"patient {patients[repeated[0]]} comes a second time; choose with --scan first or "
                "--scan last which scan counts",
            )
        return table
    days = table.numbers(options.days)
    unknown = days.index[days.isna() & patients.duplicated(keep=False)]
    if len(unknown):
        raise table.refuse(
            unknown[0],
            f"the day of one of several scans of patient {patients[unknown[0]]} is missing; add it "
            "or remove the row",
        )
    order = days.sort_values(kind="stable", ascending=options.scan == FIRST).index
    kept = order[~patients[order].duplicated().to_numpy()]
    return table.where(patients.index.isin(kept))


def missing_values(
    outcome: str, values: dict[str, np.ndarray], events: np.ndarray
) -> tuple[MissingValues, ...]:
    rows = []
    for column, items in {outcome: events, **values}.items():
        absent = is_missing(items)
        rows.append(
            MissingValues(
                column,
                int(absent.sum()),
                len(items),
                int((absent & (events == 1)).sum()),
                int((absent & (events == 0)).sum()),
            )
        )
    return tuple(rows)


def divided(
    values: dict[str, np.ndarray], events: np.ndarray, options: PrognosisOptions, name: str
) -> Patients:
    """Complete patients, divided into those to fit and to judge; as many events in each."""
    count, with_event = len(events), int(events.sum())
    rarer = min(with_event, count - with_event)
    if rarer < FEWEST_EVENTS:
        raise BadInputError(
            f"{name} has {count} patients with all values, {with_event} with the event and "
            f"{count - with_event} without; {FEWEST_EVENTS} of each are needed."
        )
    random = np.random.default_rng(options.seed)
    everybody = np.ones(count, bool)
    if options.validation == CROSS_VALIDATED:
        folds = tuple(_folds(events, options.folds, random) for _ in range(options.repeats))
        return Patients(values, events, everybody, everybody, folds)
    judged = _folds(events, count, random, options.held_out_percent) == 0
    held_events = int(events[judged].sum())
    if min(held_events, int((~events[judged]).sum())) < FEWEST_EVENTS_VALIDATED:
        raise BadInputError(
            f"The held-out part of {name} would have {held_events} events among "
            f"{int(judged.sum())} patients, too few to judge a model; use --validation cross."
        )
    return Patients(values, events, ~judged, judged)


def _folds(
    events: np.ndarray,
    folds: int,
    random: np.random.Generator,
    held_out_percent: float | None = None,
) -> np.ndarray:
    """The fold of each patient, drawn apart for those with and without the event.

    With `held_out_percent` that share is fold 0 and all others are fold 1.
    """
    fold = np.empty(len(events), int)
    for kind in (True, False):
        rows = random.permutation(np.flatnonzero(events == kind))
        if held_out_percent is None:
            fold[rows] = np.arange(len(rows)) % folds
        else:
            fold[rows] = np.arange(len(rows)) >= round(len(rows) * held_out_percent / 100)
    return fold
