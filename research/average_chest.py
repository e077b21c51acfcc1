"""`python -m research.average_chest CT CT … -o TABLE.csv`: the average chest, and what it tells.

Writes the average that `anatomy.chest_orientation` compares scans with, and a table of how each
scan fits the average of the others: it is what the limits there rest on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from CovidLungQuantLib.anatomy.chest_orientation import (
    AS_IT_IS,
    AVERAGE_CHEST_FILE,
    ChestFit,
    chest_fit,
    chest_on_grid,
)
from CovidLungQuantLib.ct import CTVolume, lps_oriented, read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import write_csv


def average_of(chests: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of chests on the common grid, whole HU, int16 (z, y, x)."""
    return np.rint(np.mean(chests, axis=0)).astype(np.int16)


def left_out_fits(
    scans: dict[str, CTVolume], same_patient: Sequence[Sequence[str]] = ()
) -> dict[str, ChestFit]:
    """How each scan fits the average of the scans of other patients.

    Args:
        scans: by name; upright, with enough lung.
        same_patient: names of scans that are of one patient.
    """
    chests = {name: _chest(scan) for name, scan in scans.items()}
    fits = {}
    for name, scan in scans.items():
        own = {name}.union(*(group for group in same_patient if name in group))
        average = average_of([chest for other, chest in chests.items() if other not in own])
        fit = chest_fit(scan.hu, scan.geometry.spacing_mm, average)
        if fit is not None:
            fits[name] = fit
    return fits


def fit_row(name: str, fit: ChestFit) -> dict[str, str | float | bool]:
    """A row of the table."""
    up, back, left = fit.signs
    return {
        "scan": name,
        "correlation": round(fit.correlation, 3),
        "best_correlation": round(fit.best_correlation, 3),
        "best_as_it_is": fit.best == AS_IT_IS,
        "head_foot": round(up, 3),
        "front_back": round(back, 3),
        "left_right": round(left, 3),
    }


def main() -> None:
    """Command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cts", type=Path, nargs="+", metavar="CT")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TABLE.csv")
    parser.add_argument(
        "--same-patient",
        action="append",
        default=[],
        type=lambda text: text.split(","),
        metavar="SCAN,SCAN",
    )
    chosen = parser.parse_args()
    scans = {_name_of(path): lps_oriented(read_ct(path))[0] for path in chosen.cts}
    fits = left_out_fits(scans, chosen.same_patient)
    write_csv(chosen.output, [fit_row(name, fit) for name, fit in fits.items()])
    np.save(AVERAGE_CHEST_FILE, average_of([_chest(scan) for scan in scans.values()]))


def _chest(scan: CTVolume) -> np.ndarray:
    chest = chest_on_grid(scan.hu, scan.geometry.spacing_mm)
    if chest is None:
        raise BadInputError(f"{scan.name} has too little lung; leave it out.")
    return chest


def _name_of(path: Path) -> str:
    """A dataset's scans are all called ct; their folders tell them apart."""
    return path.parent.name if path.stem == "ct" else path.stem


if __name__ == "__main__":
    main()
