"""The page of a cohort: every scan with a picture, to sort and to filter, the worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from CovidLungQuantLib.batch.places import COHORT_FILE, FAILURES_FILE, Places
from CovidLungQuantLib.batch.plan import Plan
from CovidLungQuantLib.batch.tables import (
    DAYS_COLUMN,
    FAILED,
    FINISHED,
    FOLDER_COLUMN,
    PATIENT_COLUMN,
    SCAN_COLUMN,
    STATUS_COLUMN,
    CohortTables,
    figure_columns,
)
from CovidLungQuantLib.files.names import REPORT_FILE, THUMBNAIL_FILE
from CovidLungQuantLib.files.tables import replace_text
from CovidLungQuantLib.outputs.table import WARNINGS_COLUMN
from CovidLungQuantLib.pages.rendering import render_page
from CovidLungQuantLib.verdicts import WARNINGS

TEMPLATE = "overview.html.j2"
TITLE = "Cohort"
# What is seen of each scan; the tables hold all.
SHOWN_FIGURES = {
    "lesion_percent": "Lesion %",
    "ggo_percent": "GGO %",
    "high_opacity_percent": "High opacity %",
    "lesion_ml": "Lesion mL",
    "volume_ml": "Lungs mL",
    "ct_score": "CT score",
    "ct_severity_score": "CT-SS",
}
DECIMALS = {"lesion_percent": 1, "ggo_percent": 1, "high_opacity_percent": 1}
MEANINGS = {warning.code: warning.meaning for group in WARNINGS.values() for warning in group}
FLAGGED = "flagged"


@dataclass(frozen=True)
class ShownScan:
    """A scan as a row of the page.

    Attributes:
        scan_id: what it is called.
        patient_id: whose it is.
        days: from the patient's first scan.
        state: "failed", "flagged", "finished" or "waiting".
        report: relative address; None without a result.
        thumbnail: likewise.
        figures: value and text by column.
        carried: texts by column.
        remarks: why it failed, or what is warned of.
    """

    scan_id: str
    patient_id: str
    days: str
    state: str
    report: str | None
    thumbnail: str | None
    figures: dict[str, tuple[float, str]]
    carried: dict[str, str]
    remarks: tuple[str, ...]


def write_overview(places: Places, plan: Plan, tables: CohortTables) -> None:
    """Write the page in the place of an earlier one; raises OSError."""
    from CovidLungQuantLib.batch.places import OVERVIEW_FILE

    replace_text(places.out / OVERVIEW_FILE, overview_html(plan, tables))


def overview_html(plan: Plan, tables: CohortTables) -> str:
    """Return the page; pictures and reports are in the result folders beside it."""
    scans = sorted((_shown(row, tables) for row in tables.scans), key=_worst_first)
    burdens = [
        scan.figures["lesion_percent"][0]
        for scan in scans
        if not math.isnan(scan.figures["lesion_percent"][0])
    ]
    return render_page(
        TEMPLATE,
        title=TITLE,
        scans=scans,
        figures=SHOWN_FIGURES,
        carried=_carried_columns(tables),
        patients=len({scan.patient_id for scan in scans}),
        finished=tables.count(FINISHED),
        flagged=tables.flagged,
        failed=tables.count(FAILED),
        median_burden=median(burdens) if burdens else math.nan,
        lowest_burden=min(burdens, default=math.nan),
        highest_burden=max(burdens, default=math.nan),
        model=plan.settings.get("model", ""),
        cohort_file=COHORT_FILE,
        failures_file=FAILURES_FILE,
    )


def _shown(row: Mapping[str, str], tables: CohortTables) -> ShownScan:
    failure = tables.failures.get(row[SCAN_COLUMN])
    codes = [code for code in row[WARNINGS_COLUMN].split(";") if code]
    folder = row[FOLDER_COLUMN]
    return ShownScan(
        scan_id=row[SCAN_COLUMN],
        patient_id=row[PATIENT_COLUMN],
        days=row[DAYS_COLUMN],
        state=FLAGGED if codes else row[STATUS_COLUMN],
        report=f"{folder}/{REPORT_FILE}" if folder else None,
        thumbnail=f"{folder}/{THUMBNAIL_FILE}" if folder else None,
        figures={name: _figure(name, row[name]) for name in SHOWN_FIGURES},
        carried={name: row[name] for name in _carried_columns(tables)},
        remarks=(failure.reason,) if failure else tuple(MEANINGS.get(c, c) for c in codes),
    )


def _figure(name: str, text: str) -> tuple[float, str]:
    value = float(text) if text else math.nan
    return value, "–" if math.isnan(value) else f"{value:.{DECIMALS.get(name, 0)}f}"


def _carried_columns(tables: CohortTables) -> list[str]:
    known = {SCAN_COLUMN, PATIENT_COLUMN, DAYS_COLUMN, STATUS_COLUMN, FOLDER_COLUMN}
    known |= {WARNINGS_COLUMN, *figure_columns()}
    return [name for name in tables.columns if name not in known]


def _worst_first(scan: ShownScan) -> tuple[Any, ...]:
    """What failed, then what is warned of most, then by burden."""
    burden = scan.figures["lesion_percent"][0]
    return (
        scan.state != FAILED,
        -len(scan.remarks),
        math.inf if math.isnan(burden) else -burden,
        scan.scan_id,
    )
