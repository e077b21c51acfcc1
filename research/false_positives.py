"""`python -m research.false_positives MODEL CT CT … -o TABLE.csv`.

What a model marks in scans without pneumonia, and where: at vessels, at fissures, at the lower edge
of the lungs (diaphragm), at mediastinum and chest wall, or elsewhere. Each scan as it is, and with
its lower lungs smeared as if the patient had breathed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from CovidLungQuantLib.anatomy.lobes import segment_lobes
from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.anatomy.morphology import bounding_box, dilate
from CovidLungQuantLib.anatomy.vessels import segment_vessels
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, NORMAL_LUNG, RIGHT_LUNG_VALUE
from CovidLungQuantLib.lesions.inference import segment_lesions
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.training.data import read_scan_and_lungs
from CovidLungQuantLib.training.synthetic_dense_lung import smear_lower_lungs
from research.tables import write_rows

Spacing = tuple[float, float, float]

# Places and how near they reach, in millimetres; what is near two counts to the first.
NEAR_MM = {
    "vessels": 2.0,
    "fissures": 3.0,
    "lower edge": 8.0,
    "mediastinum": 8.0,
    "chest wall": 8.0,
}
ELSEWHERE = "elsewhere"
PLACES = (*NEAR_MM, ELSEWHERE)


def places_in_lungs(
    lungs: np.ndarray, lobes: np.ndarray, vessels: np.ndarray, spacing_mm: Spacing
) -> np.ndarray:
    """What each voxel of the lungs is near to.

    Args:
        lungs: uint8 (z, y, x), upright, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`.
        lobes: uint8 (z, y, x), values of `labels.LOBES`.
        vessels: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).

    Returns:
        uint8 (z, y, x): 0 outside the lungs, else 1 + the index in `PLACES`.
    """
    inside = lungs > 0
    between = between_lungs(lungs)
    marks = {
        "vessels": vessels,
        "fissures": _beside_another_lobe(lobes, lungs),
        "lower edge": _lowest_of_columns(lungs),
        "mediastinum": between,
        "chest wall": ~inside & ~between,
    }
    places = np.where(inside, np.uint8(PLACES.index(ELSEWHERE) + 1), np.uint8(0))
    for index in reversed(range(len(NEAR_MM))):
        name = PLACES[index]
        places[inside & dilate(marks[name], NEAR_MM[name], spacing_mm)] = index + 1
    return places


def between_lungs(lungs: np.ndarray) -> np.ndarray:
    """Voxels with the right lung on their right and the left lung on their left, in their row."""
    past_right = np.maximum.accumulate(lungs == RIGHT_LUNG_VALUE, axis=2)
    before_left = np.maximum.accumulate((lungs == LEFT_LUNG_VALUE)[:, :, ::-1], axis=2)[:, :, ::-1]
    return (lungs == 0) & past_right & before_left


def _beside_another_lobe(lobes: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Voxels that touch a voxel of another lobe of the same lung."""
    beside = np.zeros(lobes.shape, bool)
    for axis in range(3):
        lobe, lung, touching = (np.moveaxis(array, axis, 0) for array in (lobes, lungs, beside))
        border = (lung[1:] > 0) & (lung[1:] == lung[:-1]) & (lobe[1:] != lobe[:-1])
        touching[1:] |= border
        touching[:-1] |= border
    return beside


def _lowest_of_columns(lungs: np.ndarray) -> np.ndarray:
    """The lowest voxel of each lung in every column along z."""
    lowest = np.zeros(lungs.shape, bool)
    for side in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE):
        lung = lungs == side
        rows, columns = np.nonzero(lung.any(axis=0))
        lowest[lung.argmax(axis=0)[rows, columns], rows, columns] = True
    return lowest


def false_positives(path: Path, model: LoadedModel) -> Iterator[dict[str, str | float]]:
    """Two rows of the table: what `model` marks in a scan without pneumonia, still and moved.

    Raises:
        BadInputError: the scan cannot be read, or no lungs were found.
    """
    scan, anatomy = read_scan_and_lungs(path)
    spacing_mm = scan.geometry.spacing_mm
    yield _row(scan.name, scan.hu, anatomy, spacing_mm, model)
    moved = smear_lower_lungs(scan.hu, anatomy.lungs, spacing_mm, np.random.default_rng(0))
    yield _row(
        f"{scan.name}, breathing", moved, segment_lungs(moved, spacing_mm), spacing_mm, model
    )


def _row(
    name: str, hu: np.ndarray, anatomy: LungAnatomy, spacing_mm: Spacing, model: LoadedModel
) -> dict[str, str | float]:
    labels = segment_lesions(hu, spacing_mm, anatomy, model, "cpu").labels
    lobes = segment_lobes(hu, anatomy.lungs, spacing_mm).lobes
    vessels = segment_vessels(hu, anatomy, spacing_mm)
    # Room for the nearest voxels outside the lungs; consolidation beyond them is counted as well.
    box = bounding_box(anatomy.lungs > 0, (1, 1, 1))
    places = places_in_lungs(anatomy.lungs[box], lobes[box], vessels[box], spacing_mm)
    marked = labels > NORMAL_LUNG.value
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    row: dict[str, str | float] = {
        "scan": name,
        "model": model.name,
        "extent_percent": 100.0 * np.count_nonzero(marked) / np.count_nonzero(labels),
        "lesion_ml": voxel_ml * np.count_nonzero(marked),
    }
    for index, name in enumerate(PLACES):
        here = places == index + 1
        key = name.replace(" ", "_")
        share = np.count_nonzero(here) / np.count_nonzero(places)
        row[f"{key}_lung_percent"] = 100.0 * share
        row[f"{key}_ml"] = voxel_ml * np.count_nonzero(here & marked[box])
    row["outside_lungs_ml"] = voxel_ml * np.count_nonzero(marked & (anatomy.lungs == 0))
    return row


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Measure what models mark in healthy lungs.")
    parser.add_argument("model", help="model name or file")
    parser.add_argument("scans", type=Path, nargs="+", metavar="CT")
    parser.add_argument("-o", "--output", type=Path, required=True, help="table to write (CSV)")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    rows = [row for path in arguments.scans for row in false_positives(path, model)]
    write_rows(arguments.output, list(rows[0]), rows)
    for row in rows:
        print(f"{row['scan']}: {row['extent_percent']:.2f} %, {row['lesion_ml']:.1f} mL")


if __name__ == "__main__":
    main()
