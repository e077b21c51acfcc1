"""Stand-in for `slicer.app.layoutManager()`: Slicer's real layout node, without views on a screen.

The real layout logic reads a layout's description and makes the view nodes that it names.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .names import reduced_names
from .pythonqt import UnknownSlicerName


class LayoutManager:
    """`qSlicerLayoutManager`; refuses what the real one does not have."""

    def __init__(self, scene: Any) -> None:
        self.standInLogic = slicer.vtkMRMLLayoutLogic()
        self.standInLogic.SetMRMLScene(scene)
        self.standInResets = 0

    def __getattribute__(self, name: str) -> Any:
        offered = reduced_names().attributes("qSlicerLayoutManager")
        if not name.startswith(("__", "standIn")) and name not in offered:
            raise UnknownSlicerName(f"qSlicerLayoutManager has no {name!r}")
        return object.__getattribute__(self, name)

    def layoutLogic(self) -> Any:
        """Return the logic that holds the layout node."""
        return self.standInLogic

    def mrmlSliceLogics(self) -> Any:
        """Return the logics of the slice views on the screen: none."""
        return vtk.vtkCollection()

    def resetThreeDViews(self) -> None:
        """Bring everything into sight; here it is only counted."""
        self.standInResets += 1
