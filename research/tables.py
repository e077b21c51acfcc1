"""Tables of measured models, as they lie in `results/`: Excel's line ends, and "nan" for NaN."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def with_enough(
    rows: Iterable[dict[str, Any]], name: str, minimum_percent: float
) -> list[dict[str, Any]]:
    """Rows of `CaseAgreement` where a class is more than a share of the reader's lungs.

    Args:
        rows: of the table.
        name: of the class, "ggo" or "high_opacity".
        minimum_percent: of the lungs.
    """

    def percent(row: Mapping[str, Any]) -> float:
        # Lesion and its extent tell how large the lungs are.
        lesion_ml, lesion_percent = row["reference_lesion_ml"], row["reference_extent_percent"]
        return row[f"reference_{name}_ml"] * lesion_percent / lesion_ml if lesion_percent else 0.0

    return [row for row in rows if percent(row) > minimum_percent]


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
