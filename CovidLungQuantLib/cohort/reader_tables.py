"""Tables of several readers' and the software's numbers on the same cases, and their agreement.

One row a case, one column an observer:

    case,measure,automatic,reader1,reader2,reader1_repeat
    p01,lesion extent (%),12.1,11.8,13.0,12.4

`measure` may be left out; the file's name then names the measure. `automatic` is the software, any
other column a reader; NAME_repeat is the second reading of NAME. Empty cells are missing values.
"""

from __future__ import annotations

import math
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
    for name in observers:
        first_reading = name.removesuffix(REPEAT_SUFFIX)
        if first_reading not in observers:
            raise BadInputError(
                f"{file.name} has a column {name} but none called {first_reading}; add the first "
                "reading or rename the column."
            )
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


def compare_observers(table: ReaderTable) -> list[Comparison]:
    """The software against each reader, readers against each other, and repeats."""
    first_readings = [name for name in table.observers if not name.endswith(REPEAT_SUFFIX)]
    readers = [name for name in first_readings if name != AUTOMATIC_COLUMN]
    pairs = []
    if AUTOMATIC_COLUMN in first_readings:
        pairs += [(AUTOMATIC, AUTOMATIC_COLUMN, reader) for reader in readers]
    pairs += [(INTER_OBSERVER, second, first) for first, second in combinations(readers, 2)]
    pairs += [
        (INTRA_OBSERVER, f"{name}{REPEAT_SUFFIX}", name)
        for name in first_readings
        if f"{name}{REPEAT_SUFFIX}" in table.observers
    ]
    return [
        Comparison(
            table.measure,
            kind,
            first,
            second,
            paired_agreement(table.observers[first], table.observers[second]),
        )
        for kind, first, second in pairs
    ]


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
