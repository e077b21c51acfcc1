"""How far two networks' label maps of one scan lie apart; neither is taken for the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.labels import is_lesion
from CovidLungQuantLib.measures.overlap import dice
from CovidLungQuantLib.measures.structures import DENSE, GROUND_GLASS, LESION, structure_mask


@dataclass(frozen=True)
class Disagreement:
    """Two label maps of one scan side by side; Dice is NaN where neither marks the structure.

    Attributes:
        lesion_dice: of GGO and high opacity together.
        ggo_dice: of GGO.
        high_opacity_dice: of high opacity.
        first_lesion_ml: lesion in the first label map.
        second_lesion_ml: lesion in the second.
        either_ml: what is lesion in one of them or in both.
        disputed_ml: what of that is not of the same kind in both.
        most_disputed_slice: the axial slice with most of it, counted upwards from 1; None where
            nothing is disputed.
    """

    lesion_dice: float
    ggo_dice: float
    high_opacity_dice: float
    first_lesion_ml: float
    second_lesion_ml: float
    either_ml: float
    disputed_ml: float
    most_disputed_slice: int | None

    @property
    def disputed_percent(self) -> float:
        """`disputed_ml` of `either_ml`; NaN where neither has lesion."""
        return 100.0 * self.disputed_ml / self.either_ml if self.either_ml > 0 else math.nan


def disagreement_of(first: np.ndarray, second: np.ndarray, voxel_volume_ml: float) -> Disagreement:
    """Compare two label maps; lesion is lung by definition, so all of it lies inside the lungs.

    Args:
        first: uint8 (z, y, x), upright; values as in `labels.py`.
        second: likewise, of the same scan.
        voxel_volume_ml: volume of one voxel.
    """
    either = is_lesion(first) | is_lesion(second)
    disputed = either & (first != second)
    by_slice = np.count_nonzero(disputed, axis=(1, 2))

    def volume_ml(mask: np.ndarray) -> float:
        return int(np.count_nonzero(mask)) * voxel_volume_ml

    def overlap(structure: str) -> float:
        return _mutual_dice(structure_mask(first, structure), structure_mask(second, structure))

    return Disagreement(
        lesion_dice=overlap(LESION),
        ggo_dice=overlap(GROUND_GLASS.name),
        high_opacity_dice=overlap(DENSE.name),
        first_lesion_ml=volume_ml(is_lesion(first)),
        second_lesion_ml=volume_ml(is_lesion(second)),
        either_ml=volume_ml(either),
        disputed_ml=volume_ml(disputed),
        most_disputed_slice=int(by_slice.argmax()) + 1 if by_slice.any() else None,
    )


def _mutual_dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice without a reference: 0 where one of them is empty, NaN where both are."""
    return dice(first, second) if second.any() else dice(second, first)
