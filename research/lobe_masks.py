"""Lobe masks drawn by experts: reading them, and how well a division agrees with one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import orient_like
from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.labels import (
    LEFT_LUNG_VALUE,
    LOBES,
    RIGHT_LUNG_VALUE,
    RIGHT_MIDDLE_LOBE,
    RIGHT_UPPER_LOBE,
)

Spacing = tuple[float, float, float]

LUNG_VALUES = (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE)


@dataclass(frozen=True, eq=False)
class LobeMask:
    """One mask, upright: lobes uint8 (z, y, x) and voxel size (x, y, z)."""

    name: str
    lobes: np.ndarray
    spacing_mm: Spacing


def read_lobe_masks(dataset: Path) -> list[LobeMask]:
    """All masks of a folder in the order of their names.

    Raises:
        BadInputError: there are fewer than two.
    """
    files = sorted(Path(dataset).glob("*.nrrd"))
    if len(files) < 2:
        raise BadInputError(f"{dataset} holds fewer than two .nrrd lobe masks; check the folder.")
    return [_read_lobe_mask(file) for file in files]


def _read_lobe_mask(file: Path) -> LobeMask:
    stored = read_label_file(file)
    array = stored.layers[..., 0]
    orientation = orientation_of(stored.geometry)
    lobes = np.where(np.isin(array, [lobe.value for lobe in LOBES]), array, 0).astype(np.uint8)
    upright = orient_like(lobes, orientation)
    return LobeMask(file.stem, upright, oriented_geometry(stored.geometry, orientation).spacing_mm)


def lungs_of(lobes: np.ndarray) -> np.ndarray:
    """Lung label map of a lobe label map."""
    lungs = np.zeros_like(lobes)
    for lobe in LOBES:
        lungs[lobes == lobe.value] = lobe.lung_value
    return lungs


def middle_lobe_in_front(lobes: np.ndarray) -> bool:
    """Whether the middle lobe's centre lies before the upper lobe's, as in every right lung.

    Args:
        lobes: uint8 (z, y, x), upright, values of `LOBES`; both lobes are there.
    """
    middle, upper = (
        np.nonzero(lobes == lobe.value)[1].mean() for lobe in (RIGHT_MIDDLE_LOBE, RIGHT_UPPER_LOBE)
    )
    return bool(middle < upper)


def lobe_dice(found: np.ndarray, true: np.ndarray) -> list[float]:
    """Dice of each lobe, in the order of `LOBES`."""
    return [
        2.0
        * np.count_nonzero((found == lobe.value) & (true == lobe.value))
        / (np.count_nonzero(found == lobe.value) + np.count_nonzero(true == lobe.value))
        for lobe in LOBES
    ]
