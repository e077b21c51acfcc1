"""Text for the terminal: aligned tables, numbers, what was written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as text with the first column to the left and the others to the right."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def number_text(value: float) -> str:
    """A number with three decimals, a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def print_warnings(messages: Iterable[str]) -> None:
    """Print each warning once, in the order they came."""
    for message in dict.fromkeys(messages):
        print(f"Warning: {printable(message)}")


def print_files(folder: Path, names: Sequence[str]) -> None:
    """Print what was written, below the disclaimer."""
    print(f"{DISCLAIMER}\nWritten to {printable(str(folder.absolute()))}:")
    for name in names:
        print(f"  {printable(name)}")
