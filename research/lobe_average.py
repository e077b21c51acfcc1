"""`python -m research.lobe_average DATASET`: what the lobe network has to beat.

A lung is divided as the other masks are on average, each in its own lung's bounding box. Same
masks, folds and Dice as `research.lobes`, nothing learned.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.labels import LOBES
from research.lobe_masks import LUNG_VALUES, lobe_dice, lungs_of, read_lobe_masks

# Cells of the box on which the masks are averaged (z, y, x).
GRID = (64, 48, 40)


def average_dice(lobe_masks: Sequence[np.ndarray], folds: int) -> np.ndarray:
    """Dice of every mask divided as the average of the other folds' masks.

    Args:
        lobe_masks: uint8 (z, y, x) each, values of `labels.LOBES`.
        folds: mask i is in fold i modulo `folds`, as in `research.lobes`.

    Returns:
        (mask, lobe in the order of `LOBES`).
    """
    found = [np.zeros_like(lobes) for lobes in lobe_masks]
    for lung_value in LUNG_VALUES:
        values = np.array([lobe.value for lobe in LOBES if lobe.lung_value == lung_value])
        boxes = [bounding_box(lungs_of(lobes) == lung_value) for lobes in lobe_masks]
        shares = [
            np.stack([_resampled(lobes[box] == value, GRID) for value in values])
            for lobes, box in zip(lobe_masks, boxes, strict=True)
        ]
        for fold in range(folds):
            others = [share for index, share in enumerate(shares) if index % folds != fold]
            average = np.sum(others, axis=0)
            for index in range(fold, len(lobe_masks), folds):
                inside = lungs_of(lobe_masks[index])[boxes[index]] == lung_value
                likely = np.stack([_resampled(share, inside.shape) for share in average])
                found[index][boxes[index]][inside] = values[likely.argmax(axis=0)][inside]
    return np.array([lobe_dice(*pair) for pair in zip(found, lobe_masks, strict=True)])


def _resampled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`values` (z, y, x) on another grid over the same box, linearly."""
    zoom = [new / old for new, old in zip(shape, values.shape, strict=True)]
    return ndimage.zoom(values.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Divide lungs as other lungs are on average.")
    parser.add_argument("dataset", type=Path, help="folder of .nrrd lobe masks")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    masks = read_lobe_masks(arguments.dataset)
    dice = average_dice([mask.lobes for mask in masks], arguments.folds).mean(axis=0)
    for lobe, value in zip(LOBES, dice, strict=True):
        print(f"{lobe.short_name} {value:.3f}")
    print(f"mean {dice.mean():.3f}")


if __name__ == "__main__":
    main()
