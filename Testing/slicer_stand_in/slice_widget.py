"""Stand-in for Slicer's slice view: its real node, and a mouse that tests move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import vtk

from .refusing import RefusesUnknownNames


class SliceWidget(RefusesUnknownNames):
    """`qMRMLSliceWidget` of a slice node."""

    standInClass = "qMRMLSliceWidget"

    def __init__(self, slice_node: Any) -> None:
        self.standInNode = slice_node
        self.standInView = SliceView()

    def mrmlSliceNode(self) -> Any:
        """Return the node of the view."""
        return self.standInNode

    def sliceView(self) -> SliceView:
        """Return what draws."""
        return self.standInView

    def standInDraw(self, positions: Iterable[tuple[int, int]]) -> None:
        """Press the left button at the first position, move it to the others, let it go."""
        interactor = self.standInView.interactor()
        event = "LeftButtonPressEvent"
        for position in positions:
            interactor.SetEventPosition(*position)
            interactor.InvokeEvent(event)
            event = "MouseMoveEvent"
        interactor.InvokeEvent("LeftButtonReleaseEvent")

    def standInPosition(self, place: Iterable[float]) -> tuple[int, int]:
        """Where a place in RAS is seen, in pixels."""
        to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.standInNode.GetXYToRAS(), to_xy)
        x, y = to_xy.MultiplyPoint((*place, 1.0))[:2]
        return round(x), round(y)


class SliceView(RefusesUnknownNames):
    """`qMRMLSliceView`: VTK's real interactor, without a window."""

    standInClass = "qMRMLSliceView"

    def __init__(self) -> None:
        self.standInInteractor = vtk.vtkGenericRenderWindowInteractor()

    def interactor(self) -> Any:
        """Return what tells of mouse and keys."""
        return self.standInInteractor
