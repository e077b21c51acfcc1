"""What every node here shares: its place in the subject hierarchy; no trace of a failed call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

VOLUME_REFERENCE_ROLE = "CovidLungQuant.volume"
# Roles of their own, so that `results_of` does not take lobes or chart for the results themselves.
LOBES_REFERENCE_ROLE = "CovidLungQuant.volumeOfLobes"
CHART_REFERENCE_ROLE = "CovidLungQuant.volumeOfChart"
MACHINE_REFERENCE_ROLE = "CovidLungQuant.volumeOfMachineLabels"
PROBABILITY_REFERENCE_ROLE = "CovidLungQuant.volumeOfLesionProbability"
AIRWAYS_AND_VESSELS_REFERENCE_ROLE = "CovidLungQuant.volumeOfAirwaysAndVessels"
SUB_VISUAL_REFERENCE_ROLE = "CovidLungQuant.volumeOfSubVisualLesions"
ENHANCED_REFERENCE_ROLE = "CovidLungQuant.volumeOfEnhanced"
DENSITY_REFERENCE_ROLE = "CovidLungQuant.volumeOfLesionDensity"
LUNG_DECISIONS_REFERENCE_ROLE = "CovidLungQuant.volumeOfLungDecisions"
RENDERED_REFERENCE_ROLE = "CovidLungQuant.volumeOfLungsIn3D"
# The segmentation a node belongs to, where one volume has several results.
RESULT_REFERENCE_ROLE = "CovidLungQuant.result"
# Stays where the scan, and with it the reference, is gone; its value is the role.
MADE_FROM_A_SCAN_ATTRIBUTE = "CovidLungQuant.madeFromAScan"
# Behind a role: of a run whose result was replaced by one without such a node.
OF_EARLIER_RUN = "OfEarlierRun"
EARLIER_RUN_SUFFIX = " (earlier run)"
EARLIER_RUN_NOTE = "Of an earlier run; the result that is shown now was made without it."


@contextmanager
def no_new_nodes_on_error(scene: Any) -> Iterator[None]:
    """Remove every node that was added inside the `with` block if the block raises."""
    before = set(_nodes(scene))
    try:
        yield
    except BaseException:
        for node in _nodes(scene):
            if node not in before and scene.IsNodePresent(node):
                remove(scene, node)
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


def results_of(
    scene: Any, volume_node: Any, taken: Iterable[Any] = ()
) -> tuple[Any | None, Any | None]:
    """Return the newest (segmentation node, table node) made for a volume; None where missing.

    Nodes in `taken` are passed over.
    """
    taken = tuple(taken)

    def newest(class_name: str) -> Any | None:
        nodes = _referring(scene, class_name, volume_node, VOLUME_REFERENCE_ROLE)
        return next((node for node in reversed(nodes) if node not in taken), None)

    return newest("vtkMRMLSegmentationNode"), newest("vtkMRMLTableNode")


def remember_volume(node: Any, volume_node: Any, role: str = VOLUME_REFERENCE_ROLE) -> None:
    """Let `newest_referring` find `node` again, also after the scene was saved and loaded."""
    if role != VOLUME_REFERENCE_ROLE:
        node.SetAttribute(MADE_FROM_A_SCAN_ATTRIBUTE, role)
    node.SetNodeReferenceID(role, volume_node.GetID())


def remember_result(node: Any, segmentation_node: Any) -> None:
    """Let a node belong to one of several results of its volume."""
    if node.GetNodeReferenceID(RESULT_REFERENCE_ROLE) != segmentation_node.GetID():
        node.SetNodeReferenceID(RESULT_REFERENCE_ROLE, segmentation_node.GetID())


def is_made_from_a_scan(volume_node: Any) -> bool:
    """Whether a volume is no scan but was made here from one, also when that is gone."""
    return volume_node.GetAttribute(MADE_FROM_A_SCAN_ATTRIBUTE) is not None


def result_of(node: Any) -> Any | None:
    """Return the segmentation a node belongs to; None where that is not known or is gone."""
    return node.GetNodeReference(RESULT_REFERENCE_ROLE)


def newest_referring(
    scene: Any,
    class_name: str,
    volume_node: Any,
    role: str = VOLUME_REFERENCE_ROLE,
    segmentation_node: Any | None = None,
) -> Any | None:
    """Return the newest node of a class that was made for a volume; None if there is none.

    With `segmentation_node` only what belongs to that result counts, or to none that is known.
    """
    nodes = _referring(scene, class_name, volume_node, role)
    if segmentation_node is not None:
        mine = [node for node in nodes if result_of(node) is segmentation_node]
        nodes = mine or [node for node in nodes if result_of(node) is None]
    return nodes[-1] if nodes else None


def node_in_role(
    scene: Any,
    class_name: str,
    owner: Any,
    role: str,
    name: str,
    segmentation_node: Any | None = None,
) -> Any:
    """The newest node of a class that was made for `owner` in that role, or a new one beside it.

    `segmentation_node` as in `newest_referring`; a node then belongs to it.
    """
    node = newest_referring(scene, class_name, owner, role, segmentation_node)
    if node is None:
        node = scene.AddNewNodeByClass(class_name, name)
        place_beside(scene, node, owner)
        remember_volume(node, owner, role)
    if segmentation_node is not None:
        remember_result(node, segmentation_node)
    return node


def add_passing_node(
    scene: Any, class_name: str, name: str, tag: str | None = None, *, is_offered: bool = True
) -> Any:
    """Add a node that is there for a while: it is not saved with the scene.

    Args:
        scene: the MRML scene.
        class_name: of the node.
        name: of the node.
        tag: of a singleton; None adds one of several.
        is_offered: in lists of nodes to choose from.
    """
    node = scene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetName(name)
    if tag is not None:
        node.SetSingletonTag(tag)
    # Before it is in the scene: lists take it up at once.
    node.SetHideFromEditors(not is_offered)
    node.SetSaveWithScene(False)
    node = scene.AddNode(node)
    hierarchy_item(scene, node)
    return node


def remove_with_display(scene: Any, node: Any) -> None:
    """Take a node and what displays it out of the scene."""
    displays = map(node.GetNthDisplayNode, range(node.GetNumberOfDisplayNodes()))
    for part in (*displays, node):
        remove(scene, part)


def set_aside(scene: Any, node: Any, volume_node: Any, role: str) -> None:
    """Keep a node that the newest run has no successor for, but as one of an earlier run.

    It is hidden, says in its name and description what it is, and is found in `role` no more. Of
    each role one such node is kept for a result.
    """
    earlier_role = f"{role}{OF_EARLIER_RUN}"
    older = newest_referring(scene, node.GetClassName(), volume_node, earlier_role, result_of(node))
    if older is not None:
        remove(scene, older)
    node.RemoveNodeReferenceIDs(role)
    remember_volume(node, volume_node, earlier_role)
    node.SetName(f"{node.GetName()}{EARLIER_RUN_SUFFIX}")
    node.SetDescription("\n".join(filter(None, (EARLIER_RUN_NOTE, node.GetDescription()))))
    node.SetDisplayVisibility(False)


def renew_or_set_aside(
    scene: Any,
    quantification: Quantification,
    volume_node: Any,
    segmentation_node: Any | None,
    write: Callable[..., Any | None],
    find: Callable[..., Any | None],
    role: str,
) -> None:
    """Write a part of a result in the place of the one of the run before.

    What this run has not looked for, or not found, is set aside: it must not look like a part of
    the new result.

    Args:
        scene: the MRML scene.
        quantification: the run.
        volume_node: the volume it belongs to.
        segmentation_node: the result it belongs to, where the volume has several.
        write: writes the part, such as `lobes.lobes_to_node`; None where the run has none.
        find: finds that of the run before, such as `lobes.lobes_of`.
        role: in which both refer to the volume.
    """
    earlier = find(scene, volume_node, segmentation_node)
    node = write(scene, quantification, volume_node, earlier)
    if node is None and earlier is not None:
        set_aside(scene, earlier, volume_node, role)
    if None not in (node, segmentation_node):
        remember_result(node, segmentation_node)


def remove(scene: Any, node: Any) -> None:
    """Take a node out of the scene and of the subject hierarchy."""
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    scene.RemoveNode(node)
    # Slicer's plugins have done this already; without them it is left.
    if item and hierarchy.GetItemByDataNode(node) == item:
        hierarchy.RemoveItem(item, False)


def _referring(scene: Any, class_name: str, volume_node: Any, role: str) -> list[Any]:
    count = scene.GetNumberOfNodesByClass(class_name)
    nodes = (scene.GetNthNodeByClass(index, class_name) for index in range(count))
    return [node for node in nodes if node.GetNodeReferenceID(role) == volume_node.GetID()]


def _nodes(scene: Any) -> list[Any]:
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
