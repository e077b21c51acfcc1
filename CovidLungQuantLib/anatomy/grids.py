"""A coarse copy of a scan's grid, to do slow morphology on, and the way back. Arrays (z, y, x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

    def reduce(self, fine: np.ndarray) -> np.ndarray:
        """Mean of each block, float32; one slab at a time, so that memory stays small."""
        step_z, step_y, step_x = self.factors
        coarse = np.empty(self.shape, np.float32)
        for index in range(self.shape[0]):
            slab = fine[index * step_z : (index + 1) * step_z].mean(axis=0, dtype=np.float32)
            slab = _pad_to_multiple(_pad_to_multiple(slab, 0, step_y), 1, step_x)
            blocks = slab.reshape(self.shape[1], step_y, self.shape[2], step_x)
            coarse[index] = blocks.mean(axis=(1, 3))
        return coarse

    def reduce_to_maximum(self, fine: np.ndarray) -> np.ndarray:
        """Highest value of each block, in the type of `fine`."""
        step_z, step_y, step_x = self.factors
        coarse = np.empty(self.shape, fine.dtype)
        for index in range(self.shape[0]):
            slab = fine[index * step_z : (index + 1) * step_z].max(axis=0)
            slab = _pad_to_multiple(_pad_to_multiple(slab, 0, step_y), 1, step_x)
            blocks = slab.reshape(self.shape[1], step_y, self.shape[2], step_x)
            coarse[index] = blocks.max(axis=(1, 3))
        return coarse

    def enlarge(self, coarse: np.ndarray) -> np.ndarray:
        """Every fine voxel takes the value of its block."""
        for axis, factor in enumerate(self.factors):
            coarse = np.repeat(coarse, factor, axis=axis) if factor > 1 else coarse
        depth, height, width = self.fine_shape
        return np.ascontiguousarray(coarse[:depth, :height, :width])

    def interpolation(self, axis: int) -> np.ndarray:
        """Matrix (fine size, coarse size) of linear interpolation between block centres."""
        size, count, factor = self.fine_shape[axis], self.shape[axis], self.factors[axis]
        position = np.clip((np.arange(size) - (factor - 1) / 2) / factor, 0, count - 1)
        low = np.minimum(position.astype(int), max(count - 2, 0))
        weight = position - low
        matrix = np.zeros((size, count), np.float32)
        matrix[np.arange(size), low] = 1 - weight
        if count > 1:
            matrix[np.arange(size), low + 1] += weight
        return matrix


def _pad_to_multiple(slab: np.ndarray, axis: int, factor: int) -> np.ndarray:
    missing = -slab.shape[axis] % factor
    if not missing:
        return slab
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, missing)
    return np.pad(slab, widths, mode="edge")
