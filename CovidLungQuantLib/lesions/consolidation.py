"""Consolidation that the network takes for tissue outside the lungs.

A lung part as dense as the chest wall looks, slice by slice, like chest wall; that it is lung is
known from the lungs found beforehand. Dense parts of the lungs that border on lesions found by the
network are therefore lesion too. Large vessels are as dense, but do not border on lesions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.lesions.masks import (
    box_of,
    connected_parts,
    dilated,
    disc,
    eroded,
    has_any,
    opened,
    slabs,
    sums_in_rectangles,
)
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
    hu: Tensor,
    lungs: Tensor,
    lesion: Tensor,
    spacing_mm: tuple[float, float, float],
    poll: Poll = no_poll,
) -> Tensor:
    """Dense parts of the lungs that border on lesions.

    Args:
        hu: int16 (z, y, x).
        lungs: bool (z, y, x), found without the network.
        lesion: bool (z, y, x), found by the network.
        spacing_mm: voxel size (x, y, z).
        poll: called between slices and steps; may raise `Cancelled`.

    Returns:
        bool (z, y, x) on the same device, without voxels of `lesion`.
    """
    box = box_of(lungs)
    if box is None or not has_any(lesion):
        return torch.zeros_like(lungs)
    poll()
    lesion = lesion[box]
    dense = _dense_parts(hu[box], lungs[box], lesion, spacing_mm, poll)
    inner = box_of(dense)
    if inner is None:
        return torch.zeros_like(lungs)
    dense, lesion = dense[inner].contiguous(), lesion[inner]
    voxels, part = connected_parts(dense)
    poll()
    masks = _near_and_border(lesion, dense, spacing_mm, poll)
    near, border = (mask.flatten()[voxels] for mask in masks)
    border_size = torch.bincount(part[border], minlength=len(voxels))
    bordering = torch.bincount(part[border & near], minlength=len(voxels))
    poll()
    kept = bordering >= (BORDERING_SHARE * border_size.double()).clamp(min=1.0)
    dense.view(-1)[voxels] = kept[part]
    found = torch.zeros_like(lungs)
    found[box][inner] = dense
    return found


def _near_and_border(
    lesion: Tensor, dense: Tensor, spacing_mm: tuple[float, float, float], poll: Poll
) -> tuple[Tensor, Tensor]:
    """What is near a lesion, and the border of the dense parts, where there are such parts."""
    around = disc(NEAR_MM, spacing_mm[1], spacing_mm[0])
    square = np.ones((3, 3), bool)
    near, border = torch.zeros_like(lesion), torch.zeros_like(dense)
    for slab in slabs(dense):
        if has_any(dense[slab]):
            poll()
            near[slab] = dilated(lesion[slab], around)
            border[slab] = dense[slab] & ~eroded(dense[slab], square)
    return near, border


def _dense_parts(
    hu: Tensor,
    lungs: Tensor,
    lesion: Tensor,
    spacing_mm: tuple[float, float, float],
    poll: Poll,
) -> Tensor:
    """Dense parts of the lungs beside lesions, without narrow ones; slice by slice."""
    rows, columns = (_odd(DENSITY_SQUARE_MM / spacing_mm[axis]) for axis in (1, 0))
    fitting = disc(NARROW_MM, spacing_mm[1], spacing_mm[0])
    dense = torch.zeros_like(lungs)
    for slab in slabs(lungs):
        poll()
        sums = sums_in_rectangles(hu[slab].float().clamp_(max=HIGHEST_HU), (rows, columns))
        candidate = (sums > DENSE_HU * rows * columns) & lungs[slab] & ~lesion[slab]
        if has_any(candidate):
            dense[slab] = opened(candidate, fitting)
    return dense


def _odd(length: float) -> int:
    """The odd number nearest to `length`: an even filter would move the picture."""
    return 2 * int(length / 2) + 1
