"""A chest CT: Hounsfield units and the geometry that says where each voxel is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of an image lie, in DICOM's and SimpleITK's LPS millimetres.

    Arrays are (z, y, x); everything here is in (x, y, z) order, as in file headers.

    Attributes:
        shape: array shape (z, y, x).
        spacing_mm: voxel size (x, y, z).
        origin_mm: centre of voxel (0, 0, 0).
        direction: 3×3, column k is the unit vector along which index k (x, y, z) grows.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: np.ndarray

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def ijk_to_lps(self) -> np.ndarray:
        """4×4 matrix from voxel index (i, j, k) = (x, y, z) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction, dtype=float) * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix


@dataclass(frozen=True)
class ScanWarning:
    """Something the user should know about the scan or the result; `message` is one sentence."""

    code: str
    message: str


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT in memory.

    Attributes:
        hu: int16 Hounsfield units, shape (z, y, x).
        geometry: of `hu`.
        name: what to call the scan in tables (file or folder name; never patient data).
        warnings: what reading it found.
    """

    hu: np.ndarray
    geometry: Geometry
    name: str = "CT"
    warnings: tuple[ScanWarning, ...] = field(default=())
