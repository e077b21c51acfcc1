"""The lesions one by one as a table: lesions.csv."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.files.tables import write_csv
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

COLUMNS = (
    "number",
    "lobe",
    "side",
    "kind",
    "volume_ml",
    "ggo_ml",
    "high_opacity_ml",
    "mean_hu",
    "confidence",
    "voxel_z",
    "voxel_y",
    "voxel_x",
    "l_mm",
    "p_mm",
    "s_mm",
)
SIDES = {RIGHT_LUNG_VALUE: "right", LEFT_LUNG_VALUE: "left"}


def write_lesions_csv(path: Path | str, quantification: Quantification) -> None:
    """Write one row a lesion, largest first; only the heading where there is none.

    Columns: number in the list; lobe (RUL … LLL) and side (right, left); kind of its larger share;
    volumes; mean HU; confidence 0…1, empty where no probability was kept; a voxel to look at and
    where it lies in LPS millimetres.
    """
    write_csv(path, lesion_rows(quantification), COLUMNS)


def lesion_rows(quantification: Quantification) -> list[dict[str, Any]]:
    """Return the rows of `write_lesions_csv`; NaN where a number is not known."""
    to_lps = quantification.ct.geometry.ijk_to_lps
    rows = []
    for island in quantification.lesion_islands:
        z, y, x = island.place
        place_mm = (to_lps @ np.array([x, y, z, 1.0]))[:3]
        values = (
            island.index,
            island.lobe.short_name if island.lobe else "",
            SIDES.get(island.lung, ""),
            island.kind.name,
            island.volume_ml,
            island.ggo_ml,
            island.high_opacity_ml,
            island.mean_hu,
            island.confidence,
            *island.place,
            *(float(value) for value in place_mm),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows
