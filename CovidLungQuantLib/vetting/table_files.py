"""CSV from outside: of a sensible size, with cells that a table has."""

from __future__ import annotations

import csv
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import LARGEST_TEXT_BYTES, read_text

LONGEST_CELL = 1 << 16
MOST_ROWS = 1_000_000
MOST_COLUMNS = 10_000


def read_csv_rows(
    path: Path | str, what: str = "table", delimiter: str = ",", limit: int = LARGEST_TEXT_BYTES
) -> list[list[str]]:
    """Read the rows of a CSV file, its header among them; empty lines are left out.

    Args:
        path: of the file, UTF-8.
        what: how messages call it.
        delimiter: between cells.
        limit: bytes it may have.

    Raises:
        BadInputError: it is no regular file, too large, no text, or has cells no table has.
    """
    path = Path(path)
    return parse_csv_rows(read_text(path, what, limit), path.name, delimiter)


def parse_csv_rows(text: str, file_name: str, delimiter: str = ",") -> list[list[str]]:
    """Parse the rows of a CSV table; see `read_csv_rows`.

    Raises:
        BadInputError: it has cells, rows or columns that no table has.
    """
    if "\0" in text:
        raise damaged(file_name, "it holds bytes that no text has")
    rows: list[list[str]] = []
    try:
        for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter):
            if any(len(cell) > LONGEST_CELL for cell in row):
                raise damaged(file_name, f"a cell is longer than {LONGEST_CELL} characters")
            if row:
                rows.append(row)
            if len(rows) > MOST_ROWS or len(row) > MOST_COLUMNS:
                raise BadInputError(
                    f'"{shown(file_name)}" has more rows or columns than a table here may have;'
                    " give one with less."
                )
    except csv.Error as error:
        raise damaged(file_name, f"it is no sound table: {shown(str(error))}") from error
    return rows
