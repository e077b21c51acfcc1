"""Masks on any device: discs, components and what is near, slice by slice where it can be.

Masks are bool tensors (z, y, x); what lies beyond an array is False. A CPU does a slice at a time,
which then stays in its cache; a GPU does many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

Box = tuple[slice, slice, slice]

SLICES_AT_ONCE = {"cpu": 1, "cuda": 64}


def slabs(volume: Tensor) -> Iterator[slice]:
    """Ranges of slices that are worked on at once."""
    step = SLICES_AT_ONCE[volume.device.type]
    for start in range(0, len(volume), step):
        yield slice(start, min(start + step, len(volume)))


def disc(radius_mm: float, row_mm: float, column_mm: float) -> np.ndarray:
    """A disc in the slice plane, bool (y, x), both odd."""
    rows, columns = int(radius_mm / row_mm), int(radius_mm / column_mm)
    y, x = np.ogrid[-rows : rows + 1, -columns : columns + 1]
    return (y * row_mm) ** 2 + (x * column_mm) ** 2 <= radius_mm**2


def dilated(mask: Tensor, shape: np.ndarray, beyond: bool = False) -> Tensor:
    """Dilate each slice.

    Args:
        mask: bool (z, y, x).
        shape: bool (y, x), both odd, such as a disc: a symmetric run of True in each row.
        beyond: what lies beyond the slice.
    """
    rows, columns = shape.shape[0] // 2, shape.shape[1] // 2
    depth, height, width = mask.shape
    wide = torch.full((depth, height + 2 * rows, width + 2 * columns), beyond, device=mask.device)
    wide[:, rows : rows + height, columns : columns + width] = mask
    # Rows of the shape are runs of growing length: each is made from the one before.
    half_widths = shape.sum(axis=1) // 2
    run = wide[:, :, columns : columns + width].clone()
    result = torch.zeros_like(mask)
    done = 0
    for half_width in sorted(set(half_widths.tolist())):
        for reach in range(done + 1, half_width + 1):
            run |= wide[:, :, columns - reach : columns - reach + width]
            run |= wide[:, :, columns + reach : columns + reach + width]
        done = half_width
        for row in np.flatnonzero((half_widths == half_width) & shape.any(axis=1)):
            result |= run[:, row : row + height]
    return result


def eroded(mask: Tensor, shape: np.ndarray) -> Tensor:
    """Erode each slice; arguments as of `dilated`."""
    return ~dilated(~mask, shape, beyond=True)


def opened(mask: Tensor, shape: np.ndarray) -> Tensor:
    """Open each slice: keep what the shape fits into; arguments as of `dilated`."""
    return dilated(eroded(mask, shape), shape)


def within_reach(mask: Tensor, spacing_mm: tuple[float, float, float], reach_mm: float) -> Tensor:
    """Voxels at most `reach_mm` from a True one.

    Args:
        mask: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).
        reach_mm: by the voxels' centres.
    """
    column_mm, row_mm, slice_mm = spacing_mm
    near = mask.clone()
    for step in range(int(reach_mm / slice_mm) + 1):
        rows, columns = int(reach_mm / row_mm), int(reach_mm / column_mm)
        y, x = np.ogrid[-rows : rows + 1, -columns : columns + 1]
        section = (step * slice_mm) ** 2 + (y * row_mm) ** 2 + (x * column_mm) ** 2
        shape = np.sqrt(section) <= reach_mm
        if not shape.any() or step >= len(mask):
            break
        around = dilated(mask, shape)
        near[step:] |= around[: len(mask) - step]
        near[: len(mask) - step] |= around[step:]
    return near


def box_of(mask: Tensor) -> Box | None:
    """Slices around the True voxels; None where there are none."""
    ones = mask.view(torch.uint8)
    planes = _range_of(ones.flatten(1).amax(dim=1))
    if planes is None:
        return None
    shadow = ones[planes].amax(dim=0)
    rows, columns = _range_of(shadow.amax(dim=1)), _range_of(shadow.amax(dim=0))
    assert rows is not None and columns is not None
    return planes, rows, columns


def _range_of(ones: Tensor) -> slice | None:
    """From the first to past the last that is not 0; None where all are."""
    places = torch.nonzero(ones).flatten().tolist()
    return slice(places[0], places[-1] + 1) if places else None


def has_any(mask: Tensor) -> bool:
    """Whether a mask is True anywhere; on a CPU many times faster than `Tensor.any`."""
    return mask.numel() > 0 and bool(mask.contiguous().view(torch.uint8).max())


def sums_in_rectangles(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Sum around each voxel in its slice; beyond its edges a slice is mirrored.

    Args:
        values: float32 (z, y, x) of whole numbers, whose sums stay below 2²⁴, so that they are
            exact in any order.
        size: rows and columns, both odd.
    """
    for axis, width in zip((1, 2), size, strict=True):
        length = values.shape[axis]
        mirrored = np.pad(np.arange(length), width // 2, mode="symmetric")
        order = torch.from_numpy(mirrored).to(values.device)
        wide = values.index_select(axis, order)
        values = wide.narrow(axis, 0, length).clone()
        for first in range(1, width):
            values += wide.narrow(axis, first, length)
    return values


def connected_parts(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Parts that hang together by faces.

    Args:
        mask: bool (z, y, x).

    Returns:
        Flat indices of the True voxels, and for each a number below their count which it shares
        with its part alone; both int64.
    """
    voxels = torch.nonzero(mask.flatten()).flatten()
    if mask.device.type == "cpu":
        numbered, _count = ndimage.label(mask.numpy())
        return voxels, torch.from_numpy(numbered).flatten()[voxels].long() - 1
    return voxels, _smallest_of_each_part(mask, voxels)


def _smallest_of_each_part(mask: Tensor, voxels: Tensor) -> Tensor:
    """For each True voxel the place in `voxels` of the first one of its part.

    Neighbours pass on the smaller number, and numbers are looked up in themselves, so that few
    rounds are needed (Shiloach and Vishkin 1982).
    """
    own = torch.arange(len(voxels), device=mask.device)
    place = torch.full((mask.numel(),), -1, dtype=torch.int32, device=mask.device)
    place[voxels] = own.int()
    place = place.view(mask.shape)
    one_side, other_side = [], []
    for axis in range(3):
        length = mask.shape[axis] - 1
        first, second = place.narrow(axis, 0, length), place.narrow(axis, 1, length)
        both = (first >= 0) & (second >= 0)
        one_side.append(first[both])
        other_side.append(second[both])
    first, second = torch.cat(one_side).long(), torch.cat(other_side).long()
    number = own
    # A part of n voxels needs about log n rounds; the bound only guards against a fault.
    for _round in range(2 + 2 * max(1, math.ceil(math.log2(len(voxels) + 2))) ** 2):
        smaller = torch.minimum(number[first], number[second])
        passed = number.clone()
        for side in (first, second):
            passed.scatter_reduce_(0, number[side], smaller, "amin")
            passed.scatter_reduce_(0, side, smaller, "amin")
        passed = passed[passed]
        passed = passed[passed]
        if torch.equal(passed, number):
            return number
        number = passed
    raise AssertionError("connected parts were not found")
