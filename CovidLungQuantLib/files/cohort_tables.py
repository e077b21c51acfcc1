"""Tables with one row a scan or patient, such as `cohort.csv`, checked column by column.

CSV may have commas, semicolons or tabs between cells; Parquet is read as it is. Empty cells, and
those of `MISSING_TEXTS`, are missing values. Needs pandas, and PyArrow for Parquet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import cell_text
from CovidLungQuantLib.printable import shortened
from CovidLungQuantLib.vetting import (
    UnreadableFileError,
    check_regular_file,
    parse_csv_rows,
    read_bytes,
    read_text,
)

if TYPE_CHECKING:
    import pandas as pd

MISSING_TEXTS = ("", "na", "n/a", "nan")
PARQUET_SUFFIX = ".parquet"
LARGEST_PARQUET_BYTES = 1 << 30
STATUS_COLUMN, MEASURED = "status", ("done", "finished")
LINE, ROW = "line", "row"


@dataclass(frozen=True, eq=False)
class CohortTable:
    """Rows of a table.

    Attributes:
        name: of the file, for messages.
        frame: as read; its index is the number of the line (CSV) or row (Parquet), from 1.
        place: `LINE` or `ROW`, how messages call such a number.
        left_out: rows left out since their scan was not measured (`status` not of `MEASURED`).
    """

    name: str
    frame: pd.DataFrame
    place: str
    left_out: int = 0

    def require(self, columns: Sequence[str]) -> None:
        """Refuse a table that lacks a column.

        Raises:
            BadInputError: with the column and those there are.
        """
        for column in columns:
            if column not in self.frame.columns:
                there = shortened(", ".join(map(str, self.frame.columns)), 200)
                raise BadInputError(
                    f"{self.name} has no column “{column}”; name one of its columns ({there}) or "
                    "add it."
                )

    def numbers(self, column: str) -> pd.Series:
        """A column as float, NaN where a value is missing.

        Raises:
            BadInputError: there is no such column, or an entry is no finite number.
        """
        import pandas as pd

        self.require([column])
        values = [self._number(value, column, index) for index, value in self.frame[column].items()]
        return pd.Series(values, index=self.frame.index, name=column, dtype=float)

    def texts(self, column: str) -> pd.Series:
        """A column as stripped text, None where a value is missing; whole numbers without “.0”."""
        import pandas as pd

        self.require([column])
        values = [_text(value) for value in self.frame[column]]
        return pd.Series(values, index=self.frame.index, name=column, dtype=object)

    def first_of(self, *columns: str) -> str | None:
        """The first of these columns that the table has; None if it has none."""
        return next((column for column in columns if column in self.frame.columns), None)

    def is_numeric(self, column: str) -> bool:
        """Whether all entries that are there are numbers, and at least one is there."""
        try:
            return bool(self.numbers(column).notna().any())
        except BadInputError:
            self.require([column])
            return False

    def where(self, kept: Any) -> CohortTable:
        """The table with the rows that a boolean series marks."""
        return replace(self, frame=self.frame[kept])

    def refuse(self, index: int, what: str) -> BadInputError:
        """An error about one row, to be raised."""
        return BadInputError(f"In {self.place} {index} of {self.name} {what}.")

    def _number(self, value: Any, column: str, index: int) -> float:
        text = _text(value)
        if text is None:
            return math.nan
        try:
            number = float(text.replace(",", "."))
        except ValueError:
            number = math.inf
        if math.isinf(number):
            raise BadInputError(
                f"“{shortened(text)}” in {self.place} {index}, column {column} of {self.name} is "
                "no number; correct it or leave the cell empty."
            )
        return number


def read_cohort_table(path: Path | str) -> CohortTable:
    """Read a CSV or Parquet table; rows of scans that were not measured are left out.

    Raises:
        BadInputError: it cannot be read, has a column twice, or no rows are left.
    """
    path = Path(path)
    table = _read_parquet(path) if path.suffix.lower() == PARQUET_SUFFIX else _read_csv(path)
    if STATUS_COLUMN in table.frame.columns:
        done = table.texts(STATUS_COLUMN).isin(MEASURED)
        table = replace(table.where(done), left_out=int((~done).sum()))
    if table.frame.empty:
        what = "of a scan that was measured" if table.left_out else "below its first line"
        raise BadInputError(f"{table.name} has no row {what}; check that it is the right table.")
    return table


def read_delimited(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names of a CSV, and (line number, row) of every line that is not empty; stripped.

    Raises:
        BadInputError: it cannot be read, has a column twice, or a line has other cells.
    """
    try:
        if not path.exists():
            raise BadInputError(f"There is no table {path.name}; check the path.")
        text = read_text(path, "table")
    except (OSError, UnreadableFileError) as error:
        raise BadInputError(
            f"{path.name} cannot be read as a table; save it as CSV (UTF-8)."
        ) from error
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    lines = parse_csv_rows(text, path.name, delimiter)
    header = [cell_text(name.strip()) for name in lines[0][1]] if lines else []
    _check_names(header, path.name)
    rows = []
    for line, cells in lines[1:]:
        if not any(cell_text(cell.strip()) for cell in cells):
            continue
        if len(cells) != len(header):
            raise BadInputError(
                f"Line {line} of {path.name} has {len(cells)} cells and the first line "
                f"{len(header)}; correct it (decimals take a point in a table with commas)."
            )
        stripped = (cell_text(cell.strip()) for cell in cells)
        rows.append((line, dict(zip(header, stripped, strict=True))))
    return header, rows


def _check_names(header: Sequence[str], file_name: str) -> None:
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise BadInputError(f"{file_name} has the column “{repeated[0]}” twice; rename one.")


def _read_csv(path: Path) -> CohortTable:
    import pandas as pd

    header, rows = read_delimited(path)
    frame = pd.DataFrame(
        [[row[name] for name in header] for _, row in rows],
        index=[line for line, _ in rows],
        columns=header,
        dtype=object,
    )
    return CohortTable(path.name, frame, LINE)


def _read_parquet(path: Path) -> CohortTable:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    check_regular_file(path, "table")
    try:
        stored = pq.read_table(io.BytesIO(read_bytes(path, "table", LARGEST_PARQUET_BYTES)))
        _check_names(stored.column_names, path.name)
        frame = stored.to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(
            f"{path.name} cannot be read as a Parquet table; write it again or give the CSV."
        ) from error
    frame.index = range(1, len(frame) + 1)
    return CohortTable(path.name, frame, ROW)


def _text(value: Any) -> str | None:
    """An entry as text; None where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return None if text.lower() in MISSING_TEXTS or text in ("<NA>", "NaT") else text
