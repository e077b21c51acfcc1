"""Draw a slice view or a 3D view of the scene off the screen, with Slicer's displayable managers.

`draw_slice(slice_logic, file, size)` and `draw_3d(view_node, segmentation_node, file, size)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from PIL import Image
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D",)
VIEW_MANAGERS = ("vtkMRMLCameraDisplayableManager", "vtkMRMLSegmentationsDisplayableManager3D")
# Of a palette; keeps the files small.
COLOR_COUNT = 256
# The lungs seen from in front and a little from above, in degrees and mm.
AZIMUTH, DISTANCE_MM, RISE_MM, ZOOM = 15.0, 500.0, 60.0, 1.8


def draw_slice(slice_logic: Any, file: Path, size: tuple[int, int]) -> None:
    """Draw what a slice view shows, with the whole volume in sight: it and the segments over it.

    Args:
        slice_logic: of the view; the slice stays the one its node looks at.
        file: PNG file.
        size: width and height in pixels.
    """
    node = slice_logic.GetSliceNode()
    offset_mm = node.GetSliceOffset()
    node.SetDimensions(*size, 1)
    slice_logic.FitSliceToBackground(*size)
    node.SetSliceOffset(offset_mm)
    slice_logic.UpdatePipeline()
    mapper = vtk.vtkImageMapper()
    mapper.SetInputConnection(slice_logic.GetImageDataConnection())
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    background = vtk.vtkActor2D()
    background.SetMapper(mapper)
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    window, renderer = _window(size)
    renderer.AddViewProp(background)
    group = _managers(factory, SLICE_MANAGERS, renderer, node)
    save_window(window, file)
    group.SetMRMLDisplayableNode(None)


def draw_3d(view_node: Any, segmentation_node: Any, file: Path, size: tuple[int, int]) -> None:
    """Draw what a 3D view shows, with the whole segmentation in sight.

    Args:
        view_node: of the view.
        segmentation_node: shown in 3D.
        file: PNG file.
        size: width and height in pixels.
    """
    factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    window, renderer = _window(size)
    renderer.SetBackground(view_node.GetBackgroundColor())
    renderer.SetBackground2(view_node.GetBackgroundColor2())
    renderer.SetGradientBackground(True)
    group = _managers(factory, VIEW_MANAGERS, renderer, view_node)
    bounds = [0.0] * 6
    segmentation_node.GetRASBounds(bounds)
    centre = np.reshape(bounds, (3, 2)).mean(axis=1)
    angle = np.radians(AZIMUTH)
    away = (DISTANCE_MM * np.sin(angle), DISTANCE_MM * np.cos(angle), RISE_MM)
    camera = renderer.GetActiveCamera()
    camera.SetFocalPoint(centre)
    camera.SetPosition(centre + away)
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera(bounds)
    camera.Zoom(ZOOM)
    renderer.ResetCameraClippingRange()
    save_window(window, file)
    group.SetMRMLDisplayableNode(None)


def save_picture(picture: Image.Image, file: Path) -> None:
    """Save a picture as a small PNG file, with a palette."""
    palette = picture.convert("RGB").quantize(
        COLOR_COUNT, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    palette.save(file, optimize=True)


def save_window(window: Any, file: Path) -> None:
    """Draw what an off-screen window of VTK's shows, and save it as a small PNG file."""
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    rows = vtk_to_numpy(image.GetPointData().GetScalars())
    pixels = rows.reshape(height, width, -1)[::-1, :, :3]
    save_picture(Image.fromarray(np.ascontiguousarray(pixels)), file)


def _window(size: tuple[int, int]) -> tuple[Any, Any]:
    """An off-screen window with a renderer that can draw what is translucent."""
    renderer = vtk.vtkRenderer()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetAlphaBitPlanes(True)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    return window, renderer


def _managers(factory: Any, names: tuple[str, ...], renderer: Any, node: Any) -> Any:
    """Slicer's own managers, which draw the nodes of a view; keep them until it is drawn."""
    factory.SetMRMLApplicationLogic(slicer.modules.application.logic())
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.Initialize(factory, renderer)
    group.SetMRMLDisplayableNode(node)
    return group
