"""Tables of several readers' and the software's numbers on the same cases, and their agreement.

One row a case, one column an observer:

    case,measure,automatic,reader1,reader2,reader1_repeat
    p01,lesion extent (%),12.1,11.8,13.0,12.4

`measure` may be left out; the file's name then names the measure. `automatic` is the software, any
other column a reader; NAME_repeat is the second reading of NAME, NAME_repeat2 the third, and so on.
Empty cells are missing values.

Or one row a reading, whatever the number of readers and sessions; `session` may be left out:

    case,measure,reader,session,value
    p01,lesion extent (%),automatic,1,12.1
    p01,lesion extent (%),reader1,2,12.4
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from CovidLungQuantLib.cohort.agreement import PairedAgreement, paired_agreement
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import read_delimited

CASE_COLUMN = "case"
MEASURE_COLUMN = "measure"
AUTOMATIC_COLUMN = "automatic"
REPEAT_SUFFIX = "_repeat"
READER_COLUMN, SESSION_COLUMN, VALUE_COLUMN = "reader", "session", "value"
_REPEAT = re.compile(rf"(?P<name>.+){REPEAT_SUFFIX}(?P<number>[2-9]|[1-9][0-9]+)?")

AUTOMATIC = "automatic against reader"
INTER_OBSERVER = "inter-observer"
INTRA_OBSERVER = "intra-observer"


@dataclass(frozen=True)
class ReaderTable:
    """One measure on many cases.

    Attributes:
        measure: what was measured.
        cases: names, unique.
        observers: column name → one value a case; NaN is missing.
    """

    measure: str
    cases: tuple[str, ...]
    observers: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Comparison:
    """Two observers on one measure; differences are `first` − `second`.

    `kind` is `AUTOMATIC`, `INTER_OBSERVER` or `INTRA_OBSERVER`.
    """

    measure: str
    kind: str
    first: str
    second: str
    agreement: PairedAgreement


def read_reader_tables(file: Path) -> list[ReaderTable]:
    """Read a table (CSV with commas, semicolons or tabs); one `ReaderTable` a measure.

    Raises:
        BadInputError: with the line and what is wrong in it.
    """
    header, rows = read_delimited(file)
    if {READER_COLUMN, VALUE_COLUMN} <= set(header):
        return _tables_of_readings(file, header, rows)
    if CASE_COLUMN not in header:
        raise BadInputError(
            f"{file.name} has no column “{CASE_COLUMN}”; its first line must name the columns "
            f"{CASE_COLUMN}, {AUTOMATIC_COLUMN}, reader1, …."
        )
    observers = [name for name in header if name not in (CASE_COLUMN, MEASURE_COLUMN)]
    if len(observers) < 2:
        raise BadInputError(
            f"{file.name} has fewer than two columns of numbers; give at least two observers."
        )
    _check_first_readings(observers, file)
    by_measure: dict[str, dict[str, list[float]]] = {}
    for line, row in rows:
        measure = row.get(MEASURE_COLUMN) or file.stem
        case = row[CASE_COLUMN]
        cases = by_measure.setdefault(measure, {})
        if not case:
            raise BadInputError(f"Line {line} of {file.name} names no case; add its name.")
        if case in cases:
            raise BadInputError(
                f"Line {line} of {file.name} holds case {case} of “{measure}” a second time; keep "
                "one line a case."
            )
        cases[case] = [_number(row[name], name, line, file) for name in observers]
    if not by_measure:
        raise BadInputError(f"{file.name} holds no cases; add one line a case.")
    return [
        ReaderTable(
            measure,
            tuple(cases),
            {name: tuple(row[i] for row in cases.values()) for i, name in enumerate(observers)},
        )
        for measure, cases in by_measure.items()
    ]


def reading_name(reader: str, session: int) -> str:
    """What a reading is called: the reader's name, and from the second session on which it is."""
    if session == 1:
        return reader
    return f"{reader}{REPEAT_SUFFIX}{session - 1 if session > 2 else ''}"


def reader_and_session(reading: str) -> tuple[str, int]:
    """Whose reading it is, and the how manieth, from 1."""
    match = _REPEAT.fullmatch(reading)
    if match is None:
        return reading, 1
    return match["name"], int(match["number"] or 1) + 1


def observer_pairs(readings: Sequence[str]) -> list[tuple[str, str, str]]:
    """Which readings are compared: kind, first and second.

    The software with each reader, readers with each other, and the sessions of each with each
    other.
    """
    first_readings = [name for name in readings if reader_and_session(name)[1] == 1]
    readers = [name for name in first_readings if name != AUTOMATIC_COLUMN]
    pairs = []
    if AUTOMATIC_COLUMN in first_readings:
        pairs += [(AUTOMATIC, AUTOMATIC_COLUMN, reader) for reader in readers]
    pairs += [(INTER_OBSERVER, second, first) for first, second in combinations(readers, 2)]
    for reader in first_readings:
        pairs += [
            (INTRA_OBSERVER, later, earlier)
            for earlier, later in combinations(sessions_of(reader, readings), 2)
        ]
    return pairs


def sessions_of(reader: str, readings: Sequence[str]) -> list[str]:
    """The readings of a reader, the first session first."""
    own = [name for name in readings if reader_and_session(name)[0] == reader]
    return sorted(own, key=lambda name: reader_and_session(name)[1])


def compare_observers(table: ReaderTable) -> list[Comparison]:
    """The software against each reader, readers against each other, and repeats."""
    return [
        Comparison(
            table.measure,
            kind,
            first,
            second,
            paired_agreement(table.observers[first], table.observers[second]),
        )
        for kind, first, second in observer_pairs(list(table.observers))
    ]


def _check_first_readings(observers: Sequence[str], file: Path) -> None:
    for name in observers:
        first_reading = reader_and_session(name)[0]
        if first_reading not in observers:
            raise BadInputError(
                f"{file.name} has a column {name} but none called {first_reading}; add the first "
                "reading or rename the column."
            )


def _tables_of_readings(
    file: Path, header: Sequence[str], rows: Sequence[tuple[int, dict[str, str]]]
) -> list[ReaderTable]:
    """The tables of a file with one row a reading."""
    if CASE_COLUMN not in header:
        raise BadInputError(f"{file.name} has no column “{CASE_COLUMN}”; add it.")
    values: dict[str, dict[str, dict[str, float]]] = {}
    observers: list[str] = []
    for line, row in rows:
        case, reader = row[CASE_COLUMN], row[READER_COLUMN]
        if not case or not reader:
            raise BadInputError(
                f"Line {line} of {file.name} names no case or no reader; add both names."
            )
        name = reading_name(reader, session_number(row.get(SESSION_COLUMN, ""), line, file.name))
        of_case = values.setdefault(row.get(MEASURE_COLUMN) or file.stem, {}).setdefault(case, {})
        if name in of_case:
            raise BadInputError(
                f"Line {line} of {file.name} holds a reading of case {case} by {reader} a second "
                "time; number the sessions, or keep one of them."
            )
        of_case[name] = _number(row[VALUE_COLUMN], VALUE_COLUMN, line, file)
        if name not in observers:
            observers.append(name)
    if not values:
        raise BadInputError(f"{file.name} holds no cases; add one line a reading.")
    if len(observers) < 2:
        raise BadInputError(
            f"{file.name} has readings of one observer only; give at least two observers."
        )
    _check_first_readings(observers, file)
    return [
        ReaderTable(
            measure,
            tuple(cases),
            {
                name: tuple(of_case.get(name, math.nan) for of_case in cases.values())
                for name in observers
            },
        )
        for measure, cases in values.items()
    ]


def session_number(text: str, line: int, file_name: str) -> int:
    """The number of a session; 1 where none is given.

    Raises:
        BadInputError: it is no whole number from 1 on.
    """
    if not text:
        return 1
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= 99:
        raise BadInputError(
            f"The session “{text}” in line {line} of {file_name} is no whole number from 1 to 99; "
            "correct it."
        )
    return int(text)


def _number(text: str, column: str, line: int, file: Path) -> float:
    if not text:
        return math.nan
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise BadInputError(
            f"“{text}” in line {line}, column {column} of {file.name} is no number; correct it or "
            "leave the cell empty."
        )
    return value


def tables_of_files(files: Sequence[Path]) -> list[ReaderTable]:
    """All tables of all files.

    Raises:
        BadInputError: a file is unusable, or a measure comes in two of them.
    """
    tables = [table for file in files for table in read_reader_tables(file)]
    names = [table.measure for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(
                f"“{name}” comes in two tables; put its cases into one or name the measures apart."
            )
    return tables
