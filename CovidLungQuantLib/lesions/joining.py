"""One rule that joins what the network says with the lungs found beforehand, on any device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.labels import (
    AIRLESS_LUNG,
    GGO,
    HIGH_OPACITY,
    LEFT_OUT,
    NORMAL_LUNG,
)
from CovidLungQuantLib.lesions.consolidation import DENSE_HU, dense_lung_beside_lesions
from CovidLungQuantLib.lesions.masks import Box, has_any, slabs, within_reach
from CovidLungQuantLib.progress import Poll, no_poll

# A lesion that hides the lung's edge may reach this far beyond the lungs found beforehand.
LESION_REACH_MM = 10.0
REACH_GRID_MM = 3.0


@dataclass(frozen=True, eq=False)
class LungRegion:
    """A scan and its anatomy cut to where a result can be: the lungs and what is in reach of them.

    Attributes:
        box: of the scan (z, y, x); where it begins is on the grid that reach is worked out on.
        spacing_mm: voxel size (x, y, z).
        hu: int16 (z, y, x), cut to `box`, like all that follows.
        lungs: uint8, 0 outside.
        body, airways: bool.
        decisions: uint8, of the lung network; None where it made none.
    """

    box: Box
    spacing_mm: tuple[float, float, float]
    hu: Tensor
    lungs: Tensor
    body: Tensor
    airways: Tensor
    decisions: Tensor | None

    def on_whole_scan(self, values: Tensor, shape: tuple[int, ...]) -> np.ndarray:
        """An array of the scan's `shape` with `values` in the box and 0 elsewhere."""
        whole = np.zeros(shape, np.uint8)
        whole[self.box] = values.cpu().numpy()
        return whole


def lung_region(
    hu: Tensor,
    anatomy: LungAnatomy,
    spacing_mm: tuple[float, float, float],
    lungs_box: tuple[slice, ...],
) -> LungRegion:
    """Cut a scan and its anatomy to the lungs and what is in reach; on the device of `hu`.

    Args:
        hu: int16 (z, y, x).
        anatomy: of the same grid.
        spacing_mm: voxel size (x, y, z).
        lungs_box: from `box_of_lungs`.
    """
    box = _box_in_reach(lungs_box, spacing_mm, anatomy.lungs.shape)

    def cut(array: np.ndarray) -> Tensor:
        return as_tensor(array[box]).to(hu.device)

    return LungRegion(
        box,
        spacing_mm,
        hu[box],
        cut(anatomy.lungs),
        cut(anatomy.body),
        cut(anatomy.airways),
        None if anatomy.decisions is None else cut(anatomy.decisions),
    )


def box_of_lungs(lungs: np.ndarray) -> tuple[slice, ...]:
    """Slices around the lungs, uint8 (z, y, x); all of it if there are none."""
    planes = np.flatnonzero(lungs.reshape(len(lungs), -1).max(axis=1))
    if not len(planes):
        return tuple(slice(0, size) for size in lungs.shape)
    depth = slice(int(planes[0]), int(planes[-1]) + 1)
    return (depth, *bounding_box(lungs[depth].max(axis=0) > 0))


def as_tensor(array: np.ndarray) -> Tensor:
    """The same memory as a tensor; a copy only where PyTorch cannot share it."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def joined_with_lungs(
    network_labels: np.ndarray,
    hu: np.ndarray,
    anatomy: LungAnatomy,
    spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    """`finished_labels` of arrays (z, y, x) of a whole scan; uint8, values of `labels.py`."""
    region = lung_region(as_tensor(hu), anatomy, spacing_mm, box_of_lungs(anatomy.lungs))
    labels = finished_labels(torch.from_numpy(network_labels[region.box].copy()), region)
    return region.on_whole_scan(labels, hu.shape)


def finished_labels(network_labels: Tensor, region: LungRegion, poll: Poll = no_poll) -> Tensor:
    """The network's labels joined with the lungs, and what it overlooked beside its lesions.

    Args:
        network_labels: uint8 (z, y, x) of the region, on its device; changed in place.
        region: of the scan.
        poll: called between slices and steps; may raise `Cancelled`.

    Returns:
        `network_labels`, now values of `labels.py` in the end.
    """
    labels = reconcile(network_labels, region, poll)
    poll()
    overlooked = dense_lung_beside_lesions(
        region.hu, region.lungs > 0, labels >= GGO.value, region.spacing_mm, poll
    )
    for slab in slabs(labels):
        poll()
        dense = overlooked[slab]
        if region.decisions is not None:
            # Lung without air is high opacity, whatever the network made of it.
            airless = region.decisions[slab] == AIRLESS_LUNG.value
            dense = dense | (airless & (region.hu[slab] > DENSE_HU))
        if has_any(dense):
            labels[slab].masked_fill_(dense, HIGH_OPACITY.value)
    return labels


def reconcile(network_labels: Tensor, region: LungRegion, poll: Poll = no_poll) -> Tensor:
    """Join the network's labels with the lungs found beforehand. The rule:

    Inside the lungs found beforehand every voxel is lung: GGO or high opacity where the network
    says so, else normal. Outside them, what the network calls GGO or high opacity is added where
    it lies in the body, not in the airways, at most `LESION_REACH_MM` from those lungs
    (consolidation that hides the lung's edge), and where the lung network left nothing out.
    Nothing else is lung.

    Args:
        network_labels: uint8 (z, y, x) of the region, on its device; changed in place.
        region: of the scan.
        poll: called between slices and steps; may raise `Cancelled`.

    Returns:
        `network_labels`.
    """
    steps = _reach_steps(region.spacing_mm)
    near = _near_lungs(region, steps)
    poll()
    for slab in slabs(network_labels):
        poll()
        labels = network_labels[slab]
        lungs = region.lungs[slab] > 0
        lesion = labels >= GGO.value
        joined = lungs.to(torch.uint8) * NORMAL_LUNG.value
        if has_any(lesion):
            beyond = lesion & ~lungs & region.body[slab] & ~region.airways[slab]
            if region.decisions is not None:
                beyond &= region.decisions[slab] != LEFT_OUT.value
            beyond &= _on_voxels(near, slab, steps, labels.shape)
            joined = torch.where(beyond | (lesion & lungs), labels, joined)
        network_labels[slab] = joined
    return network_labels


def _near_lungs(region: LungRegion, steps: tuple[int, int, int]) -> Tensor:
    """Cells of about `REACH_GRID_MM` within reach of lungs, bool (z, y, x)."""
    depth, rows, columns = steps
    cells = region.lungs[::depth, ::rows, ::columns] > 0
    column_mm, row_mm, slice_mm = region.spacing_mm
    return within_reach(
        cells, (columns * column_mm, rows * row_mm, depth * slice_mm), LESION_REACH_MM
    )


def _on_voxels(
    cells: Tensor, slab: slice, steps: tuple[int, int, int], shape: tuple[int, ...]
) -> Tensor:
    """Cells drawn on the voxels of some slices."""
    depth, rows, columns = steps
    order = torch.arange(slab.start, slab.stop, device=cells.device) // depth
    fine = cells[order].repeat_interleave(rows, dim=1).repeat_interleave(columns, dim=2)
    return fine[:, : shape[1], : shape[2]]


def _reach_steps(spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Voxels (z, y, x) of a cell of the grid on which reach is worked out."""
    depth, rows, columns = (max(1, int(REACH_GRID_MM / step_mm)) for step_mm in spacing_mm[::-1])
    return depth, rows, columns


def _box_in_reach(
    lungs_box: tuple[slice, ...], spacing_mm: tuple[float, float, float], shape: tuple[int, ...]
) -> Box:
    """The lungs' box, wider by what is in reach; it begins at whole cells."""
    slices = []
    for inside, step_mm, step, size in zip(
        lungs_box, spacing_mm[::-1], _reach_steps(spacing_mm), shape, strict=True
    ):
        margin = int(LESION_REACH_MM / step_mm) + 2 * step
        first = max(0, inside.start - margin) // step * step
        slices.append(slice(first, min(size, inside.stop + margin)))
    depth, rows, columns = slices
    return depth, rows, columns
