"""A small picture of a result: the axial slice with most lesion, with what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from CovidLungQuantLib.display.pictures import (
    choose_axial_slices,
    encode_color_png,
    window_grey,
)
from CovidLungQuantLib.display.upright import UprightScan
from CovidLungQuantLib.labels import LABELS
from CovidLungQuantLib.quantification import Quantification

LONGEST_SIDE = 200


def write_thumbnail(path: Path, quantification: Quantification) -> None:
    """Write the picture as PNG; raises OSError."""
    path.write_bytes(encode_color_png(thumbnail(quantification)))


def thumbnail(quantification: Quantification) -> np.ndarray:
    """Return the picture, uint8 (row, column, red-green-blue), at most `LONGEST_SIDE` long."""
    scan = UprightScan.of(quantification)
    chosen = choose_axial_slices(scan.labels, 1)
    z = chosen[0] if chosen else scan.labels.shape[0] // 2
    rows, columns = _pixels(scan.axial(scan.hu, z).shape, scan.axial_pixel_mm)
    grey = window_grey(scan.axial(scan.hu, z)[np.ix_(rows, columns)])
    labels = scan.axial(scan.labels, z)[np.ix_(rows, columns)]
    picture = np.repeat(grey[..., None].astype(float), 3, axis=2)
    for label in LABELS:
        here = labels == label.value
        color = 255 * np.asarray(label.color, float)
        picture[here] += label.opacity * (color - picture[here])
    return np.rint(picture).astype(np.uint8)


def _pixels(shape: tuple[int, ...], pixel_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Which rows and columns to show, so that a millimetre is as long either way."""
    height_mm, width_mm = shape[0] * pixel_mm[1], shape[1] * pixel_mm[0]
    step_mm = max(*pixel_mm, height_mm / LONGEST_SIDE, width_mm / LONGEST_SIDE)
    rows = np.arange(step_mm / 2, height_mm, step_mm) / pixel_mm[1]
    columns = np.arange(step_mm / 2, width_mm, step_mm) / pixel_mm[0]
    return rows.astype(int), columns.astype(int)
