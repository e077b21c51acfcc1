"""The tables of a cohort, made anew from the result folders: they do not know how these came."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CovidLungQuantLib.batch.places import SCANS_FOLDER, Places
from CovidLungQuantLib.batch.plan import Plan, PlannedScan
from CovidLungQuantLib.batch.records import Failure, read_failures
from CovidLungQuantLib.files.names import MEASUREMENTS_FILE
from CovidLungQuantLib.files.tables import csv_line, replace_text
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION
from CovidLungQuantLib.measures.columns import column_keys
from CovidLungQuantLib.outputs.table import WARNINGS_COLUMN
from CovidLungQuantLib.vetting import read_csv_dicts

SCAN_COLUMN, PATIENT_COLUMN = "scan_id", "patient_id"
DATE_COLUMN, DAYS_COLUMN = "study_date", "days_from_first_scan"
STATUS_COLUMN, FOLDER_COLUMN, REGION_COLUMN = "status", "result_folder", "region"
FINISHED, FAILED, WAITING = "finished", "failed", "waiting"
FAILURE_COLUMNS = (SCAN_COLUMN, PATIENT_COLUMN, "kind", "attempts", "reason")

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class CohortTables:
    """What is known of a cohort by now; cells as text, empty where a figure is not known.

    Attributes:
        columns: of `scans`, in order.
        scans: one row a scan: what it is, what was carried along, the figures of both lungs.
        regions: one row a region of each scan.
        failures: which scans are set aside, and why.
    """

    columns: tuple[str, ...]
    scans: tuple[dict[str, str], ...]
    regions: tuple[dict[str, str], ...]
    failures: dict[str, Failure]

    def count(self, status: str) -> int:
        """Return how many scans have a status."""
        return sum(row[STATUS_COLUMN] == status for row in self.scans)

    @property
    def flagged(self) -> int:
        """How many results come with a warning."""
        return sum(bool(row[WARNINGS_COLUMN]) for row in self.scans)


def figure_columns() -> tuple[str, ...]:
    """Return the figures of the table of scans, in order."""
    return tuple(key for key in column_keys() if key != REGION_COLUMN)


def taken_columns() -> tuple[str, ...]:
    """Return the names that columns of a user's list must not have."""
    own = (SCAN_COLUMN, STATUS_COLUMN, FOLDER_COLUMN, WARNINGS_COLUMN, REGION_COLUMN)
    return (*own, *figure_columns())


def read_tables(places: Places, plan: Plan) -> CohortTables:
    """Collect the figures of all result folders; a scan that has none yet is waiting.

    Raises:
        BadInputError: a result folder cannot be read.
    """
    failures = read_failures(places, [scan.scan_id for scan in plan.scans])
    rows, region_rows = [], []
    for scan in plan.scans:
        known = _known(scan, plan)
        if places.is_finished(scan.scan_id):
            regions = read_csv_dicts(places.result(scan.scan_id) / MEASUREMENTS_FILE)
            both = next(row for row in regions if row[REGION_COLUMN] == BOTH_LUNGS_REGION)
            status = {STATUS_COLUMN: FINISHED, FOLDER_COLUMN: f"{SCANS_FOLDER}/{scan.scan_id}"}
            rows.append({**known, **both, **status})
            region_rows += [{**_identity(scan), **row} for row in regions]
        else:
            failed = scan.scan_id in failures
            rows.append({**known, STATUS_COLUMN: FAILED if failed else WAITING})
    columns = (
        *_known_columns(plan),
        *figure_columns(),
        WARNINGS_COLUMN,
        STATUS_COLUMN,
        FOLDER_COLUMN,
    )
    scans = tuple({name: row.get(name, "") for name in columns} for row in rows)
    failures = {
        row[SCAN_COLUMN]: failures[row[SCAN_COLUMN]]
        for row in scans
        if row[STATUS_COLUMN] == FAILED
    }
    return CohortTables(columns, scans, tuple(region_rows), failures)


def write_tables(places: Places, tables: CohortTables, parquet: bool = True) -> None:
    """Write all tables, each in the place of an earlier one.

    Args:
        places: of the batch.
        tables: from `read_tables`.
        parquet: write the Parquet files, too, which needs pyarrow.

    Raises:
        OSError: a file cannot be written.
    """
    from CovidLungQuantLib.batch import places as names

    region_columns = (SCAN_COLUMN, PATIENT_COLUMN, DAYS_COLUMN, *column_keys())
    figures = {DAYS_COLUMN, *figure_columns()}
    for csv_file, parquet_file, columns, rows in (
        (names.COHORT_FILE, names.COHORT_PARQUET_FILE, tables.columns, tables.scans),
        (names.REGIONS_FILE, names.REGIONS_PARQUET_FILE, region_columns, tables.regions),
    ):
        replace_text(places.out / csv_file, csv_text(columns, rows))
        if parquet:
            write_parquet(places.out / parquet_file, columns, rows, figures)
    replace_text(places.out / names.FAILURES_FILE, csv_text(FAILURE_COLUMNS, _failure_rows(tables)))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as the text of a CSV file."""
    lines = (csv_line(row.get(name, "") for name in columns) for row in rows)
    return csv_line(columns) + "".join(lines)


def write_parquet(
    file: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]], figures: set[str]
) -> None:
    """Write a table as Parquet: figures as floating point, other columns as what all cells are.

    Raises:
        OSError: the file cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    arrays = {
        name: _array([row.get(name, "") for row in rows], name in figures, pyarrow)
        for name in columns
    }
    partial = file.with_name(f".{file.name}.partial")
    try:
        parquet.write_table(pyarrow.table(arrays), partial)
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_private_text(file: Path, text: str) -> None:
    """Write a text that only this user may read, in the place of an earlier one."""
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
    partial.replace(file)


def _array(cells: Sequence[str], is_figure: bool, pyarrow: Any) -> Any:
    known = [cell for cell in cells if cell != ""]
    if not is_figure and known and all(map(_WHOLE.fullmatch, known)):
        return pyarrow.array([int(c) if c else None for c in cells], pyarrow.int64())
    # “007” is a name, not a number.
    numbers = all(_NUMBER.fullmatch(cell) and not re.match(r"[+-]?0\d", cell) for cell in known)
    if is_figure or (known and numbers):
        return pyarrow.array([float(c) if c else None for c in cells], pyarrow.float64())
    return pyarrow.array(list(cells), pyarrow.string())


def _identity(scan: PlannedScan) -> dict[str, str]:
    return {
        SCAN_COLUMN: scan.scan_id,
        PATIENT_COLUMN: scan.patient_id,
        DAYS_COLUMN: scan.days_from_first_scan,
    }


def _known(scan: PlannedScan, plan: Plan) -> dict[str, str]:
    row = {**_identity(scan), DATE_COLUMN: scan.study_date, **scan.carried}
    return {name: row.get(name, "") for name in _known_columns(plan)}


def _known_columns(plan: Plan) -> tuple[str, ...]:
    """What is known of a scan without measuring it."""
    carried = dict.fromkeys(name for scan in plan.scans for name in scan.carried)
    has_dates = any(scan.study_date for scan in plan.scans)
    dates = (DATE_COLUMN,) if has_dates else ()
    return (SCAN_COLUMN, PATIENT_COLUMN, *dates, DAYS_COLUMN, *carried)


def _failure_rows(tables: CohortTables) -> list[dict[str, Any]]:
    patients = {row[SCAN_COLUMN]: row[PATIENT_COLUMN] for row in tables.scans}
    return [
        {
            SCAN_COLUMN: scan_id,
            PATIENT_COLUMN: patients[scan_id],
            "kind": failure.kind,
            "attempts": failure.attempts,
            "reason": failure.reason,
        }
        for scan_id, failure in tables.failures.items()
    ]
