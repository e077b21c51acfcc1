"""CSV from outside: of a sensible size, with cells that a table has."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import LARGEST_TEXT_BYTES, read_text

LONGEST_CELL = 1 << 16
MOST_ROWS = 1_000_000
MOST_COLUMNS = 10_000
# All but tab and the ends of lines.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def read_csv_dicts(path: Path | str, what: str = "table") -> list[dict[str, str]]:
    """Read the rows of a CSV file by the names in its first line.

    Args:
        path: of the file, UTF-8, cells parted by commas.
        what: how messages call it.

    Returns:
        a dictionary for each row; cells that a row lacks are empty, those beyond the first line's
        are left out.

    Raises:
        BadInputError: as of `read_csv_rows`.
    """
    rows = read_csv_rows(path, what)
    if not rows:
        return []
    names = rows[0]
    return [
        dict(zip(names, row + [""] * (len(names) - len(row)), strict=False)) for row in rows[1:]
    ]


def read_csv_rows(path: Path | str, what: str = "table", delimiter: str = ",") -> list[list[str]]:
    """Read the rows of a CSV file, the first line among them; empty lines are left out.

    Args:
        path: of the file, UTF-8.
        what: how messages call it.
        delimiter: between cells.

    Raises:
        BadInputError: it is no regular file, too large, no text, or has cells no table has.
    """
    path = Path(path)
    text = read_text(path, what, LARGEST_TEXT_BYTES)
    return [row for _, row in parse_csv_rows(text, path.name, delimiter)]


def parse_csv_rows(text: str, file_name: str, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """Parse the rows of a CSV table; empty lines are left out.

    Returns:
        for each row the number of its last line, from 1, and its cells.

    Raises:
        BadInputError: it has cells, rows or columns that no table has.
    """
    if CONTROL_CHARACTERS.search(text):
        raise damaged(file_name, "it holds control characters, which no table has")
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(LINES.findall(text), delimiter=delimiter)
    try:
        for row in reader:
            if any(len(cell) > LONGEST_CELL for cell in row):
                raise damaged(file_name, f"a cell is longer than {LONGEST_CELL} characters")
            if row:
                rows.append((reader.line_num, row))
            if len(rows) > MOST_ROWS or len(row) > MOST_COLUMNS:
                raise BadInputError(
                    f'"{shown(file_name)}" has more rows or columns than a table here may have;'
                    " give one with less."
                )
    except csv.Error as error:
        raise damaged(file_name, f"it is no sound table: {shown(str(error))}") from error
    return rows
