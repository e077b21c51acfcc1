"""Tables as CSV and results as JSON: a number that is not known is left empty, never zero."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.versions import software_versions

# File names may hold bytes that are no UTF-8, which Python keeps as halves of characters.
HALF_CHARACTERS = "backslashreplace"
# A spreadsheet would take a text that begins so for a formula and run it; with an apostrophe before
# it, it is text. Apostrophes that stand there already get one more, for reading to take away.
_LIKE_A_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MARKED_AS_TEXT = re.compile(r"'+[=+\-@\t\r\n]")


def write_csv(
    path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as CSV; numbers as Python's shortest exact form, an empty cell for NaN.

    Texts that a spreadsheet would run as a formula are marked, see `cell`.

    Args:
        path: of the file.
        rows: by column; at least one where `columns` is left out.
        columns: in their order; None takes those of the first row.

    Raises:
        OSError: the file cannot be written.
    """
    rows = list(rows)
    with Path(path).open("w", newline="", encoding="utf-8", errors=HALF_CHARACTERS) as file:
        names = list(rows[0] if columns is None else columns)
        file.write(csv_line(names))
        file.writelines(csv_line(row.get(name, "") for name in names) for row in rows)


def csv_line(values: Iterable[Any]) -> str:
    """One line of a CSV file, with its end; values as `cell` marks them."""
    line = io.StringIO(newline="")
    # With this end of lines csv quotes whatever holds either character of it.
    csv.writer(line, lineterminator="\r\n").writerow(map(cell, values))
    return line.getvalue().removesuffix("\r\n") + "\n"


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write content as indented JSON, NaN as null.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(none_for_nan(content), indent=2, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8", errors=HALF_CHARACTERS)


def write_study_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write the result of a study between its disclaimer and the versions; as `write_json`."""
    write_json(path, {"disclaimer": DISCLAIMER, **content, "versions": software_versions()})


def none_for_nan(value: Any) -> Any:
    """Return a value, or one made of mappings, lists and tuples, with None in place of NaN.

    Tuples become lists, as JSON has them.
    """
    if isinstance(value, Mapping):
        return {name: none_for_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [none_for_nan(item) for item in value]
    return None if _is_nan(value) else value


def replace_text(path: Path, text: str) -> None:
    """Write a text file beside and rename it, so that a reader never meets half a file.

    Raises:
        OSError: the file cannot be written; an earlier one stays as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def cell(value: Any) -> Any:
    """A value as a table holds it: an empty cell for NaN, text that a spreadsheet leaves alone.

    A text that begins with =, +, -, @, a tab or a line's end gets an apostrophe before it, unless
    it is a number; `cell_text` takes it away.
    """
    if isinstance(value, str):
        is_run = _LIKE_A_FORMULA.match(value) and not _NUMBER.fullmatch(value)
        return f"'{value}" if is_run else value
    return "" if _is_nan(value) else value


def cell_text(text: str) -> str:
    """A cell's text as it was before `cell` marked it."""
    return text[1:] if _MARKED_AS_TEXT.match(text) else text


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
