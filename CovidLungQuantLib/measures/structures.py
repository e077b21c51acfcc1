"""What is measured in a region: the lung, its parts, and their lesions together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    LESION_LABELS,
    NORMAL_LUNG,
    UNKNOWN_LUNG_VALUE,
    Code,
    Label,
    is_lesion,
    is_lung,
)
from CovidLungQuantLib.labels import LESION as LESION_FINDING
from CovidLungQuantLib.labels import LUNG as LUNG_FINDING


@dataclass(frozen=True)
class Structure:
    """What a figure is of.

    Attributes:
        name: in full.
        finding: its code in DICOM.
        label: its label, which gives the colour; None for what several labels make up.
        narrow_name: where there is hardly room.
        density_name: where its density is told beside that of its parts; empty if `name` does.
    """

    name: str
    finding: Code
    label: Label | None
    narrow_name: str
    density_name: str = ""


ALL_LUNG = Structure("Lung", LUNG_FINDING, None, "", density_name="Whole lung")
NORMAL = Structure(NORMAL_LUNG.name, NORMAL_LUNG.type, NORMAL_LUNG, "Normal")
GROUND_GLASS = Structure(GGO.name, GGO.type, GGO, "GGO")
DENSE = Structure(HIGH_OPACITY.name, HIGH_OPACITY.type, HIGH_OPACITY, "High")
ALL_LESION = Structure("Lesion", LESION_FINDING, None, "All")

# From the lung to its parts and their sum; with the lesions first, as changes and DICOM have it.
LUNG_FIRST = (ALL_LUNG, NORMAL, GROUND_GLASS, DENSE, ALL_LESION)
LESION_FIRST = (ALL_LUNG, ALL_LESION, NORMAL, GROUND_GLASS, DENSE)

# By name, where label maps are compared.
LUNG = ALL_LUNG.name
LESION = ALL_LESION.name
STRUCTURES = (LUNG, NORMAL.name, LESION, GROUND_GLASS.name, DENSE.name)


def structure_mask(labels: np.ndarray, structure: str) -> np.ndarray:
    """Voxels that surely are of a structure, bool; works for results and references."""
    if structure == LUNG:
        return is_lung(labels) & (labels != UNKNOWN_LUNG_VALUE)
    if structure == LESION:
        return is_lesion(labels) & (labels != UNKNOWN_LUNG_VALUE)
    value = {label.name: label.value for label in (NORMAL_LUNG, *LESION_LABELS)}[structure]
    return labels == value
