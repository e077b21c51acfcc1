"""A coarse copy of a scan's grid, to do slow morphology on, and the way back. Arrays (z, y, x)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.progress import Poll, no_poll

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class CoarseGrid:
    """Blocks of whole voxels; the last block of an axis may hold fewer.

    Attributes:
        fine_shape: (z, y, x) of the scan.
        factors: voxels of the scan in one coarse voxel, (z, y, x).
        spacing_mm: size of a coarse voxel, (x, y, z).
    """

    fine_shape: Shape
    factors: Shape
    spacing_mm: Spacing

    @classmethod
    def of(
        cls, fine_shape: Shape, spacing_mm: Spacing, in_plane_mm: float, slice_mm: float
    ) -> CoarseGrid:
        """The coarsest grid of whole blocks no coarser than the sizes given (or the scan's own)."""
        x_mm, y_mm, z_mm = spacing_mm
        factors = (
            max(1, int(slice_mm / z_mm)),
            max(1, int(in_plane_mm / y_mm)),
            max(1, int(in_plane_mm / x_mm)),
        )
        depth, height, width = fine_shape
        return cls(
            (depth, height, width),
            factors,
            (x_mm * factors[2], y_mm * factors[1], z_mm * factors[0]),
        )

    @property
    def shape(self) -> Shape:
        """Shape (z, y, x) of coarse arrays."""
        depth, height, width = (
            -(-size // factor) for size, factor in zip(self.fine_shape, self.factors, strict=True)
        )
        return depth, height, width

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one coarse voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def reduce(self, fine: np.ndarray, poll: Poll = no_poll) -> np.ndarray:
        """Mean of each block, float32; one slab at a time, so that memory stays small.

        `poll` is called between slabs; it may raise `Cancelled`.
        """
        coarse = np.empty(self.shape, np.float32)
        _, step_y, step_x = self.factors
        for index, slab in enumerate(self._slabs(fine)):
            poll()
            total = slab[0].astype(np.float32)
            for plane in slab[1:]:
                total += plane
            self._join_blocks(total, np.add, coarse[index])
            coarse[index] /= len(slab) * step_y * step_x
        return coarse

    def reduce_to_maximum(self, fine: np.ndarray) -> np.ndarray:
        """Highest value of each block, in the type of `fine`."""
        coarse = np.empty(self.shape, fine.dtype)
        for index, slab in enumerate(self._slabs(fine)):
            self._join_blocks(slab.max(axis=0), np.maximum, coarse[index])
        return coarse

    def _slabs(self, fine: np.ndarray) -> Iterator[np.ndarray]:
        """The slices of one coarse slice after the other."""
        step_z = self.factors[0]
        return (fine[start : start + step_z] for start in range(0, len(fine), step_z))

    def _join_blocks(self, plane: np.ndarray, join: np.ufunc, coarse: np.ndarray) -> None:
        """Join what lies in each block of a plane (y, x); blocks that stick out go on as they end.

        Rows are joined before columns: those lie side by side in memory.
        """
        _, step_y, step_x = self.factors
        plane = _pad_to_multiple(_pad_to_multiple(plane, 0, step_y), 1, step_x)
        rows = plane[::step_y] if step_y == 1 else join(plane[::step_y], plane[1::step_y])
        for row in range(2, step_y):
            join(rows, plane[row::step_y], out=rows)
        coarse[:] = rows[:, ::step_x]
        for column in range(1, step_x):
            join(coarse, rows[:, column::step_x], out=coarse)

    def enlarge(self, coarse: np.ndarray) -> np.ndarray:
        """Every fine voxel takes the value of its block."""
        for axis, factor in enumerate(self.factors):
            coarse = np.repeat(coarse, factor, axis=axis) if factor > 1 else coarse
        depth, height, width = self.fine_shape
        return np.ascontiguousarray(coarse[:depth, :height, :width])

    def interpolation(self, axis: int, fine: slice, coarse: slice) -> Interpolation:
        """Linear interpolation between the centres of blocks, from a part of an axis to another.

        What lies beyond the part of coarse voxels is taken for 0.
        """
        size, count, factor = self.fine_shape[axis], self.shape[axis], self.factors[axis]
        position = np.clip((np.arange(size) - (factor - 1) / 2) / factor, 0, count - 1)[fine]
        low = position.astype(int)
        high = np.minimum(low + 1, count - 1)
        share = (position - low).astype(np.float32)
        is_there = [(place >= coarse.start) & (place < coarse.stop) for place in (low, high)]
        return Interpolation(
            low=np.where(is_there[0], low - coarse.start, 0),
            high=np.where(is_there[1], high - coarse.start, 0),
            low_share=np.where(is_there[0], 1 - share, 0),
            high_share=np.where(is_there[1], share, 0),
        )


@dataclass(frozen=True, eq=False)
class Interpolation:
    """Linear interpolation along one axis: two neighbours of each place, and their shares."""

    low: np.ndarray
    high: np.ndarray
    low_share: np.ndarray
    high_share: np.ndarray

    def at(self, stack: np.ndarray, index: int) -> np.ndarray:
        """One plane, between those of a stack (z, y, x)."""
        low, high = stack[self.low[index]], stack[self.high[index]]
        if not self.high_share[index]:
            return self.low_share[index] * low
        return self.low_share[index] * low + self.high_share[index] * high

    def of(self, plane: np.ndarray, axis: int) -> np.ndarray:
        """A plane (y, x) with all places along an axis."""
        low_share, high_share = self.low_share, self.high_share
        if axis == 0:
            low_share, high_share = low_share[:, None], high_share[:, None]
        low, high = plane.take(self.low, axis), plane.take(self.high, axis)
        low *= low_share
        high *= high_share
        low += high
        return low


def _pad_to_multiple(slab: np.ndarray, axis: int, factor: int) -> np.ndarray:
    missing = -slab.shape[axis] % factor
    if not missing:
        return slab
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, missing)
    return np.pad(slab, widths, mode="edge")
