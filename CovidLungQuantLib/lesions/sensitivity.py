"""The lesions as another margin would have made them, from the probability kept; no network runs.

At the default code the result is the machine's label map. A lower code adds normal lung whose
probability is above it; a higher one takes lesion away whose probability is not above it. What the
network did not decide stays: lesion that a rule found (probability at most the default code), lung
that a rule took out of the lesions (probability above it), and the border of the lungs.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG, is_lesion, is_lung
from CovidLungQuantLib.lesions.kinds import tell_added_apart
from CovidLungQuantLib.lesions.probability import DECISION_CODE, HIGHEST_CODE

# A lesion at hand grows at most this far beyond its box, so that it does not flood the lung.
GROWTH_REACH_MM = 20.0

Box = tuple[slice, ...]


def apply_sensitivity(
    machine_labels: np.ndarray,
    labels: np.ndarray,
    probability: np.ndarray,
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    margin_code: int,
    region: np.ndarray | None = None,
    locked: np.ndarray | None = None,
) -> np.ndarray:
    """Return the label map that a margin gives.

    Args:
        machine_labels: uint8 (z, y, x), as the run made it at `DECISION_CODE`.
        labels: uint8 (z, y, x), as it is now; what no margin decides is taken from it.
        probability: uint8 (z, y, x), codes of `lesions.probability`.
        hu: int16 (z, y, x).
        spacing_mm: voxel size (x, y, z).
        margin_code: what is above it is lesion, 0…255.
        region: bool (z, y, x), one lesion, which alone is changed, with what grows from it as far
            as `GROWTH_REACH_MM`; None changes the whole scan.
        locked: bool (z, y, x), voxels that stay as they are in `labels`, such as those painted by
            hand.

    Returns:
        uint8 (z, y, x), a new array. The lower the code, the more is lesion; never less.

    Raises:
        BadInputError: arrays of different grids, or a code outside 0…255.
    """
    for array in (labels, probability, hu, region, locked):
        if array is not None and array.shape != machine_labels.shape:
            raise BadInputError(
                "The lesion probability does not lie on the voxels of the labels; segment again."
            )
    if not 0 <= margin_code <= HIGHEST_CODE:
        raise BadInputError(
            f"{margin_code} is no margin; give a whole number from 0 to {HIGHEST_CODE}."
        )
    if region is None:
        box = _box_of(is_lung(machine_labels))
    else:
        box = _wider(_box_of(region), spacing_mm, labels.shape)
        region = region[box]
    result = labels.astype(np.uint8)
    _apply(
        result[box],
        machine_labels[box],
        probability[box],
        hu[box],
        spacing_mm,
        margin_code,
        region,
        None if locked is None else locked[box],
    )
    return result


def _apply(
    labels: np.ndarray,
    machine: np.ndarray,
    codes: np.ndarray,
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    margin_code: int,
    region: np.ndarray | None,
    locked: np.ndarray | None,
) -> None:
    """Change `labels` in place; arguments as `apply_sensitivity`, all cut to a box."""
    was_lesion = is_lesion(machine)
    above_default = codes > DECISION_CODE
    wanted = codes > margin_code
    # The margin decides on the network's own lesions, and on lung it took for normal.
    free = np.where(was_lesion, above_default, is_lung(machine) & ~above_default & (codes > 0))
    # Lung drawn or taken away by hand is no question of sensitivity.
    free &= is_lung(labels)
    if locked is not None:
        free &= ~locked
    if region is not None:
        growing = free & wanted & ~region & (labels == NORMAL_LUNG.value)
        stays = region & np.where(free, wanted, is_lesion(labels))
        free &= region | _connected(growing, stays)
    added = free & wanted & ~was_lesion
    np.copyto(labels, np.where(wanted, machine, np.uint8(NORMAL_LUNG.value)), where=free)
    labels[added] = GGO.value
    tell_added_apart(labels, hu, spacing_mm, added)


def _connected(growing: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The part of `growing` that hangs together with `seeds` by faces; all bool."""
    if not growing.any():
        return growing
    numbered, count = ndimage.label(growing | seeds)
    touched = np.zeros(count + 1, bool)
    touched[numbered[seeds]] = True
    touched[0] = False
    return growing & touched[numbered]


def _box_of(mask: np.ndarray) -> Box:
    """Slices around the True voxels; as `bounding_box`, quicker for a large array."""
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return (slice(0, 0),) * 3
    depth = slice(int(planes[0]), int(planes[-1]) + 1)
    return (depth, *bounding_box(np.asarray(mask[depth].any(axis=0))))


def _wider(box: Box, spacing_mm: tuple[float, float, float], shape: tuple[int, ...]) -> Box:
    """A box, `GROWTH_REACH_MM` wider on every side as far as the array goes."""
    margins = [int(GROWTH_REACH_MM / step_mm) for step_mm in reversed(spacing_mm)]
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(box, margins, shape, strict=True)
    )
