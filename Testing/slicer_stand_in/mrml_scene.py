"""Slicer's real scene, nodes and logics (`slicer-core`) for the tests, set up as Slicer does it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from types import SimpleNamespace
from typing import Any

import slicer

from CovidLungQuantLib.mrml import scene_file


def make_scene() -> Any:
    """Return an empty scene; its logics become `slicer.modules.<name>.logic()`."""
    cache_folder = tempfile.mkdtemp(prefix="mrml-cache-")
    atexit.register(shutil.rmtree, cache_folder, ignore_errors=True)
    scene, logics = scene_file.make_scene(cache_folder)
    plots = slicer.vtkSlicerPlotsLogic()
    plots.SetMRMLApplicationLogic(logics["application"])
    plots.SetMRMLScene(scene)
    logics["plots"] = plots
    rendering = slicer.vtkSlicerVolumeRenderingLogic()
    rendering.SetMRMLApplicationLogic(logics["application"])
    rendering.SetMRMLScene(scene)
    logics["volumerendering"] = rendering
    if not hasattr(slicer, "modules"):
        slicer.modules = SimpleNamespace()
    for name, logic in logics.items():
        setattr(slicer.modules, name, SimpleNamespace(logic=lambda logic=logic: logic))
    return scene
