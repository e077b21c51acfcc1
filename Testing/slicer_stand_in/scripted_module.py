"""Stand-in for `slicer.ScriptedLoadableModule`: the base classes of a scripted module."""

from __future__ import annotations

import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer

from .names import reduced_names

_MODULE_NAME = "slicer.ScriptedLoadableModule"


def make_scripted_module_module() -> ModuleType:
    """Return the stand-in for the module `slicer.ScriptedLoadableModule`."""
    module = ModuleType(_MODULE_NAME, "Stand-in for 3D Slicer's module.")
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    for base in classes:
        offered = {name for name in vars(base) if not name.startswith("_")}
        missing = offered - reduced_names().module_names(f"{_MODULE_NAME}.{base.__name__}")
        if missing:
            raise AttributeError(f"3D Slicer's {base.__name__} has no {sorted(missing)}")
        setattr(module, base.__name__, base)
    module.__all__ = [base.__name__ for base in classes]
    return module


def _strip(name: str, suffix: str) -> str:
    return name[: -len(suffix)] if name.endswith(suffix) else name


class ScriptedLoadableModule:
    """Base of the class that describes the module."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, filename: str) -> str:
        """Path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)


class ScriptedLoadableModuleWidget:
    """Base of the panel."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = _strip(type(self).__name__, "Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        """Path of a file in the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Build the panel; overridden by the module."""

    def cleanup(self) -> None:
        """Let go of everything; overridden by the module."""

    def onReload(self) -> None:
        """What the developer's Reload button does."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()


class ScriptedLoadableModuleLogic:
    """Base of the logic: finds or makes the module's parameter nodes."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = _strip(type(self).__name__, "Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """Return the scene's first parameter node of this module; made where there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        if node is None:
            node = slicer.mrmlScene.AddNode(self.createParameterNode())
        # Closing the scene takes it away from a node that stays.
        if node.GetAttribute("ModuleName") != self.moduleName:
            node.SetAttribute("ModuleName", self.moduleName)
        return node

    def getAllParameterNodes(self) -> list[Any]:
        """Return the scene's parameter nodes of this module."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """Return a new parameter node that is not in the scene yet."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the module's own test."""

    def runTest(self) -> None:
        """Run the tests; overridden by the module."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None) -> None:
        """Show a message for a while; here it is only recorded."""
        slicer.app.standInMessages.append(("delay", message))
