"""Making lobes that were given part the lungs of a scan exactly. Arrays are (z, y, x)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.grids import CoarseGrid
from CovidLungQuantLib.anatomy.sides import each_lung
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import LOBES
from CovidLungQuantLib.progress import Poll, no_poll

Spacing = tuple[float, float, float]

# The share of a lung that the lobes must cover.
SMALLEST_OVERLAP_SHARE = 0.5
NEAREST_GRID_MM = 3.0


def fit_lobes_to_lungs(
    lobes: np.ndarray,
    lungs: np.ndarray,
    spacing_mm: Spacing,
    source: str = "The segmentation",
    poll: Poll = no_poll,
) -> np.ndarray:
    """Make recognised lobes part the lungs exactly: cut to the lungs, and each voxel of a lung that
    has no lobe takes the nearest one of that lung, to a few millimetres.

    Args:
        lobes: uint8 (z, y, x), values of `labels.LOBES`.
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, on the same grid.
        spacing_mm: voxel size (x, y, z).
        source: what to call the lobes in messages.
        poll: called between the steps; may raise `Cancelled`.

    Raises:
        BadInputError: a lung has lobes in less than half of its voxels.
    """
    fitted = np.zeros(lobes.shape, np.uint8)
    for lung_value, box, lung in each_lung(lungs):
        values = [lobe.value for lobe in LOBES if lobe.lung_value == lung_value]
        is_its_lobe = np.zeros(np.iinfo(np.uint8).max + 1, bool)
        is_its_lobe[values] = True
        theirs = np.where(lung & is_its_lobe[lobes[box]], lobes[box], 0)
        poll()
        missing = lung & (theirs == 0)
        if np.count_nonzero(missing) > (1 - SMALLEST_OVERLAP_SHARE) * np.count_nonzero(lung):
            raise BadInputError(
                f"{source} covers less than half of a lung of this scan with lobes; give the lobes "
                "of this scan."
            )
        if missing.any():
            theirs[missing] = _nearest_lobes(theirs, values, spacing_mm, poll)[missing]
        fitted[box] |= theirs.astype(np.uint8)
    return fitted


def _nearest_lobes(
    lobes: np.ndarray, values: list[int], spacing_mm: Spacing, poll: Poll
) -> np.ndarray:
    """The nearest lobe of every voxel, to the block: distances on the native grid are slow."""
    grid = CoarseGrid.of(lobes.shape, spacing_mm, NEAREST_GRID_MM, NEAREST_GRID_MM)
    shares = np.stack([grid.reduce(lobes == value) for value in values])
    coarse = np.array(values, np.uint8)[shares.argmax(axis=0)]
    poll()
    nearest = ndimage.distance_transform_edt(
        shares.max(axis=0) == 0,
        sampling=grid.spacing_mm[::-1],
        return_distances=False,
        return_indices=True,
    )
    poll()
    return grid.enlarge(coarse[tuple(nearest)])
