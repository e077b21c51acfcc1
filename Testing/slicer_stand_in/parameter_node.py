"""Stand-in for `slicer.parameterNodeWrapper`: the part that this project's module uses.

Typed members (str, int, float, bool and MRML node classes) kept in a `vtkMRMLScriptedModuleNode`,
and bound both ways to widgets by `connectParametersToGui`. Slicer's `connectGui` is left out: it
returns no tag, so that nothing bound by it is ever let go of.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any

import slicer
import vtk

from .names import reduced_names

_PARSERS: dict[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: text == "True",
}


def make_parameter_node_module() -> ModuleType:
    """Return the stand-in for the module `slicer.parameterNodeWrapper`."""
    module = ModuleType("slicer.parameterNodeWrapper", "Stand-in for 3D Slicer's module.")
    module.parameterNodeWrapper = parameterNodeWrapper
    missing = {"parameterNodeWrapper"} - reduced_names().module_names(module.__name__)
    if missing:
        raise AttributeError(f"3D Slicer's parameterNodeWrapper has no {sorted(missing)}")
    return module


def parameterNodeWrapper(class_type: type) -> type:
    """Class decorator: annotated members become properties kept in a parameter node."""
    hints = typing.get_type_hints(class_type)
    defaults = {name: getattr(class_type, name, None) for name in hints}
    for name, kind in hints.items():
        if kind not in _PARSERS and not _is_node_class(kind):
            raise TypeError(f"The stand-in cannot keep a {kind} in a parameter node: {name}")
        setattr(class_type, name, _member(name, kind))
    for name, function in (
        ("__init__", _initialise),
        ("connectParametersToGui", _connect_parameters_to_gui),
        ("disconnectGui", _disconnect_gui),
        ("AddObserver", lambda self, *rest: self.parameterNode.AddObserver(*rest)),
        ("RemoveObserver", lambda self, tag: self.parameterNode.RemoveObserver(tag)),
    ):
        setattr(class_type, name, function)
    class_type.standInTypes = hints
    class_type.standInDefaults = defaults
    return class_type


def _is_node_class(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _member(name: str, kind: Any) -> property:
    def read_value(self: Any) -> Any:
        return _PARSERS[kind](self.parameterNode.GetParameter(name))

    def write_value(self: Any, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")
        self.parameterNode.SetParameter(name, str(value))

    def read_node(self: Any) -> Any:
        return self.parameterNode.GetNodeReference(name)

    def write_node(self: Any, node: Any) -> None:
        if node is not None and not isinstance(node, kind):
            raise TypeError(f"{name} must be a {kind.__name__} or None, not {node!r}")
        self.parameterNode.SetNodeReferenceID(name, node.GetID() if node else None)

    return (
        property(read_node, write_node)
        if _is_node_class(kind)
        else property(read_value, write_value)
    )


def _initialise(self: Any, parameterNode: Any) -> None:
    self.parameterNode = parameterNode
    self.standInBindings = {}
    self.standInNextTag = 0
    self.standInUpdatingGui = False
    for name, kind in self.standInTypes.items():
        if kind in _PARSERS and not parameterNode.GetParameter(name):
            default = self.standInDefaults[name]
            setattr(self, name, kind() if default is None else default)


def _connect_parameters_to_gui(self: Any, mapping: dict[str, Any]) -> int:
    for name, widget in mapping.items():
        if name not in self.standInTypes:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        if widget.className() != "qMRMLNodeComboBox" or not _is_node_class(self.standInTypes[name]):
            raise RuntimeError(f"The stand-in cannot bind {name} to a {widget.className()}")
        widget.nodeTypes = [self.standInTypes[name].__name__]
    tag = self.standInNextTag
    self.standInNextTag += 1
    bound = self.standInBindings[tag] = {}
    for name, widget in mapping.items():
        widget.setCurrentNode(getattr(self, name))
        receiver = _gui_to_parameter(self, name, widget)
        widget.connect("currentNodeChanged(vtkMRMLNode*)", receiver)
        bound[name] = (widget, receiver)
    self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _update_gui(self))
    return tag


def _gui_to_parameter(self: Any, name: str, widget: Any) -> Callable[[], None]:
    def write() -> None:
        if not self.standInUpdatingGui:
            setattr(self, name, widget.currentNode())

    return write


def _update_gui(self: Any) -> None:
    if self.standInUpdatingGui:
        return
    self.standInUpdatingGui = True
    try:
        for bound in self.standInBindings.values():
            for name, (widget, _) in bound.items():
                widget.setCurrentNode(getattr(self, name))
    finally:
        self.standInUpdatingGui = False


def _disconnect_gui(self: Any, tag: int | None) -> None:
    """Let go of what a tag stands for; of nothing where the tag is unknown, as Slicer's does."""
    for widget, receiver in self.standInBindings.pop(tag, {}).values():
        widget.disconnect("currentNodeChanged(vtkMRMLNode*)", receiver)
