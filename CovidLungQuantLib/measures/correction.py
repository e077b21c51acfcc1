"""What a person changed in a label map: voxels, volumes and overlap of each structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.measures.overlap import dice
from CovidLungQuantLib.measures.structures import STRUCTURES, structure_mask


@dataclass(frozen=True)
class StructureCorrection:
    """One structure before and after; `dice` is NaN where the corrected label map has none."""

    structure: str
    machine_ml: float
    corrected_ml: float
    dice: float


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
