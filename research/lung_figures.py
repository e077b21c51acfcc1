"""`python -m research.lung_figures MODEL SCANS … -o TABLE.csv`: what the lung network is worth.

Each scan as it is and with its lungs made dense: from behind and from below by stated shares, and
one lung whole; with gas in the bowel below the left lung; and with air in front of that lung. For
each, the lungs by threshold alone, and joined with those of the network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.lung_agreement import join_lungs
from CovidLungQuantLib.anatomy.lung_network import ChestNetwork, class_shares
from CovidLungQuantLib.anatomy.lung_weights import load_lung_model
from CovidLungQuantLib.anatomy.morphology import dilate
from CovidLungQuantLib.anatomy.sides import split_left_right
from CovidLungQuantLib.anatomy.threshold_lungs import find_body_and_air
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE
from CovidLungQuantLib.measures.overlap import dice
from research.lung_bank import KnownLungs, add_scan_options, chosen_scans, known_lungs
from research.tables import write_rows

COLUMNS = (
    "scan",
    "change",
    "truth_ml",
    "threshold_ml",
    "joined_ml",
    "threshold_dice",
    "joined_dice",
    "added_ml",
    "removed_ml",
    "wrong_side_ml",
    "dense_percent",
    "threshold_dense_percent",
    "joined_dense_percent",
    "air_ml",
    "threshold_air_ml",
    "joined_air_ml",
)
SHARES_PERCENT = (20, 45, 70)
AS_IT_IS = "as it is"
BEHIND, BELOW, WHITE = "behind", "below", "white left lung"
BOWEL, PNEUMOTHORAX = "gas in the bowel", "left pneumothorax"
CHANGES = (
    (AS_IT_IS, "", 0),
    *(
        (f"{share} % from {side}", side, share)
        for side in (BEHIND, BELOW)
        for share in SHARES_PERCENT
    ),
    (WHITE, WHITE, 0),
    (BOWEL, BOWEL, 0),
    (PNEUMOTHORAX, PNEUMOTHORAX, 0),
)
DENSE_HU = 30.0
DENSE_NOISE_HU = 15.0
FRONT_MM = 5.0
DENSE_ABOVE_HU = -300
BOWEL_HU = -950.0
BOWEL_RADII_MM = (25.0, 30.0, 35.0)
BOWEL_WALL_MM = 4.0
TISSUE_ABOVE_HU = -200
PNEUMOTHORAX_HU = -990.0
PNEUMOTHORAX_SHARE = 0.25
AIR_NOISE_HU = 10.0
Spacing = tuple[float, float, float]


def made_dense(
    hu: np.ndarray, lungs: np.ndarray, spacing_mm: Spacing, where: str, share_percent: float
) -> np.ndarray:
    """A scan whose lungs are as dense as tissue in a part of them; int16 (z, y, x).

    Args:
        hu: int16 (z, y, x), upright.
        lungs: uint8, left and right lung.
        spacing_mm: voxel size (x, y, z).
        where: `BEHIND`, `BELOW` or `WHITE`.
        share_percent: of the lungs; of no matter for `WHITE`.
    """
    z, y = (
        np.arange(size)[shape] * step
        for size, step, shape in zip(
            hu.shape[:2],
            (spacing_mm[2], spacing_mm[1]),
            (np.s_[:, None, None], np.s_[None, :, None]),
            strict=True,
        )
    )
    inside = lungs > 0
    if where == WHITE:
        amount = (lungs == LEFT_LUNG_VALUE).astype(np.float32)
    else:
        field_mm = np.broadcast_to(y - 0.2 * z if where == BEHIND else 0.2 * y - z, hu.shape)
        front_mm = np.quantile(field_mm[inside], 1 - share_percent / 100)
        amount = inside / (1 + np.exp(np.clip((front_mm - field_mm) / FRONT_MM, -30, 30)))
    noise = np.random.default_rng(0).normal(0.0, DENSE_NOISE_HU, hu.shape)
    dense = np.maximum(hu, DENSE_HU + noise)
    return np.rint(hu + amount * (dense - hu)).astype(np.int16)


def with_bowel_gas(
    hu: np.ndarray, lungs: np.ndarray, spacing_mm: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    """A scan with gas in an ellipsoid below the left lung, as far as there is tissue, and the gas.

    Args:
        hu: int16 (z, y, x), upright.
        lungs: uint8, left and right lung.
        spacing_mm: voxel size (x, y, z).
    """
    left = lungs == LEFT_LUNG_VALUE
    y, x = (int(np.median(places)) for places in np.nonzero(left.any(axis=0)))
    under = int(np.flatnonzero(left[:, y, x])[0]) if left[:, y, x].any() else 0
    sizes_mm = np.array(spacing_mm[::-1])
    centre = (under - (BOWEL_RADII_MM[0] + BOWEL_WALL_MM) / sizes_mm[0], y, x)
    squares = [
        ((np.arange(size) - middle) * size_mm / radius_mm) ** 2
        for size, middle, size_mm, radius_mm in zip(
            hu.shape, centre, sizes_mm, BOWEL_RADII_MM, strict=True
        )
    ]
    gas = squares[0][:, None, None] + squares[1][:, None] + squares[2] <= 1
    gas &= (hu > TISSUE_ABOVE_HU) & ~dilate(lungs > 0, BOWEL_WALL_MM, spacing_mm)
    return _with_air(hu, gas, BOWEL_HU), gas


def with_pneumothorax(hu: np.ndarray, lungs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A scan with bare air for the front quarter of the left lung, and that air."""
    left = lungs == LEFT_LUNG_VALUE
    rows = np.nonzero(left)[1]
    front = int(np.ceil(np.quantile(rows, PNEUMOTHORAX_SHARE)))
    air = left & (np.arange(hu.shape[1]) < front)[:, None]
    return _with_air(hu, air, PNEUMOTHORAX_HU), air


def _with_air(hu: np.ndarray, where: np.ndarray, air_hu: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(air_hu, AIR_NOISE_HU, hu.shape)
    return np.where(where, np.rint(noise), hu).astype(np.int16)


def changed_scan(
    scan: KnownLungs, where: str, share_percent: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, true lungs and air that is no lung, of a scan changed as `CHANGES` say."""
    no_air = np.zeros(scan.hu.shape, bool)
    if where == BOWEL:
        hu, air = with_bowel_gas(scan.hu, scan.lungs, scan.spacing_mm)
        return hu, scan.lungs, air
    if where == PNEUMOTHORAX:
        hu, air = with_pneumothorax(scan.hu, scan.lungs)
        return hu, np.where(air, np.uint8(0), scan.lungs), air
    if where:
        dense = made_dense(scan.hu, scan.lungs, scan.spacing_mm, where, share_percent)
        return dense, scan.lungs, no_air
    return scan.hu, scan.lungs, no_air


def figures_of_scan(folder: Path, network: ChestNetwork) -> Iterator[dict[str, Any]]:
    """A row for every change of a scan."""
    scan = known_lungs(folder)
    spacing_mm, known = scan.spacing_mm, scan.known
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    for name, where, share in CHANGES:
        hu, truth, air = changed_scan(scan, where, share)
        found = find_body_and_air(hu, spacing_mm)
        lungs = found.lungs
        joined = join_lungs(hu, found, class_shares(hu, spacing_mm, network), spacing_mm)
        # As a result has them: sides are told from the lungs' shape, whoever drew them.
        sides = split_left_right(joined.lungs > 0, spacing_mm)
        dense = ndimage.uniform_filter(hu.astype(np.float32), 3) > DENSE_ABOVE_HU
        yield {
            "scan": folder.name,
            "change": name,
            "truth_ml": _ml(truth > 0, voxel_ml),
            "threshold_ml": _ml((lungs > 0) & known, voxel_ml),
            "joined_ml": _ml((joined.lungs > 0) & known, voxel_ml),
            "threshold_dice": round(dice((lungs > 0) & known, (truth > 0) & known), 4),
            "joined_dice": round(dice((joined.lungs > 0) & known, (truth > 0) & known), 4),
            "added_ml": _ml(joined.added & known, voxel_ml),
            "removed_ml": _ml((joined.removed > 0) & known, voxel_ml),
            "wrong_side_ml": _ml((sides > 0) & (truth > 0) & (sides != truth), voxel_ml),
            "dense_percent": _percent(dense, truth, known),
            "threshold_dense_percent": _percent(dense, lungs, known),
            "joined_dense_percent": _percent(dense, joined.lungs, known),
            "air_ml": _ml(air, voxel_ml),
            "threshold_air_ml": _ml(air & (lungs > 0), voxel_ml),
            "joined_air_ml": _ml(air & (joined.lungs > 0), voxel_ml),
        }


def _ml(mask: np.ndarray, voxel_ml: float) -> float:
    return round(float(mask.sum()) * voxel_ml, 1)


def _percent(dense: np.ndarray, lungs: np.ndarray, known: np.ndarray) -> float:
    inside = (lungs > 0) & known
    return round(100 * float((dense & inside).sum()) / max(1.0, float(inside.sum())), 2)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Judge the lung network on scans.")
    parser.add_argument("model", type=Path, help="model file in the run folder of `research.lungs`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="table to write (CSV)")
    add_scan_options(parser)
    arguments = parser.parse_args()
    network = load_lung_model(arguments.model)
    _, judged = chosen_scans(arguments)
    rows = []
    for folder in judged:
        for row in figures_of_scan(folder, network):
            print(*row.values(), flush=True)
            rows.append(row)
    write_rows(arguments.output, list(COLUMNS), rows)


if __name__ == "__main__":
    main()
