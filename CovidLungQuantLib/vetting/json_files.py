"""JSON from outside: of a sensible size and depth, each key once, numbers that are numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import LARGEST_TEXT_BYTES, read_text

MOST_LEVELS = 64
STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
BRACKETS = re.compile(r"[\[\]{}]")


def read_json(
    path: Path | str,
    what: str = "file",
    limit: int = LARGEST_TEXT_BYTES,
    nan_allowed: bool = False,
) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: of the file.
        what: how messages call it.
        limit: bytes it may have.
        nan_allowed: whether numbers may be NaN, as Python writes it.

    Raises:
        BadInputError: it is no regular file, too large, or no sound JSON object.
    """
    path = Path(path)
    return parse_json(read_text(path, what, limit), path.name, nan_allowed)


def parse_json(text: str, file_name: str, nan_allowed: bool = False) -> dict[str, Any]:
    """Parse JSON that holds an object; see `read_json`.

    Args:
        text: of the file.
        file_name: for messages.
        nan_allowed: whether NaN and Infinity are numbers.

    Raises:
        BadInputError: it is no sound JSON object.
    """
    if _levels(text) > MOST_LEVELS:
        raise damaged(file_name, f"its JSON is nested more than {MOST_LEVELS} levels deep")
    try:
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=float if nan_allowed else _no_number,
            parse_int=_whole_number,
        )
    except (ValueError, RecursionError) as error:
        raise damaged(file_name, f"it is no sound JSON: {shown(str(error))}") from error
    if not isinstance(content, dict):
        raise damaged(file_name, "its JSON is no object")
    return content


def _levels(text: str) -> int:
    """How deep brackets open, those within strings left out."""
    level = deepest = 0
    for bracket in BRACKETS.findall(STRINGS.sub("", text)):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice")
    return content


def _whole_number(digits: str) -> int:
    if len(digits) > 40:
        raise ValueError("a number has too many digits")
    return int(digits)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
