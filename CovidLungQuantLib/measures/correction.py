"""What a person changed in a label map: voxels, volumes and overlap of each structure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.measures.overlap import dice
from CovidLungQuantLib.measures.structures import (
    DENSE,
    GROUND_GLASS,
    LESION,
    STRUCTURES,
    structure_mask,
)


@dataclass(frozen=True)
class StructureCorrection:
    """One structure before and after; `dice` is NaN where the corrected label map has none."""

    structure: str
    machine_ml: float
    corrected_ml: float
    dice: float

    @property
    def shared_ml(self) -> float:
        """What is of the structure in both label maps."""
        overlap = 0.0 if math.isnan(self.dice) else self.dice
        return overlap * (self.machine_ml + self.corrected_ml) / 2.0


@dataclass(frozen=True)
class Correction:
    """How two label maps of one scan differ.

    Attributes:
        changed_voxels: with another label than before.
        changed_ml: their volume.
        structures: one for each of `measures.structures.STRUCTURES`.
    """

    changed_voxels: int
    changed_ml: float
    structures: tuple[StructureCorrection, ...]

    def of(self, structure: str) -> StructureCorrection:
        """One structure by its name."""
        return self.structures[STRUCTURES.index(structure)]

    @property
    def lesion_either_ml(self) -> float:
        """What is lesion in one label map or in both."""
        lesion = self.of(LESION)
        return lesion.machine_ml + lesion.corrected_ml - lesion.shared_ml

    @property
    def lesion_changed_ml(self) -> float:
        """What of `lesion_either_ml` is not of the same kind (GGO, high opacity) in both."""
        same = self.of(GROUND_GLASS.name).shared_ml + self.of(DENSE.name).shared_ml
        # Sums of rounded numbers: nothing changed may come out a trifle below nothing.
        return max(0.0, self.lesion_either_ml - same)

    @property
    def lesion_changed_percent(self) -> float:
        """`lesion_changed_ml` of `lesion_either_ml`; NaN where neither has lesion."""
        either_ml = self.lesion_either_ml
        return 100.0 * self.lesion_changed_ml / either_ml if either_ml > 0 else math.nan


def correction_of(
    machine_labels: np.ndarray, labels: np.ndarray, voxel_volume_ml: float
) -> Correction:
    """Compare a corrected label map with the machine's.

    Args:
        machine_labels: (z, y, x); values as in `labels.py`.
        labels: the corrected label map on the same grid.
        voxel_volume_ml: volume of one voxel.

    Raises:
        BadInputError: the machine's label map does not lie on the grid of the corrected one, or
            holds values that are no label.
    """
    check_labels(machine_labels, labels.shape)
    changed = int(np.count_nonzero(machine_labels != labels))
    structures = []
    for structure in STRUCTURES:
        before = structure_mask(machine_labels, structure)
        after = structure_mask(labels, structure)
        structures.append(
            StructureCorrection(
                structure,
                int(np.count_nonzero(before)) * voxel_volume_ml,
                int(np.count_nonzero(after)) * voxel_volume_ml,
                dice(before, after),
            )
        )
    return Correction(changed, changed * voxel_volume_ml, tuple(structures))
