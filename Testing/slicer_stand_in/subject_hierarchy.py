"""What Slicer's subject-hierarchy plugins do with nodes and segments, and what they complain of.

Slicer makes an item for a node when it is added and takes it away with the node; for segmentations
it follows every change of a segment, and logs an error where the node has no item: a red cross in
the status bar. Here the errors are kept in a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

SEGMENTATION_CLASS = "vtkMRMLSegmentationNode"
SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified")


class SubjectHierarchyPlugins:
    """Keeps the items of a scene's subject hierarchy, and notes in `errors` what Slicer logs."""

    def __init__(self, scene: Any) -> None:
        self.errors: list[str] = []
        self._scene = scene
        scene.AddObserver(scene.NodeAddedEvent, _with_node(self._on_added))
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, _with_node(self._on_removed))
        scene.AddObserver(scene.EndImportEvent, self._on_imported)

    def _on_added(self, node: Any) -> None:
        if node.IsA(SEGMENTATION_CLASS):
            for name in SEGMENT_EVENTS:
                event = getattr(slicer.vtkSegmentation, name)
                node.AddObserver(event, lambda caller, _event, name=name: self._check(caller, name))
            node.AddObserver(
                slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
                lambda caller, _event: self._check(caller, "DisplayModified"),
            )
        if not self._scene.IsImporting():
            self._add_item(node)

    def _add_item(self, node: Any) -> None:
        # Hidden nodes have no item, but for those that were hidden later.
        if node.IsA("vtkMRMLStorableNode") and not node.GetHideFromEditors():
            hierarchy = self._scene.GetSubjectHierarchyNode()
            if not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def _on_removed(self, node: Any) -> None:
        if self._scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        hierarchy = self._scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _on_imported(self, _caller: Any, _event: str) -> None:
        count = self._scene.GetNumberOfNodes()
        for node in [self._scene.GetNthNode(index) for index in range(count)]:
            self._add_item(node)

    def _check(self, node: Any, event: str) -> None:
        if self._scene.IsImporting() or self._scene.IsClosing():
            return
        if not self._scene.GetSubjectHierarchyNode().GetItemByDataNode(node):
            self.errors.append(
                f"Unable to find subject hierarchy item for segmentation node {node.GetName()}"
                f" ({event})"
            )


def _with_node(receive: Callable[[Any], None]) -> Callable[..., None]:
    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_event(_caller: Any, _event: str, node: Any) -> None:
        receive(node)

    return on_event
