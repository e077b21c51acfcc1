"""Taking vessels and airways out of lesions where they are neither.

The rule: a voxel of vessel, of airway lumen or of airway wall is lesion only where at least a
quarter of the lung around it, vessels and airways not counted, is lesion. So a vessel that runs
through a lesion belongs to it, as in every reader's contours and in the volumes of Grodecki 2021
and Bartoli 2022 (GGO does not hide the vessels in it, and consolidation hides them altogether),
while a large vessel or bronchus in normal lung, marked for its density, is normal lung. A quarter
and not half, as lesions are drawn too small rather than too large where they end at vessels: with
half, as much of what readers call lesion goes as of what they do not. What a lesion loses remains
lung: the lungs are partitioned as before.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box, dilate
from CovidLungQuantLib.labels import NORMAL_LUNG, is_lesion, is_lung

Spacing = tuple[float, float, float]

# The method of finding airways and vessels, as files name it.
# What to do about airways and vessels.
NO_AIRWAYS_AND_VESSELS = "none"
FIND_AIRWAYS_AND_VESSELS = "find"
REMOVE_AIRWAYS_AND_VESSELS = "remove"
AIRWAYS_AND_VESSELS_CHOICES = (
    NO_AIRWAYS_AND_VESSELS,
    FIND_AIRWAYS_AND_VESSELS,
    REMOVE_AIRWAYS_AND_VESSELS,
)
METHOD_NAME = "airway basins and tubeness"
AIRWAY_WALL_MM = 1.5
# Standard deviation of the neighbourhood that is looked at.
NEIGHBOURHOOD_MM = 3.0
# Where less of the neighbourhood is lesion, a tube in it is none.
LEAST_LESION_AROUND = 0.25
# Less than this share of the neighbourhood's weight says nothing, inside a very large vessel.
LEAST_NEIGHBOURS = 0.01
# A lesion that loses more than this was the rim of a vessel; the rest of it goes too.
MOSTLY_AIRWAY_OR_VESSEL = 0.5


def airways_and_vessels_in_lungs(
    lungs: np.ndarray, airways: np.ndarray, vessels: np.ndarray, spacing_mm: Spacing
) -> np.ndarray:
    """Vessels, lumen and walls of the airways inside the lungs, bool (z, y, x).

    Args:
        lungs: bool (z, y, x).
        airways: bool (z, y, x), lumen.
        vessels: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).
    """
    return lungs & (vessels | dilate(airways, AIRWAY_WALL_MM, spacing_mm))


def remove_airways_and_vessels(
    labels: np.ndarray,
    airways: np.ndarray,
    vessels: np.ndarray,
    spacing_mm: Spacing,
    inside_lesions: bool = False,
) -> np.ndarray:
    """Make vessels and airways in normal lung normal lung; see the top of this file.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`.
        airways: bool (z, y, x), lumen.
        vessels: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).
        inside_lesions: take out those inside lesions too.

    Returns:
        uint8 (z, y, x), with the same lungs.
    """
    removed = labels.copy()
    everywhere = is_lesion(labels)
    if not everywhere.any():
        return removed
    reach = tuple(int(4 * NEIGHBOURHOOD_MM / size) + 1 for size in reversed(spacing_mm))
    box = bounding_box(everywhere, reach)
    lesion = everywhere[box]
    lungs = is_lung(labels[box])
    airways_and_vessels = airways_and_vessels_in_lungs(
        lungs, airways[box], vessels[box], spacing_mm
    )
    gone = lesion & airways_and_vessels
    if not inside_lesions:
        sigma = [NEIGHBOURHOOD_MM / size for size in reversed(spacing_mm)]
        around = ndimage.gaussian_filter((lungs & ~airways_and_vessels).astype(np.float32), sigma)
        ill = ndimage.gaussian_filter((lesion & ~airways_and_vessels).astype(np.float32), sigma)
        gone &= (around > LEAST_NEIGHBOURS) & (ill < LEAST_LESION_AROUND * around)
        gone |= _rims(lesion, gone)
    removed[box][gone] = NORMAL_LUNG.value
    return removed


def _rims(lesion: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """Lesions that are `gone` for the most part, whole."""
    components, count = ndimage.label(lesion, np.ones((3, 3, 3)))
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    lost = np.bincount(components[gone], minlength=count + 1)
    whole = lost > MOSTLY_AIRWAY_OR_VESSEL * sizes
    whole[0] = False
    return whole[components]
