"""`python -m research.lung_pictures MODEL SCAN -o PICTURE.png`: what joining does, to look at.

One scan made dense, with gas in the bowel, with a pneumothorax and in thick slices: a coronal and
an axial plane each, with the lungs by their air and the joined ones. Needs matplotlib. The picture
shows the scan: only of one that may be passed on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from CovidLungQuantLib.anatomy.lung_agreement import join_lungs
from CovidLungQuantLib.anatomy.lung_network import ChestNetwork, class_shares
from CovidLungQuantLib.anatomy.lung_weights import load_lung_model
from CovidLungQuantLib.anatomy.threshold_lungs import find_body_and_air
from CovidLungQuantLib.display.pictures import window_grey
from CovidLungQuantLib.labels import AIRLESS_LUNG, LEFT_LUNG_VALUE, LEFT_OUT, RIGHT_LUNG_VALUE
from research.lung_bank import KnownLungs, known_lungs
from research.lung_figures import BEHIND, BELOW, BOWEL, PNEUMOTHORAX, WHITE, changed_scan

SHOWN = (
    (f"45 % dense {BEHIND}", BEHIND, 45),
    (f"45 % dense {BELOW}", BELOW, 45),
    (WHITE, WHITE, 0),
    (BOWEL, BOWEL, 0),
    (PNEUMOTHORAX, PNEUMOTHORAX, 0),
    ("slices of 10 mm", "", 0),
)
THICK_MM = 10.0
# Wide enough to show lung and tissue in one picture.
LEVEL_HU, WIDTH_HU = -250.0, 1500.0
LUNG_COLORS = {RIGHT_LUNG_VALUE: (0.25, 0.75, 0.95), LEFT_LUNG_VALUE: (0.55, 0.85, 0.35)}
OPACITY = 0.45

Color = tuple[float, float, float]


def thick_slices(scan: KnownLungs) -> KnownLungs:
    """A scan averaged to slices of about 10 mm; a voxel is of the lung that fills most of it."""
    group = max(1, round(THICK_MM / scan.spacing_mm[2]))
    count = len(scan.hu) // group

    def grouped(array: np.ndarray) -> np.ndarray:
        return array[: count * group].reshape(count, group, *array.shape[1:])

    lungs = np.zeros((count, *scan.hu.shape[1:]), np.uint8)
    for value in LUNG_COLORS:
        lungs[grouped(scan.lungs == value).mean(axis=1) > 0.5] = value
    return replace(
        scan,
        hu=np.rint(grouped(scan.hu).mean(axis=1)).astype(np.int16),
        lungs=lungs,
        known=np.asarray(grouped(scan.known).all(axis=1)),
        spacing_mm=(*scan.spacing_mm[:2], scan.spacing_mm[2] * group),
    )


def painted(hu: np.ndarray, masks: list[tuple[np.ndarray, Color]]) -> np.ndarray:
    """A plane (row, column) as uint8 colours, with masks laid over it."""
    grey = window_grey(hu, LEVEL_HU, WIDTH_HU)
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for mask, color in masks:
        picture[mask] = (1 - OPACITY) * picture[mask] + OPACITY * 255 * np.array(color)
    return picture.astype(np.uint8)


def planes(hu: np.ndarray, scan: KnownLungs, network: ChestNetwork) -> list[np.ndarray]:
    """Coronal and axial plane through most lung: by air, then joined; heads up."""
    found = find_body_and_air(hu, scan.spacing_mm)
    joined = join_lungs(hu, found, class_shares(hu, scan.spacing_mm, network), scan.spacing_mm)
    decided = joined.decisions
    places = scan.lungs > 0 if decided is None else decided > 0
    z, y = (int(np.count_nonzero(places, axis=axes).argmax()) for axes in ((1, 2), (0, 2)))
    pictures = []
    for plane in (np.s_[::-1, y], np.s_[z]):
        by_air = [(found.lungs[plane] == value, color) for value, color in LUNG_COLORS.items()]
        kept = joined.lungs[plane] * ~joined.added[plane]
        both = [(kept == value, color) for value, color in LUNG_COLORS.items()]
        both.append((joined.added[plane], AIRLESS_LUNG.color))
        both.append((joined.removed[plane] > 0, LEFT_OUT.color))
        pictures += [painted(hu[plane], masks) for masks in (by_air, both)]
    return pictures


def draw(folder: Path, network: ChestNetwork, output: Path) -> None:
    """Write the picture of a scan."""
    from matplotlib.figure import Figure

    scan = known_lungs(folder)
    figure = Figure(figsize=(13, 2.9 * len(SHOWN)), layout="constrained")
    rows = figure.subplots(len(SHOWN), 4, squeeze=False)
    for row, (title, where, share) in zip(rows, SHOWN, strict=True):
        shown = scan if where else thick_slices(scan)
        hu, _, _ = changed_scan(shown, where, share)
        x_mm, y_mm, z_mm = shown.spacing_mm
        for place, picture, aspect in zip(
            row, planes(hu, shown, network), (z_mm / x_mm,) * 2 + (y_mm / x_mm,) * 2, strict=True
        ):
            place.imshow(picture, aspect=aspect)
            place.axis("off")
        for place, words in zip(row, (f"{title}: by air", "joined") * 2, strict=True):
            place.set_title(words, fontsize=11)
    figure.savefig(output, dpi=65)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Draw what the lung network changes.")
    parser.add_argument("model", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG to write")
    arguments = parser.parse_args()
    draw(arguments.scan, load_lung_model(arguments.model), arguments.output)


if __name__ == "__main__":
    main()
