"""A result turned upright, from which pictures of planes are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from CovidLungQuantLib.ct import Geometry, lps_oriented, orient_like
from CovidLungQuantLib.display.pictures import box_around_lungs

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

MARGIN_MM = 20.0


@dataclass(frozen=True, eq=False)
class UprightScan:
    """A quantification as pictures are taken from it; arrays (z, y, x), upright.

    Attributes:
        hu: int16 Hounsfield units.
        labels: label map.
        lobes: lobe map, None without lobes.
        segments: map of the 20 regions, None without lobes.
        enhanced_hu: the enhanced scan, None where it was not enhanced.
        lung_decisions: where the lung network decided, None where it did nowhere.
        geometry: of these arrays.
        box: what pictures show, the lungs with a margin.
    """

    hu: np.ndarray
    labels: np.ndarray
    lobes: np.ndarray | None
    segments: np.ndarray | None
    enhanced_hu: np.ndarray | None
    lung_decisions: np.ndarray | None
    geometry: Geometry
    box: tuple[slice, slice, slice]

    @classmethod
    def of(cls, quantification: Quantification) -> UprightScan:
        """Turn a quantification upright."""
        ct, orientation = lps_oriented(quantification.ct)
        labels = orient_like(quantification.labels, orientation)
        enhancement = quantification.enhancement
        lobes, segments, enhanced_hu, lung_decisions = (
            None if array is None else orient_like(array, orientation)
            for array in (
                quantification.lobes,
                quantification.segments,
                None if enhancement is None else enhancement.enhanced_hu,
                quantification.lung_decisions,
            )
        )
        return cls(
            hu=ct.hu,
            labels=labels,
            lobes=lobes,
            segments=segments,
            enhanced_hu=enhanced_hu,
            lung_decisions=lung_decisions,
            geometry=ct.geometry,
            box=box_around_lungs(labels, ct.geometry.spacing_mm, MARGIN_MM),
        )

    def axial(self, array: np.ndarray, z: int) -> np.ndarray:
        """Return an axial plane of one of the arrays, (row, column), the front on top."""
        return array[z, self.box[1], self.box[2]]

    def coronal(self, array: np.ndarray, y: int) -> np.ndarray:
        """Return a coronal plane of one of the arrays, (row, column), the head on top."""
        return array[self.box[0], y, self.box[2]][::-1]

    @property
    def axial_pixel_mm(self) -> tuple[float, float]:
        """Size of a pixel of an axial plane (column, row)."""
        x_mm, y_mm, _ = self.geometry.spacing_mm
        return x_mm, y_mm

    @property
    def coronal_pixel_mm(self) -> tuple[float, float]:
        """Size of a pixel of a coronal plane (column, row)."""
        x_mm, _, z_mm = self.geometry.spacing_mm
        return x_mm, z_mm

    def height_text(self, z: int) -> str:
        """Where the middle of an axial plane lies between feet and head."""
        _, rows, columns = self.geometry.shape
        middle = self.geometry.ijk_to_lps @ [(columns - 1) / 2, (rows - 1) / 2, z, 1.0]
        return f"{'S' if middle[2] >= 0 else 'I'} {abs(middle[2]):.1f} mm"
