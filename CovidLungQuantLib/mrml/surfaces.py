"""Lesions and lungs as surfaces in 3D, coarse enough to be renewed after every stroke."""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.labels import LESION_LABELS, NORMAL_LUNG, is_lung
from CovidLungQuantLib.mrml.display import LESION_OPACITY_3D, LUNG_OPACITY_3D
from CovidLungQuantLib.mrml.volumes import RAS_TO_LPS, fill_image

LUNGS_STEP_MM = 4.0
LESIONS_STEP_MM = 2.0
SMOOTHING_STEPS = 30
# The lower, the smoother.
PASS_BAND = 0.03


class Surfaces:
    """Model nodes of one label map: both lungs together, and each kind of lesion."""

    def __init__(self, scene: Any, geometry: Geometry) -> None:
        """Add hidden nodes to the scene."""
        self._geometry = geometry
        self._lungs = _model(scene, "Lungs", NORMAL_LUNG.color, LUNG_OPACITY_3D)
        self._lesions = {
            label.value: _model(scene, f"{label.name} surface", label.color, LESION_OPACITY_3D)
            for label in LESION_LABELS
        }

    def renew_lungs(self, labels: np.ndarray) -> None:
        """Draw the lungs of a label map (z, y, x)."""
        self._lungs.SetAndObservePolyData(_surface(is_lung(labels), self._geometry, LUNGS_STEP_MM))

    def renew_lesions(self, labels: np.ndarray) -> None:
        """Draw the lesions of a label map (z, y, x)."""
        for value, node in self._lesions.items():
            node.SetAndObservePolyData(_surface(labels == value, self._geometry, LESIONS_STEP_MM))


def _model(scene: Any, name: str, color: tuple[float, float, float], opacity: float) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*color)
    display.SetOpacity(opacity)
    # Slices show the voxels themselves.
    display.SetVisibility2D(False)
    return node


def _surface(mask: np.ndarray, geometry: Geometry, step_mm: float) -> Any:
    """Return the smooth surface of a mask (z, y, x), in RAS millimetres."""
    import vtk

    steps = [max(1, round(step_mm / size_mm)) for size_mm in geometry.spacing_mm]
    coarse = _share_of_blocks(mask, steps[::-1])
    image = vtk.vtkImageData()
    # A border of background closes surfaces at the ends of the scan.
    fill_image(image, np.pad(coarse, 1))
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    smooth = vtk.vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(edges.GetOutputPort())
    smooth.SetNumberOfIterations(SMOOTHING_STEPS)
    smooth.SetPassBand(PASS_BAND)
    smooth.NonManifoldSmoothingOn()
    place = vtk.vtkTransform()
    place.SetMatrix(_coarse_to_ras(geometry, steps).ravel().tolist())
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetTransform(place)
    placed.SetInputConnection(smooth.GetOutputPort())
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(placed.GetOutputPort())
    normals.SplittingOff()
    normals.Update()
    return normals.GetOutput()


def _share_of_blocks(mask: np.ndarray, steps: list[int]) -> np.ndarray:
    """Return the share 0…1 of each block of `steps` (z, y, x) voxels that a mask covers."""
    padded = np.pad(mask, [(0, -size % step) for size, step in zip(mask.shape, steps, strict=True)])
    count = padded.astype(np.uint16)
    for axis, step in enumerate(steps):
        planes = np.moveaxis(count, axis, 0)
        together = planes[::step].copy()
        for first in range(1, step):
            together += planes[first::step]
        count = np.moveaxis(together, 0, axis)
    return count.astype(np.float32) / float(np.prod(steps))


def _coarse_to_ras(geometry: Geometry, steps: list[int]) -> np.ndarray:
    """4×4 matrix from index (x, y, z) of padded blocks to RAS: a block lies in its middle."""
    to_voxel = np.diag([*steps, 1.0])
    to_voxel[:3, 3] = [(step - 1) / 2.0 - step for step in steps]
    return RAS_TO_LPS @ geometry.ijk_to_lps @ to_voxel
