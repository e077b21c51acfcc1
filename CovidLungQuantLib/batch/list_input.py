"""The scans of a CSV list, with columns to carry along into the tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from CovidLungQuantLib.batch.folder_input import first_ct_header
from CovidLungQuantLib.batch.found_scan import (
    FoundScan,
    FoundScans,
    common_folder,
    dicom_date,
    names_in,
    names_of_path,
    patient_of,
)
from CovidLungQuantLib.batch.identifiers import UID
from CovidLungQuantLib.ct.dicom.headers import SliceHeader
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import cell_text
from CovidLungQuantLib.vetting import parse_csv_rows, read_text
from CovidLungQuantLib.vetting.images import IMAGE_SUFFIXES

PATH_COLUMNS = ("path", "ct")
PATIENT_COLUMNS = ("patient", "patient_id")
SERIES_COLUMN = "series"
STUDY_DATE_COLUMN = "study_date"
ONSET_DATE_COLUMN = "onset_date"
DAYS_FROM_ONSET_COLUMN = "days_from_onset"
DAYS_COLUMN = "days_from_first_scan"

# Headings, in small letters and digits alone, of columns by which somebody could be known.
_NAMES = "name patientname firstname lastname surname familyname givenname forename"
_DATES = "birthdate dateofbirth birthday dob"
_NUMBERS = "mrn medicalrecordnumber accession accessionnumber ssn insurancenumber"
_PLACES = "address street phone telephone email"
_UIDS = "studyuid seriesuid studyinstanceuid seriesinstanceuid"
IDENTIFYING_HEADINGS = frozenset(" ".join((_NAMES, _DATES, _NUMBERS, _PLACES, _UIDS)).split())


def scans_in_list(
    file: Path,
    taken_columns: Sequence[str],
    id_column: str | None = None,
    keep_identifiers: bool = False,
) -> FoundScans:
    """Read a CSV list: one row a scan, relative paths from the list's folder.

    Columns: `path` (or `ct`); `patient`, `series`, `study_date` and `onset_date` if wanted; all
    others are carried along. Where the patient or the date is left out, a DICOM header says them.

    Args:
        file: the list; cells parted by commas, semicolons or tabs.
        taken_columns: names that the tables have already.
        id_column: column whose text identifies the patient in all output, unchanged.
        keep_identifiers: carry columns along, too, by which somebody could be known.

    Raises:
        BadInputError: it cannot be read, a column or cell is missing or wrong, or a scan is listed
            twice.
    """
    columns, rows = _rows(file)
    path_column = next((name for name in PATH_COLUMNS if name in columns), None)
    if path_column is None:
        raise BadInputError(
            f"{file.name} has no column path, which names the scans; name it so in its first line."
        )
    patient_column = id_column or next((name for name in PATIENT_COLUMNS if name in columns), None)
    if id_column is not None and id_column not in columns:
        raise BadInputError(
            f"{file.name} has no column {id_column} to take identifiers from; it has "
            f"{', '.join(columns)}."
        )
    own = {path_column, patient_column, *PATIENT_COLUMNS, SERIES_COLUMN, STUDY_DATE_COLUMN}
    own |= {DAYS_COLUMN}
    carried = [name for name in columns if name not in own]
    _check_carried(carried, taken_columns, file)
    dropped = [] if keep_identifiers else [c for c in carried if _identifies(c, rows)]
    carried = [name for name in carried if name not in dropped]
    scans: list[FoundScan] = []
    lines: dict[str, int] = {}
    for line, row in rows:
        scan = _scan(row, line, file, path_column, patient_column, carried)
        if scan.identity in lines:
            raise BadInputError(
                f"Lines {lines[scan.identity]} and {line} of {file.name} name the same scan; remove"
                " one of them."
            )
        lines[scan.identity] = line
        scans.append(scan)
    notes = [
        f"The column {name} is left out of the tables, as somebody could be known by it; add "
        "--keep-identifiers if it is to stay."
        for name in dropped
    ]
    return FoundScans(
        tuple(scans), common_folder([scan.path for scan in scans if scan.path]), tuple(notes)
    )


def _rows(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Headings, and each row with the number of its line."""
    text = read_text(file, "list").removeprefix("\ufeff")
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    parsed = parse_csv_rows(text, file.name, delimiter)
    columns = [name.strip() for name in parsed[0][1]] if parsed else []
    if len(set(columns)) < len(columns) or "" in columns:
        raise BadInputError(
            f"{file.name} has columns without a name or of one name; give each its own in the first"
            " line."
        )
    if len(parsed) < 2:
        raise BadInputError(f"{file.name} lists no scan; add one line for each.")
    rows = []
    for line, cells in parsed[1:]:
        cells = [*cells, *[""] * (len(columns) - len(cells))]
        rows.append((line, dict(zip(columns, map(cell_text, cells), strict=False))))
    return columns, rows


def _check_carried(carried: Sequence[str], taken: Sequence[str], file: Path) -> None:
    clashing = sorted(set(carried) & set(taken))
    if clashing:
        raise BadInputError(
            f"The column {clashing[0]} of {file.name} is called as one that is measured; rename it."
        )


def _identifies(column: str, rows: Sequence[tuple[int, Mapping[str, str]]]) -> bool:
    heading = re.sub(r"[^a-z0-9]", "", column.lower())
    values = [row[column] for _, row in rows if row[column]]
    return heading in IDENTIFYING_HEADINGS or (bool(values) and all(map(UID.fullmatch, values)))


def _scan(
    row: Mapping[str, str],
    line: int,
    file: Path,
    path_column: str,
    patient_column: str | None,
    carried: Sequence[str],
) -> FoundScan:
    text = row[path_column].strip()
    if not text:
        raise BadInputError(f"Line {line} of {file.name} lacks the {path_column}; fill it in.")
    path = (file.parent / Path(text).expanduser()).absolute()
    series = row.get(SERIES_COLUMN, "").strip() or None
    identity = f"{text}\0{series}" if series else text
    patient = row[patient_column].strip() if patient_column else ""
    study_date = _date(row, STUDY_DATE_COLUMN, line, file)
    names = [*names_of_path(path, file.parent.absolute()), patient, text]
    header = None if path.name.lower().endswith(IMAGE_SUFFIXES) else _header(path)
    if header is not None:
        names += names_in(header)
        patient = patient or patient_of(header)
        study_date = study_date or dicom_date(header.tags["study_date"])
    cells = {name: row[name] for name in carried}
    _count_from_onset(cells, study_date, line, file)
    if patient_column is not None and not patient:
        raise BadInputError(f"Line {line} of {file.name} lacks the {patient_column}; fill it in.")
    return FoundScan(
        identity=identity,
        patient=patient or identity,
        path=path,
        series=series,
        study_date=study_date,
        carried=cells,
        names=tuple(sorted(set(names))),
        days_from_first_scan=_days(row, line, file),
    )


def _header(path: Path) -> SliceHeader | None:
    """The first CT header; what cannot be read is told when it is the scan's turn."""
    try:
        return first_ct_header(path)
    except (OSError, BadInputError):
        return None


def _days(row: Mapping[str, str], line: int, file: Path) -> str | None:
    text = row.get(DAYS_COLUMN, "").strip()
    if not text:
        return None
    try:
        if math.isfinite(float(text)):
            return text
    except ValueError:
        pass
    raise BadInputError(
        f"The {DAYS_COLUMN} in line {line} of {file.name} is no number; correct it, or leave it "
        "empty."
    )


def _date(row: Mapping[str, str], column: str, line: int, file: Path) -> date | None:
    text = row.get(column, "").strip()
    found = dicom_date(text)
    if text and found is None:
        raise BadInputError(
            f"The {column} in line {line} of {file.name} is no date; write it as 2020-03-31, or "
            "leave it empty."
        )
    return found


def _count_from_onset(
    cells: dict[str, str], study_date: date | None, line: int, file: Path
) -> None:
    """Put days in the place of the date of onset, as dates do not leave the list."""
    if ONSET_DATE_COLUMN not in cells:
        return
    onset = _date(cells, ONSET_DATE_COLUMN, line, file)
    del cells[ONSET_DATE_COLUMN]
    days = "" if onset is None or study_date is None else str((study_date - onset).days)
    cells.setdefault(DAYS_FROM_ONSET_COLUMN, days)
