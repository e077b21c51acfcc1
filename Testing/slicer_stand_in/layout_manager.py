"""Stand-in for `slicer.app.layoutManager()`: Slicer's real layout node, without views on a screen.

The real layout logic reads a layout's description and makes the view nodes that it names; the
logics of slice views are real, too. As in Slicer the views get their sizes only when Qt's events
are handled after a switch, and then keep the field of view they had.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import slicer
import vtk
from PySide6.QtCore import QTimer

from .plot_view import PlotWidget
from .refusing import RefusesUnknownNames
from .slice_widget import SliceWidget

# What a panel of 390 px leaves of a window of 1366 × 768.
VIEWS_SIZE = (960, 650)
TAB_BAR_PX, CONTROLLER_BAR_PX = 26, 22
# Left, top, width, height.
Box = tuple[int, int, int, int]


class LayoutManager(RefusesUnknownNames):
    """`qSlicerLayoutManager`; refuses what the real one does not have."""

    standInClass = "qSlicerLayoutManager"

    def __init__(self, scene: Any) -> None:
        # Slicer does so for its own scene; without them a view knows no orientation by name.
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        self.standInLogic = slicer.vtkMRMLLayoutLogic()
        self.standInLogic.SetMRMLScene(scene)
        self.standInResets = 0
        self.standInSliceLogics: dict[str, Any] = {}
        self.standInSliceWidgets: dict[str, SliceWidget] = {}
        self.standInPlotWidgets: dict[str, PlotWidget] = {}
        self.standInDescription = ""
        self.standInLogic.GetLayoutNode().AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: self.standInSwitch()
        )

    def layoutLogic(self) -> Any:
        """Return the logic that holds the layout node."""
        return self.standInLogic

    def mrmlSliceLogics(self) -> Any:
        """Return the logics of the slice views there have been so far."""
        logics = vtk.vtkCollection()
        for logic in self.standInSliceLogics.values():
            logics.AddItem(logic)
        return logics

    def sliceViewNames(self) -> tuple[str, ...]:
        """Return the names of the slice views there have been so far."""
        return tuple(self.standInSliceWidgets)

    def sliceWidget(self, name: str) -> SliceWidget:
        """Return a slice view."""
        return self.standInSliceWidgets[name]

    @property
    def plotViewCount(self) -> int:
        """Number of plot views there have been so far."""
        return len(self.standInPlotWidgets)

    def plotWidget(self, index: int) -> PlotWidget:
        """Return a plot view."""
        return list(self.standInPlotWidgets.values())[index]

    def resetThreeDViews(self) -> None:
        """Bring everything into sight; here it is only counted."""
        self.standInResets += 1

    def standInSwitch(self) -> None:
        """Make the views of a layout that was chosen; they get their sizes later."""
        description = self.standInLogic.GetLayoutNode().GetCurrentLayoutDescription() or ""
        if description == self.standInDescription:
            return
        self.standInDescription = description
        nodes = self.standInLogic.GetViewNodes()
        for node in (nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())):
            name = node.GetLayoutName()
            if node.IsA("vtkMRMLSliceNode") and name not in self.standInSliceLogics:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLScene(node.GetScene())
                logic.SetSliceNode(node)
                self.standInSliceLogics[name] = logic
                self.standInSliceWidgets[name] = SliceWidget(node)
            if node.IsA("vtkMRMLPlotViewNode") and name not in self.standInPlotWidgets:
                self.standInPlotWidgets[name] = PlotWidget(node)
        QTimer.singleShot(0, self.standInResize)

    def standInResize(self) -> None:
        """Give the slice views of the first tab their sizes, as Qt does after a switch."""
        for view, _tab, (_left, _top, width, height) in boxes_of(self.standInDescription):
            logic = self.standInSliceLogics.get(view)
            if logic is not None and logic.GetSliceNode() is not None:
                logic.ResizeSliceNode(width, height - CONTROLLER_BAR_PX)


def boxes_of(description: str, size: tuple[int, int] = VIEWS_SIZE) -> list[tuple[str, str, Box]]:
    """Return the views of a layout: singleton tag, name of the tab, and where it lies in pixels."""
    if not description:
        return []
    return list(_boxes(ElementTree.fromstring(description), "", (0, 0, *size)))


def _boxes(element: ElementTree.Element, tab: str, box: Box) -> Iterator[tuple[str, str, Box]]:
    if element.tag == "view":
        yield element.attrib["singletontag"], tab, box
        return
    left, top, width, height = box
    kind, items = element.attrib.get("type", "horizontal"), element.findall("item")
    shares = [int(item.attrib.get("splitSize", "1")) for item in items]
    done = 0
    for item, share in zip(items, shares, strict=True):
        first, last = done / sum(shares), (done + share) / sum(shares)
        done += share
        if kind == "tab":
            tab = item.attrib.get("name", "")
            part = (left, top + TAB_BAR_PX, width, height - TAB_BAR_PX)
        elif kind == "vertical":
            part = (left, top + round(first * height), width, round((last - first) * height))
        else:
            part = (left + round(first * width), top, round((last - first) * width), height)
        yield from _boxes(item[0], tab, part)
