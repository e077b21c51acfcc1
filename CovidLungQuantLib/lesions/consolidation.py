"""Consolidation that the network takes for tissue outside the lungs.

A lung part as dense as the chest wall looks, slice by slice, like chest wall; that it is lung is
known from the lungs found beforehand. Dense parts of the lungs that border on lesions found by the
network are therefore lesion too. Large vessels are as dense, but do not border on lesions.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.progress import Poll, no_poll

# A part is dense where the mean over a square of DENSITY_SQUARE_MM is above DENSE_HU; parts
# narrower than twice NARROW_MM (vessels, the lung's border) do not count.
DENSE_HU = -300.0
DENSITY_SQUARE_MM = 3.0
NARROW_MM = 3.0
# Share of a part's border that must lie within NEAR_MM of a lesion.
BORDERING_SHARE = 0.2
NEAR_MM = 2.5
# Denser than any tissue that matters here; contrast medium and metal should not weigh more.
HIGHEST_HU = 200


def dense_lung_beside_lesions(
    hu: np.ndarray,
    lungs: np.ndarray,
    lesion: np.ndarray,
    spacing_mm: tuple[float, float, float],
    poll: Poll = no_poll,
) -> np.ndarray:
    """Dense parts of the lungs that border on lesions.

    Args:
        hu: int16 (z, y, x).
        lungs: bool (z, y, x), found without the network.
        lesion: bool (z, y, x), found by the network.
        spacing_mm: voxel size (x, y, z).
        poll: called between slices and steps; may raise `Cancelled`.

    Returns:
        bool (z, y, x), without voxels of `lesion`.
    """
    found = np.zeros(hu.shape, bool)
    if not (lungs.any() and lesion.any()):
        return found
    box = bounding_box(lungs)
    dense = _dense_parts(hu[box], lungs[box] & ~lesion[box], spacing_mm, poll)
    parts, count = ndimage.label(dense)
    poll()
    if count == 0:
        return found
    near, border = _near_and_border(lesion[box], dense, spacing_mm, poll)
    border_size = np.bincount(parts[border], minlength=count + 1)
    bordering = np.bincount(parts[border & near], minlength=count + 1)
    poll()
    kept = bordering >= np.maximum(1.0, BORDERING_SHARE * border_size)
    kept[0] = False
    found[box] = kept[parts]
    return found


def _near_and_border(
    lesion: np.ndarray, dense: np.ndarray, spacing_mm: tuple[float, float, float], poll: Poll
) -> tuple[np.ndarray, np.ndarray]:
    """What is near a lesion, and the border of the dense parts; slice by slice."""
    disc = _disc(NEAR_MM, spacing_mm)[0]
    near, border = np.zeros_like(lesion), np.zeros_like(dense)
    for index in np.flatnonzero(dense.any(axis=(1, 2))):
        poll()
        near[index] = ndimage.binary_dilation(lesion[index], disc)
        border[index] = dense[index] & ~ndimage.binary_erosion(dense[index], np.ones((3, 3), bool))
    return near, border


def _dense_parts(
    hu: np.ndarray, where: np.ndarray, spacing_mm: tuple[float, float, float], poll: Poll
) -> np.ndarray:
    """Dense parts inside `where`, without narrow ones; slice by slice."""
    size = [_odd(DENSITY_SQUARE_MM / spacing) for spacing in (spacing_mm[1], spacing_mm[0])]
    disc = _disc(NARROW_MM, spacing_mm)[0]
    dense = np.zeros(hu.shape, bool)
    for index in np.flatnonzero(where.any(axis=(1, 2))):
        poll()
        clipped = np.minimum(hu[index], HIGHEST_HU).astype(np.float32)
        candidate = (ndimage.uniform_filter(clipped, size) > DENSE_HU) & where[index]
        if candidate.any():
            dense[index] = ndimage.binary_opening(candidate, disc)
    return dense


def _odd(length: float) -> int:
    """The odd number nearest to `length`: an even filter would move the picture."""
    return 2 * int(length / 2) + 1


def _disc(radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Disc in the slice plane, bool (1, y, x)."""
    rows, columns = (int(radius_mm / spacing) for spacing in (spacing_mm[1], spacing_mm[0]))
    y, x = np.ogrid[-rows : rows + 1, -columns : columns + 1]
    return ((y * spacing_mm[1]) ** 2 + (x * spacing_mm[0]) ** 2 <= radius_mm**2)[None]
