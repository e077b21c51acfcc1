"""The lesions one by one, largest first: connected islands of GGO and high opacity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.labels import BACKGROUND_VALUE, LOBES, Lobe, is_lesion

# A ball of 6 mm; what is smaller is as likely noise as lesion.
SMALLEST_ISLAND_ML = 0.1
# Voxels that touch by a face, an edge or a corner.
_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class LesionIsland:
    """One connected lesion.

    Attributes:
        volume_ml: its volume.
        place: a voxel (z, y, x) of it to look at: in the slice along the first axis where it is
            largest, nearest to its middle there.
        box: slices (z, y, x) of the label map that just hold it.
        lobe: the lobe that holds most of it; None where lobes are not known.
    """

    volume_ml: float
    place: tuple[int, int, int]
    box: tuple[slice, slice, slice]
    lobe: Lobe | None


def lesion_islands(
    labels: np.ndarray, voxel_volume_ml: float, lobes: np.ndarray | None = None
) -> tuple[LesionIsland, ...]:
    """Return the islands of lesion of at least `SMALLEST_ISLAND_ML`, largest first.

    Args:
        labels: label map (z, y, x); values as in `labels.py`.
        voxel_volume_ml: volume of one voxel.
        lobes: values of `labels.LOBES` on the same grid; None where they are not known.
    """
    lesion = is_lesion(labels)
    if not lesion.any():
        return ()
    box = bounding_box(lesion, (0, 0, 0))
    start = np.array([part.start for part in box])
    numbered, _count = ndimage.label(lesion[box], structure=_NEIGHBOURS)
    volumes_ml = np.bincount(numbered.ravel())[1:] * voxel_volume_ml
    boxes = ndimage.find_objects(numbered)
    islands = []
    for index in np.argsort(-volumes_ml, kind="stable"):
        if volumes_ml[index] < SMALLEST_ISLAND_ML:
            break
        around = boxes[index]
        mask = numbered[around] == index + 1
        corner = start + [part.start for part in around]
        z, y, x = corner + _place_in(mask)
        z_slice, y_slice, x_slice = (
            slice(int(first), int(first) + size)
            for first, size in zip(corner, mask.shape, strict=True)
        )
        islands.append(
            LesionIsland(
                volume_ml=float(volumes_ml[index]),
                place=(int(z), int(y), int(x)),
                box=(z_slice, y_slice, x_slice),
                lobe=None if lobes is None else _main_lobe(lobes[box][around][mask]),
            )
        )
    return tuple(islands)


def _place_in(mask: np.ndarray) -> np.ndarray:
    """Index (z, y, x) of the voxel to look at."""
    z = int(mask.sum(axis=(1, 2)).argmax())
    voxels = np.argwhere(mask[z])
    nearest = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()
    return np.array([z, *voxels[nearest]])


def _main_lobe(values: np.ndarray) -> Lobe | None:
    counts = np.bincount(values[values != BACKGROUND_VALUE], minlength=1)
    if not counts.any():
        return None
    value = int(counts.argmax())
    return next((lobe for lobe in LOBES if lobe.value == value), None)
