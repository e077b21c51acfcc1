"""Serial scans of a cohort over days from onset: curves, visits, patients (Pan et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from CovidLungQuantLib.cohort.mixed_curve import MixedFit, compare_groups, fit_mixed
from CovidLungQuantLib.cohort.time_curve import (
    DEFAULT_BOOTSTRAPS,
    FEWEST_PATIENTS,
    FEWEST_SCANS,
    CubicFit,
    fit_cubic,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable
from CovidLungQuantLib.progress import ProgressCallback, no_progress

# What is followed where nothing else is asked for, as far as the table has it; as Pan et al. did.
DEFAULT_MEASURES = ("ct_score", "lesion_percent", "ggo_percent", "high_opacity_percent")
DEFAULT_VISITS = (0.0, 7.0, 14.0)
DEFAULT_WINDOW_DAYS = 3.0
ALL_PATIENTS = "all"
MOST_GROUPS = 6


@dataclass(frozen=True)
class TimecourseOptions:
    """What to follow, and by which columns of the table.

    Attributes:
        days: column of days from onset.
        patient: column of whose scan it is.
        group: column of groups; None takes all as one.
        measures: columns to follow; empty takes those of `DEFAULT_MEASURES` that there are.
        visits: days at which groups are compared.
        visits_from_onset: whether visits count from onset; otherwise from a patient's first scan.
        window_days: how far from a visit's day a scan may lie.
        bootstraps: draws for the band.
        mixed: fit the mixed model too.
        seed: of the draws.
    """

    days: str = "days_from_onset"
    patient: str = "patient_id"
    group: str | None = None
    measures: tuple[str, ...] = ()
    visits: tuple[float, ...] = DEFAULT_VISITS
    visits_from_onset: bool = False
    window_days: float = DEFAULT_WINDOW_DAYS
    bootstraps: int = DEFAULT_BOOTSTRAPS
    mixed: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Scans:
    """The scans of one measure, in the order of the table, without missing values.

    Attributes:
        days: (scans,) from onset.
        values: (scans,).
        patients: (scans,) whose scan it is.
        groups: (scans,) of that patient.
    """

    days: np.ndarray
    values: np.ndarray
    patients: np.ndarray
    groups: np.ndarray

    def of_group(self, group: str) -> Scans:
        """The scans of one group."""
        kept = self.groups == group
        return Scans(self.days[kept], self.values[kept], self.patients[kept], self.groups[kept])


@dataclass(frozen=True, eq=False)
class GroupCurve:
    """One measure of one group."""

    measure: str
    group: str
    cubic: CubicFit
    mixed: MixedFit | None


@dataclass(frozen=True)
class VisitRow:
    """Two groups at one visit: patients, medians with quartiles, and Mann–Whitney's test."""

    measure: str
    visit_day: float
    first: str
    second: str
    n_first: int
    median_first: float
    lower_quartile_first: float
    upper_quartile_first: float
    n_second: int
    median_second: float
    lower_quartile_second: float
    upper_quartile_second: float
    u: float = math.nan
    p: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class GroupTest:
    """Whether the curves of the groups differ, by the mixed model; NaN where undefined."""

    measure: str
    chi2: float
    degrees_of_freedom: int
    p: float


@dataclass(frozen=True)
class PatientRow:
    """One measure of one patient over time, as scanned."""

    measure: str
    patient: str
    group: str
    scans: int
    first_day: float
    last_day: float
    highest: float
    day_of_highest: float
    last: float


@dataclass(frozen=True, eq=False)
class Timecourse:
    """Everything `timecourse` found.

    Attributes:
        options: asked for, with the measures filled in.
        groups: in order of their names.
        scans: of each measure.
        missing: rows without a value, by measure.
        curves: measure by measure, group by group.
        group_tests: one a measure where there are groups and the mixed model was fitted.
        visits: one a measure, visit and pair of groups.
        patients: one a measure and patient.
        warnings: what to know before these are used.
    """

    options: TimecourseOptions
    groups: tuple[str, ...]
    scans: dict[str, Scans]
    missing: dict[str, int]
    curves: tuple[GroupCurve, ...]
    group_tests: tuple[GroupTest, ...]
    visits: tuple[VisitRow, ...]
    patients: tuple[PatientRow, ...]
    warnings: tuple[str, ...]


def timecourse(
    table: CohortTable, options: TimecourseOptions, progress: ProgressCallback = no_progress
) -> Timecourse:
    """Fit the curves and compare the groups.

    Raises:
        BadInputError: a column is missing, an entry cannot be used, or there are too few scans.
    """
    measures = options.measures or tuple(
        name for name in DEFAULT_MEASURES if name in table.frame.columns
    )
    if not measures:
        raise BadInputError(
            f"{table.name} has none of the columns {', '.join(DEFAULT_MEASURES)}; name what to "
            "follow with --measures."
        )
    table, without = _with_day_and_group(table, options)
    days, patients, groups = _keys(table, options)
    names = tuple(sorted(set(groups.tolist())))
    values = {measure: table.numbers(measure).to_numpy() for measure in measures}
    scans, missing = {}, {}
    for measure, column in values.items():
        known = ~np.isnan(column)
        scans[measure] = Scans(days[known], column[known], patients[known], groups[known])
        missing[measure] = int((~known).sum())
        for name in names:
            _check_enough(table, scans[measure].of_group(name), measure, name)
    curves: list[GroupCurve] = []
    tests: list[GroupTest] = []
    steps = len(measures) * len(names)
    for measure in measures:
        for name in names:
            progress(len(curves) / steps, f"Fitting {measure}, {name}")
            curves.append(_curve(scans[measure].of_group(name), measure, name, options))
        if options.mixed and len(names) > 1:
            of = scans[measure]
            tests.append(
                GroupTest(measure, *compare_groups(of.days, of.values, of.patients, of.groups))
            )
    progress(1.0, "Fitted")
    return Timecourse(
        options=replace(options, measures=measures),
        groups=names,
        scans=scans,
        missing=missing,
        curves=tuple(curves),
        group_tests=tuple(tests),
        visits=tuple(
            row for measure in measures for row in visit_rows(scans[measure], measure, options)
        ),
        patients=tuple(row for measure in measures for row in _patients(scans[measure], measure)),
        warnings=(*without, *_warnings(table, days, patients, missing, curves)),
    )


def visit_rows(scans: Scans, measure: str, options: TimecourseOptions) -> list[VisitRow]:
    """Groups against each other at each visit; a patient counts with the scan nearest to it."""
    rows = []
    names = sorted(set(scans.groups.tolist()))
    for visit in options.visits:
        at_visit = {name: _values_at(scans.of_group(name), visit, options) for name in names}
        for first, second in combinations(names, 2):
            rows.append(_visit_row(measure, visit, first, second, at_visit))
    return rows


def _with_day_and_group(
    table: CohortTable, options: TimecourseOptions
) -> tuple[CohortTable, tuple[str, ...]]:
    """The rows that have a day and a group, and what to say of those that lack one."""
    said = []
    for column in filter(None, (options.days, options.group)):
        known = table.texts(column).notna()
        if not known.any():
            raise BadInputError(
                f"Column {column} of {table.name} is empty in every row; fill it in, or name "
                "another column."
            )
        if not known.all():
            said.append(
                f"{int((~known).sum())} of {len(known)} scans have no {column} and are left out."
            )
            table = table.where(known)
    return table, tuple(said)


def _keys(
    table: CohortTable, options: TimecourseOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days, patients and groups of every row, checked."""
    days = table.numbers(options.days)
    patients = table.texts(options.patient)
    groups = (
        patients.map(lambda _: ALL_PATIENTS)
        if options.group is None
        else table.texts(options.group)
    )
    absent = patients.index[patients.isna()]
    if len(absent):
        raise table.refuse(
            absent[0],
            f"the patient is missing (column {options.patient}); add it or remove the row",
        )
    negative = days.index[days < 0]
    if len(negative):
        raise table.refuse(
            negative[0],
            f"the day is negative ({days[negative[0]]:g}, column {options.days}); days count from "
            "the onset of symptoms, so correct it or remove the row",
        )
    group_of: dict[str, str] = {}
    for index, patient, group in zip(patients.index, patients, groups, strict=True):
        if group_of.setdefault(patient, group) != group:
            raise table.refuse(
                index,
                f"patient {patient} is in group {group}, but in {group_of[patient]} before; a "
                "patient is in one group, so correct one of them",
            )
    if len(set(groups)) > MOST_GROUPS:
        raise BadInputError(
            f"Column {options.group} of {table.name} names {len(set(groups))} groups; give a "
            f"column with at most {MOST_GROUPS}."
        )
    return days.to_numpy(), patients.to_numpy(str), groups.to_numpy(str)


def _check_enough(table: CohortTable, scans: Scans, measure: str, group: str) -> None:
    patients = len(set(scans.patients))
    if len(scans.days) < FEWEST_SCANS or patients < FEWEST_PATIENTS:
        raise BadInputError(
            f"Group {group} of {table.name} has {len(scans.days)} scans of {patients} patients "
            f"with {measure}; a curve needs {FEWEST_SCANS} scans of {FEWEST_PATIENTS} patients."
        )
    if len(set(scans.days[scans.days > 0])) < 3:
        raise BadInputError(
            f"The scans of group {group} of {table.name} with {measure} lie on fewer than three "
            "days after onset, which determine no curve; add scans of other days."
        )


def _curve(scans: Scans, measure: str, group: str, options: TimecourseOptions) -> GroupCurve:
    arguments = scans.days, scans.values, scans.patients
    return GroupCurve(
        measure,
        group,
        fit_cubic(*arguments, options.bootstraps, options.seed),
        fit_mixed(*arguments) if options.mixed else None,
    )


def _values_at(scans: Scans, visit: float, options: TimecourseOptions) -> np.ndarray:
    """Each patient's value at a visit, of those who have a scan within the window."""
    values = []
    for patient in dict.fromkeys(scans.patients):
        own = np.flatnonzero(scans.patients == patient)
        days = scans.days[own]
        away = np.abs(days - visit - (0.0 if options.visits_from_onset else days.min()))
        nearest = int(np.argmin(away))
        if away[nearest] <= options.window_days:
            values.append(scans.values[own[nearest]])
    return np.array(values, float)


def _visit_row(
    measure: str, visit: float, first: str, second: str, at_visit: dict[str, np.ndarray]
) -> VisitRow:
    from scipy import stats

    one, other = at_visit[first], at_visit[second]
    numbers = (len(one), *_quartiles(one), len(other), *_quartiles(other))
    if not len(one) or not len(other):
        return VisitRow(
            measure, visit, first, second, *numbers, reason="a group has no scan at this visit"
        )
    test = stats.mannwhitneyu(one, other)
    return VisitRow(
        measure, visit, first, second, *numbers, u=float(test.statistic), p=float(test.pvalue)
    )


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    if not len(values):
        return math.nan, math.nan, math.nan
    lower, median, upper = np.percentile(values, (25, 50, 75))
    return float(median), float(lower), float(upper)


def _patients(scans: Scans, measure: str) -> list[PatientRow]:
    rows = []
    for patient in dict.fromkeys(scans.patients):
        own = np.flatnonzero(scans.patients == patient)
        days, values = scans.days[own], scans.values[own]
        highest = int(np.argmax(values))
        rows.append(
            PatientRow(
                measure,
                str(patient),
                str(scans.groups[own[0]]),
                len(own),
                float(days.min()),
                float(days.max()),
                float(values[highest]),
                float(days[highest]),
                float(values[int(np.argmax(days))]),
            )
        )
    return rows


def _warnings(
    table: CohortTable,
    days: np.ndarray,
    patients: np.ndarray,
    missing: dict[str, int],
    curves: Sequence[GroupCurve],
) -> list[str]:
    found = []
    if table.left_out:
        found.append(f"{table.left_out} rows were left out, since their scan was not measured.")
    found += [
        f"{count} of {len(days)} scans have no {measure} and are left out there."
        for measure, count in missing.items()
        if count
    ]
    repeated = len(days) - len(set(zip(patients, days, strict=True)))
    if repeated:
        found.append(f"{repeated} scans are of a patient and day that another is of, too.")
    for curve in curves:
        if math.isnan(curve.cubic.peak_day):
            found.append(
                f"The curve of {curve.measure}, {curve.group}, has no peak up to its last day."
            )
        if curve.mixed is not None and curve.mixed.reason:
            found.append(f"{curve.measure}, {curve.group}: {curve.mixed.reason}.")
        if curve.cubic.curve.min() < -0.02 * abs(curve.cubic.curve).max():
            found.append(
                f"The curve of {curve.measure}, {curve.group}, falls below zero late, where a "
                "cubic does not describe the scans."
            )
    return found
