"""The coarse grid on which what is painted into scans gets its shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SHAPE_GRID_MM = 3.0


@dataclass(frozen=True, eq=False)
class ShapeGrid:
    """A grid of whole voxels of the scan, about `SHAPE_GRID_MM` wide.

    Attributes:
        fine_shape: of the scan (z, y, x).
        steps: voxels of the scan in a cell, (z, y, x).
        spacing_mm: size of a cell, float (z, y, x).
    """

    fine_shape: tuple[int, ...]
    steps: tuple[int, int, int]
    spacing_mm: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> ShapeGrid:
        """The grid of a scan of this shape (z, y, x) and voxel size (x, y, z)."""
        sizes_mm = spacing_mm[::-1]
        z, y, x = (max(1, round(SHAPE_GRID_MM / size_mm)) for size_mm in sizes_mm)
        return cls(shape, (z, y, x), np.array([z, y, x]) * sizes_mm)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells (z, y, x)."""
        return tuple(
            -(-size // step) for size, step in zip(self.fine_shape, self.steps, strict=True)
        )

    def picked(self, field: np.ndarray) -> np.ndarray:
        """A field of the scan on this grid, by the first voxel of each cell."""
        z, y, x = self.steps
        return field[::z, ::y, ::x]

    def reduced(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the scan on this grid, likewise."""
        return self.picked(mask) > 0

    def places_mm(self) -> list[np.ndarray]:
        """Where cells lie along z, y and x in millimetres; they broadcast to `shape`."""
        return [
            places * size_mm
            for places, size_mm in zip(
                np.ogrid[tuple(map(slice, self.shape))], self.spacing_mm, strict=True
            )
        ]

    def enlarged(self, field: np.ndarray) -> np.ndarray:
        """A field of this grid on the scan's voxels, linear between cells."""
        return enlarged(field, self.steps, self.fine_shape)


def enlarged(field: np.ndarray, steps: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """A field of coarse cells on voxels, `steps` of them a cell, cut to `shape`; linear."""
    fine = ndimage.zoom(field, steps, order=1, grid_mode=True, mode="nearest")
    return fine[tuple(slice(0, size) for size in shape)]


def soft_step(position: np.ndarray) -> np.ndarray:
    """0 … 1, one half at 0, about one edge wide."""
    return 1.0 / (1.0 + np.exp(-np.clip(4.0 * position, -30.0, 30.0)))
