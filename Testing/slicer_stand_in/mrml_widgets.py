"""Stand-ins for Slicer's widgets that know the MRML scene: `qMRMLWidget`, `qMRMLNodeComboBox`."""

from __future__ import annotations

import weakref
from typing import Any

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, QObject, Signal

from .pythonqt import register_widget_class


class _MRMLWidget(QtWidgets.QWidget):
    """A widget that hands its scene on to its children through `mrmlSceneChanged`."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene and tell the children."""
        self.__dict__["standInScene"] = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self.__dict__.get("standInScene")


def _option(name: str, kind: Any, default: Any) -> Property:
    key = f"standInOption_{name}"

    def read(self: QObject) -> Any:
        return self.__dict__.get(key, default)

    def write(self: QObject, value: Any) -> None:
        self.__dict__[key] = value
        if self.__dict__.get("standInScene") is not None:
            self.standInRefresh()

    return Property(kind, read, write)


class _NodeComboBox(QtWidgets.QComboBox):
    """Lists the scene's nodes of some classes, with None and "Create new" where enabled."""

    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)

    nodeTypes = _option("nodeTypes", "QStringList", [])
    showChildNodeTypes = _option("showChildNodeTypes", bool, True)
    showHidden = _option("showHidden", bool, False)
    noneEnabled = _option("noneEnabled", bool, False)
    noneDisplay = _option("noneDisplay", str, "None")
    addEnabled = _option("addEnabled", bool, True)
    removeEnabled = _option("removeEnabled", bool, True)
    renameEnabled = _option("renameEnabled", bool, False)
    baseName = _option("baseName", str, "")
    selectNodeUponCreation = _option("selectNodeUponCreation", bool, True)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.__dict__.update(
            standInScene=None,
            standInNode=None,
            standInNodes=[],
            standInObserverTags=[],
            standInAttributes=[],
        )
        # Slicer's asks for the width of the longest name of a node, unless told otherwise.
        QtWidgets.QComboBox.setSizeAdjustPolicy(
            self, QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToContents
        )
        QtWidgets.QWidget.setSizePolicy(
            self, QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed
        )
        QtWidgets.QComboBox.activated.__get__(self).connect(self.standInOnActivated)

    def setMRMLScene(self, scene: Any) -> None:
        """Follow `scene`; None lets go of it."""
        for tag in self.standInObserverTags:
            self.standInScene.RemoveObserver(tag)
        self.__dict__.update(standInScene=scene, standInObserverTags=[])
        if scene is not None:
            # The scene outlives the panel: it must not keep the widget alive.
            reference = weakref.ref(self)

            def refresh(caller: Any, event: str) -> None:
                widget = reference()
                # While a scene closes, Slicer's lists wait for its end.
                if widget is not None and not scene.IsClosing():
                    widget.standInRefresh()

            for event in (
                slicer.vtkMRMLScene.NodeAddedEvent,
                slicer.vtkMRMLScene.NodeRemovedEvent,
                slicer.vtkMRMLScene.EndCloseEvent,
            ):
                self.standInObserverTags.append(scene.AddObserver(event, refresh))
        self.standInRefresh()

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self.standInScene

    def currentNode(self) -> Any:
        """Return the selected node or None."""
        return self.standInNode

    def setCurrentNode(self, node: Any) -> None:
        """Select a node, or None."""
        if isinstance(node, str):
            node = self.standInScene.GetNodeByID(node)
        # As in Slicer: what is not listed yet is not remembered either.
        self.standInSelect(node if node in self.standInNodes else None)

    def nodeCount(self) -> int:
        """Return how many nodes are listed."""
        return len(self.standInNodes)

    def nodeFromIndex(self, index: int) -> Any:
        """Return the node in a row, counted without None."""
        return self.standInNodes[index]

    def addNode(self) -> Any:
        """Create a node of the first type, as "Create new" does."""
        scene = self.standInScene
        node = scene.CreateNodeByClass(self.nodeTypes[0])
        node.UnRegister(None)
        node.SetName(scene.GenerateUniqueName(self.baseName))
        for class_name, name, value in self.standInAttributes:
            if class_name == self.nodeTypes[0]:
                node.SetAttribute(name, value)
        node = scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.standInSelect(node)
        self.nodeAddedByUser.emit(node)
        return node

    def addAttribute(self, class_name: str, name: str, value: str) -> None:
        """List only nodes of a class that have this attribute; new ones are given it."""
        self.standInAttributes.append((class_name, name, value))
        if self.standInScene is not None:
            self.standInRefresh()

    def removeCurrentNode(self) -> None:
        """Take the selected node out of the scene, as "Delete current" does."""
        self.standInScene.RemoveNode(self.standInNode)

    def standInSelect(self, node: Any) -> None:
        changed = node is not self.standInNode
        self.__dict__["standInNode"] = node
        row = self.standInNodes.index(node) if node in self.standInNodes else None
        offset = 1 if self.noneEnabled else 0
        none_row = 0 if self.noneEnabled else -1
        QtWidgets.QComboBox.setCurrentIndex(self, none_row if row is None else row + offset)
        if changed:
            self.currentNodeChanged.emit(node)

    def standInRefresh(self) -> None:
        self.__dict__["standInNodes"] = [
            node
            for class_name in self.nodeTypes
            for node in _nodes_by_class(self.standInScene, class_name)
            if (self.showChildNodeTypes or node.GetClassName() == class_name)
            and (self.showHidden or not node.GetHideFromEditors())
            and all(
                node.GetAttribute(name) == value
                for of_class, name, value in self.standInAttributes
                if of_class == class_name
            )
        ]
        QtWidgets.QComboBox.clear(self)
        texts = [self.noneDisplay] if self.noneEnabled else []
        texts += [node.GetName() or "" for node in self.standInNodes]
        texts += [text for text, _action in self.standInActions()]
        QtWidgets.QComboBox.addItems(self, texts)
        wanted = self.standInNode
        if self.standInNode is not None and not self.noneEnabled and self.standInNodes:
            # A Qt list falls back to a neighbour of a row that is gone.
            wanted = wanted if wanted in self.standInNodes else self.standInNodes[0]
        self.standInSelect(wanted if wanted in self.standInNodes else None)

    def standInActions(self) -> list[tuple[str, Any]]:
        """What stands below the nodes; renaming asks in a dialog, which the stand-in has not."""
        offered = (
            ("Create new", self.addEnabled, self.addNode),
            ("Rename current", self.renameEnabled, lambda: None),
            ("Delete current", self.removeEnabled, self.removeCurrentNode),
        )
        return [(text, action) for text, is_offered, action in offered if is_offered]

    def standInOnActivated(self, row: int) -> None:
        index = row - (1 if self.noneEnabled else 0)
        actions = self.standInActions()
        if index >= len(self.standInNodes):
            actions[index - len(self.standInNodes)][1]()
        else:
            self.standInSelect(self.standInNodes[index] if index >= 0 else None)


def _nodes_by_class(scene: Any, class_name: str) -> list[Any]:
    if scene is None:
        return []
    count = scene.GetNumberOfNodesByClass(class_name)
    return [scene.GetNthNodeByClass(index, class_name) for index in range(count)]


qMRMLWidget = register_widget_class("qMRMLWidget", _MRMLWidget)
qMRMLNodeComboBox = register_widget_class("qMRMLNodeComboBox", _NodeComboBox)
