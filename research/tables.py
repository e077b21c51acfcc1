"""Tables of measured models, as they lie in `results/`: Excel's line ends, and "nan" for NaN."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_rows(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Write rows as they come, so that a long run that is stopped leaves what it has measured.

    Returns:
        the rows.
    """
    written = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            file.flush()
            written.append(row)
    return written
