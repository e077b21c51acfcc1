"""What every node here shares: its place in the subject hierarchy; no trace of a failed call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VOLUME_REFERENCE_ROLE = "CovidLungQuant.volume"
# Roles of their own, so that `results_of` does not take lobes or chart for the results themselves.
LOBES_REFERENCE_ROLE = "CovidLungQuant.volumeOfLobes"
CHART_REFERENCE_ROLE = "CovidLungQuant.volumeOfChart"
MACHINE_REFERENCE_ROLE = "CovidLungQuant.volumeOfMachineLabels"
TUBES_REFERENCE_ROLE = "CovidLungQuant.volumeOfAirwaysAndVessels"
SUB_VISUAL_REFERENCE_ROLE = "CovidLungQuant.volumeOfSubVisualLesions"
ENHANCED_REFERENCE_ROLE = "CovidLungQuant.volumeOfEnhanced"
DENSITY_REFERENCE_ROLE = "CovidLungQuant.volumeOfLesionDensity"
RENDERED_REFERENCE_ROLE = "CovidLungQuant.volumeOfLungsIn3D"


@contextmanager
def no_new_nodes_on_error(scene: Any) -> Iterator[None]:
    """Remove every node that was added inside the `with` block if the block raises."""
    before = set(_nodes(scene))
    try:
        yield
    except BaseException:
        for node in _nodes(scene):
            if node not in before and scene.IsNodePresent(node):
                _remove(scene, node)
        raise


def place_beside(scene: Any, node: Any, sibling: Any) -> None:
    """Put `node` under the subject-hierarchy item (study, folder) that holds `sibling`."""
    hierarchy = scene.GetSubjectHierarchyNode()
    parent = hierarchy.GetItemParent(hierarchy_item(scene, sibling))
    hierarchy.SetItemParent(hierarchy_item(scene, node), parent)


def hierarchy_item(scene: Any, node: Any) -> int:
    """Return the subject-hierarchy item of a node; without Slicer's plugins, make it first."""
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    return item if item else hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def results_of(scene: Any, volume_node: Any) -> tuple[Any | None, Any | None]:
    """Return the newest (segmentation node, table node) made for a volume; None where missing."""
    return (
        newest_referring(scene, "vtkMRMLSegmentationNode", volume_node),
        newest_referring(scene, "vtkMRMLTableNode", volume_node),
    )


def remember_volume(node: Any, volume_node: Any, role: str = VOLUME_REFERENCE_ROLE) -> None:
    """Let `newest_referring` find `node` again, also after the scene was saved and loaded."""
    node.SetNodeReferenceID(role, volume_node.GetID())


def newest_referring(
    scene: Any, class_name: str, volume_node: Any, role: str = VOLUME_REFERENCE_ROLE
) -> Any | None:
    """Return the newest node of a class that was made for a volume; None if there is none."""
    nodes = [scene.GetNthNodeByClass(i, class_name) for i in range(_count(scene, class_name))]
    for node in reversed(nodes):
        if node.GetNodeReferenceID(role) == volume_node.GetID():
            return node
    return None


def node_in_role(scene: Any, class_name: str, owner: Any, role: str, name: str) -> Any:
    """The newest node of a class that was made for `owner` in that role, or a new one beside it."""
    node = newest_referring(scene, class_name, owner, role)
    if node is None:
        node = scene.AddNewNodeByClass(class_name, name)
        place_beside(scene, node, owner)
        remember_volume(node, owner, role)
    return node


def _remove(scene: Any, node: Any) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    scene.RemoveNode(node)
    # Slicer's plugins have done this already; without them it is left.
    if item and hierarchy.GetItemByDataNode(node) == item:
        hierarchy.RemoveItem(item, False)


def _count(scene: Any, class_name: str) -> int:
    return scene.GetNumberOfNodesByClass(class_name)


def _nodes(scene: Any) -> list[Any]:
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
