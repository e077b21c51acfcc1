"""A time course as tables, JSON and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from CovidLungQuantLib.cohort.cohort_texts import (
    closing_notes,
    estimate_text,
    exponent_text,
    measure_title,
)
from CovidLungQuantLib.cohort.published_cohorts import PAN
from CovidLungQuantLib.cohort.time_curve import COEFFICIENTS
from CovidLungQuantLib.cohort.timecourse import (
    GroupCurve,
    GroupTest,
    PatientRow,
    Timecourse,
    VisitRow,
)
from CovidLungQuantLib.cohort.timecourse_figures import curves_figure, patients_figure
from CovidLungQuantLib.display.numbers import DASH, decimal_text, p_text, significant_text
from CovidLungQuantLib.files.tables import write_csv, write_study_json
from CovidLungQuantLib.pages.drawings import Figure, svg_figure
from CovidLungQuantLib.pages.sections import Section, ShownTable, sections_page

CURVES_FILE = "curves.csv"
BANDS_FILE = "bands.csv"
VISITS_FILE = "visits.csv"
PATIENTS_FILE = "patients.csv"
GROUP_TESTS_FILE = "group_tests.csv"
TIMECOURSE_JSON_FILE = "timecourse.json"
TIMECOURSE_PAGE_FILE = "timecourse.html"
TIMECOURSE_FILES = (
    CURVES_FILE,
    BANDS_FILE,
    VISITS_FILE,
    PATIENTS_FILE,
    GROUP_TESTS_FILE,
    TIMECOURSE_JSON_FILE,
    TIMECOURSE_PAGE_FILE,
)

NOTES: tuple[str, ...] = (
    "Curves: y = a·x + b·x² + c·x³ by least squares, x in days from onset, as "
    f"{PAN} fitted them; limits in brackets hold 95 %, with a dash for one beyond the scans.",
    "Limits of coefficients and peak, and the second p, take into account that scans of one "
    "patient are alike (covariance robust against clusters); the first p does not. The band is of "
    "a bootstrap of whole patients, for each day by itself.",
    "r² is 1 − Σ(y − ŷ)²/Σy², as SPSS gives it for a curve without a constant; about the mean it "
    "is lower.",
    "Mixed model: the same curve, from which each patient departs by terms of their own in day and "
    "day² (REML); groups are compared by likelihood ratio (ML).",
    "Visits: each patient's scan nearest to the day, within the window; medians with quartiles, "
    "Mann–Whitney's U test, two-sided, not corrected for several tests.",
    *closing_notes(),
)


def write_timecourse(
    folder: Path, found: Timecourse, with_figures: bool, with_published: bool = False
) -> list[str]:
    """Write `TIMECOURSE_FILES` into `folder` and return their names."""
    curves = [curve_row(curve) for curve in found.curves]
    write_csv(folder / CURVES_FILE, curves)
    write_csv(folder / BANDS_FILE, (row for curve in found.curves for row in _band_rows(curve)))
    for file, rows, kind in (
        (VISITS_FILE, found.visits, VisitRow),
        (PATIENTS_FILE, found.patients, PatientRow),
        (GROUP_TESTS_FILE, found.group_tests, GroupTest),
    ):
        columns = [field.name for field in fields(kind)]
        write_csv(folder / file, map(asdict, rows), columns)
    write_study_json(
        folder / TIMECOURSE_JSON_FILE,
        {
            "options": asdict(found.options),
            "curves": curves,
            "group_tests": [asdict(row) for row in found.group_tests],
            "visits": [asdict(row) for row in found.visits],
            "warnings": list(found.warnings),
            "notes": list(NOTES),
        },
    )
    page = timecourse_page(found, with_figures, with_published)
    (folder / TIMECOURSE_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(TIMECOURSE_FILES)


def timecourse_page(found: Timecourse, with_figures: bool, with_published: bool) -> str:
    """Curves, their numbers, visits and patients, as one HTML file without outside parts."""
    figures: list[Figure] = []
    patients: list[Figure] = []
    if with_figures:
        figures = [svg_figure(curves_figure(found, with_published), "Curves over time by group")]
        patients = [
            svg_figure(patients_figure(found, measure), f"{measure_title(measure)} by patient")
            for measure in found.options.measures
        ]
    sections = [
        Section("Curves over time", figures=figures, tables=[_curves_table(found.curves)]),
        *_mixed_section(found),
        *_visits_section(found),
        Section(
            "Patients",
            ["Every patient's scans; the black line is the curve of the group."]
            if with_figures
            else [f"{PATIENTS_FILE} has a row for each measure and patient."],
            patients,
        ),
    ]
    title = f"Time course of {len({row.patient for row in found.patients})} patients"
    return sections_page(title, sections, found.warnings, NOTES)


def curve_row(curve: GroupCurve) -> dict[str, Any]:
    """All numbers of one curve, by column of `CURVES_FILE`."""
    fit = curve.cubic
    row: dict[str, Any] = {
        "measure": curve.measure,
        "group": curve.group,
        "scans": fit.scans,
        "patients": fit.patients,
    }
    for index, name in enumerate(COEFFICIENTS):
        row[name] = float(fit.coefficients[index])
        row[f"{name}_se"] = float(fit.standard_errors[index])
        row[f"{name}_lower"], row[f"{name}_upper"] = map(float, fit.limits[:, index])
    row |= {
        "r2": fit.r2,
        "r2_about_mean": fit.r2_about_mean,
        "p": fit.p,
        "p_clustered": fit.p_clustered,
        "peak_day": fit.peak_day,
        "peak_day_lower": float(fit.peak_day_limits[0]),
        "peak_day_upper": float(fit.peak_day_limits[1]),
        "peak_height": fit.peak_height,
        "peak_height_lower": float(fit.peak_height_limits[0]),
        "peak_height_upper": float(fit.peak_height_limits[1]),
        "bootstraps_without_peak_percent": fit.without_peak_percent,
    }
    mixed = curve.mixed
    if mixed is not None:
        for index, name in enumerate(COEFFICIENTS):
            row[f"mixed_{name}"] = float(mixed.coefficients[index])
            row[f"mixed_{name}_lower"] = float(mixed.limits[0, index])
            row[f"mixed_{name}_upper"] = float(mixed.limits[1, index])
        row |= {
            "mixed_peak_day": mixed.peak_day,
            "mixed_peak_height": mixed.peak_height,
            "mixed_random_terms": mixed.random_terms,
            "mixed_residual_sd": mixed.residual_sd,
            "mixed_reason": mixed.reason,
        }
    return row


def curves_text(found: Timecourse) -> list[tuple[str, ...]]:
    """Rows for the terminal: peak and r² of each curve."""
    rows: list[tuple[str, ...]] = [("", "scans", "patients", "r²", "p", "peak day", "peak height")]
    for curve in found.curves:
        fit = curve.cubic
        rows.append(
            (
                f"{curve.measure}, {curve.group}",
                str(fit.scans),
                str(fit.patients),
                decimal_text(fit.r2, 3),
                p_text(fit.p_clustered),
                estimate_text(fit.peak_day, fit.peak_day_limits.tolist(), 1),
                estimate_text(fit.peak_height, fit.peak_height_limits.tolist()),
            )
        )
    return rows


def _band_rows(curve: GroupCurve) -> list[dict[str, Any]]:
    fit = curve.cubic
    return [
        {
            "measure": curve.measure,
            "group": curve.group,
            "day": float(day),
            "value": float(value),
            "lower": float(lower),
            "upper": float(upper),
        }
        for day, value, lower, upper in zip(fit.days, fit.curve, *fit.band, strict=True)
    ]


def _curves_table(curves: Sequence[GroupCurve]) -> ShownTable:
    rows = []
    for curve in curves:
        fit = curve.cubic
        rows.append(
            (
                f"{measure_title(curve.measure)}, {curve.group}",
                f"{fit.scans} ({fit.patients})",
                *(exponent_text(float(value)) for value in fit.coefficients),
                f"{decimal_text(fit.r2, 3)} ({decimal_text(fit.r2_about_mean, 3)})",
                p_text(fit.p),
                p_text(fit.p_clustered),
                estimate_text(fit.peak_day, fit.peak_day_limits.tolist(), 1),
                estimate_text(fit.peak_height, fit.peak_height_limits.tolist()),
            )
        )
    headings = (
        "",
        "scans (patients)",
        *COEFFICIENTS,
        "r² (about the mean)",
        "F test",
        "robust",
        "peak day",
        "peak height",
    )
    return ShownTable(headings, rows)


def _mixed_section(found: Timecourse) -> list[Section]:
    rows = []
    for curve in found.curves:
        mixed = curve.mixed
        if mixed is None:
            continue
        limits = mixed.limits.T.tolist()
        rows.append(
            (
                f"{measure_title(curve.measure)}, {curve.group}",
                *(
                    f"{exponent_text(float(value))} ({exponent_text(lower)} to "
                    f"{exponent_text(upper)})"
                    for value, (lower, upper) in zip(mixed.coefficients, limits, strict=True)
                ),
                decimal_text(mixed.peak_day, 1),
                significant_text(mixed.peak_height),
                mixed.random_terms or DASH,
            )
        )
    if not rows:
        return []
    headings = ("", *COEFFICIENTS, "peak day", "peak height", "differs from patient to patient in")
    tests = [
        (
            measure_title(row.measure),
            significant_text(row.chi2),
            str(row.degrees_of_freedom),
            p_text(row.p),
        )
        for row in found.group_tests
    ]
    tables = [ShownTable(headings, rows)]
    if tests:
        tables.append(
            ShownTable(
                ("", "χ²", "degrees of freedom", "p"), tests, "Do the groups' curves differ?"
            )
        )
    return [Section("Mixed model", tables=tables)]


def _visits_section(found: Timecourse) -> list[Section]:
    if not found.visits:
        return []
    start = "symptom onset" if found.options.visits_from_onset else "the first scan"
    rows = [
        (
            f"{measure_title(row.measure)}, day {row.visit_day:g}",
            f"{row.first} ({row.n_first})",
            _quartiles_text(row.median_first, row.lower_quartile_first, row.upper_quartile_first),
            f"{row.second} ({row.n_second})",
            _quartiles_text(
                row.median_second, row.lower_quartile_second, row.upper_quartile_second
            ),
            decimal_text(row.u, 1),
            row.reason or p_text(row.p),
        )
        for row in found.visits
    ]
    headings = ("", "group (n)", "median (quartiles)", "group (n)", "median (quartiles)", "U", "p")
    return [
        Section(
            "Groups at visits",
            [f"Days count from {start}; scans up to {found.options.window_days:g} days away."],
            tables=[ShownTable(headings, rows)],
        )
    ]


def _quartiles_text(median: float, lower: float, upper: float) -> str:
    return f"{significant_text(median)} ({significant_text(lower)}–{significant_text(upper)})"
