"""Drawing where there is no window: what VTK is to be told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def draw_without_display() -> None:
    """Let VTK draw into memory where there is no screen; call it before the first view is made."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


def turn_off_vtk_warnings() -> None:
    """Keep VTK from printing for as long as the process lives."""
    from vtk import vtkObject

    vtkObject.SetGlobalWarningDisplay(0)


@contextmanager
def without_vtk_warnings() -> Iterator[None]:
    """Keep VTK from printing within the `with` block."""
    from vtk import vtkObject

    shown = vtkObject.GetGlobalWarningDisplay()
    vtkObject.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        vtkObject.SetGlobalWarningDisplay(shown)
