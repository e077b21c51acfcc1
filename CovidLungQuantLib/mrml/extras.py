"""What a run finds besides the lesions, as nodes.

Airways and vessels, sub-visual lesions and the enhanced scan are found on request; where the lung
network differs is kept wherever it does. Descriptions say in words what was measured.

Writing: `airways_and_vessels_to_node`, `sub_visual_to_node`, `lung_decisions_to_node` and
`enhanced_to_node`, each with (scene, quantification, volume_node, node=None) → the node, or None
where the run has nothing of it; `extras_to_nodes` for all of them.
Reading: `airways_and_vessels_from_node(node, volume_node)` → (labels, warnings).
Finding those of an earlier run: `airways_and_vessels_of`, `sub_visual_of`, `lung_decisions_of` and
`enhanced_of`, each with (scene, volume_node).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.anatomy.lung_anatomy import DECISION_METHOD_NAME
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.display.enhancement import enhancement_facts, enhancement_severities
from CovidLungQuantLib.labels import AIRWAYS_AND_VESSELS, LUNG_DECISIONS, SUB_VISUAL_LESION, Label
from CovidLungQuantLib.lesions.airways_and_vessels import METHOD_NAME as AIRWAYS_AND_VESSELS_METHOD
from CovidLungQuantLib.lesions.enhancement import METHOD_NAME as ENHANCEMENT_METHOD
from CovidLungQuantLib.measures.airways_and_vessels import measure_airways_and_vessels, volumes_note
from CovidLungQuantLib.mrml.nodes import (
    AIRWAYS_AND_VESSELS_REFERENCE_ROLE,
    ENHANCED_REFERENCE_ROLE,
    LUNG_DECISIONS_REFERENCE_ROLE,
    SUB_VISUAL_REFERENCE_ROLE,
    newest_referring,
    no_new_nodes_on_error,
    place_beside,
    remember_volume,
    renew_or_set_aside,
)
from CovidLungQuantLib.mrml.segments import hidden_segments_to_node, make_segments, segment_mask
from CovidLungQuantLib.mrml.volumes import copy_geometry, fill_image, geometry_of, show_in_window

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

SEGMENTATION_CLASS = "vtkMRMLSegmentationNode"
VOLUME_CLASS = "vtkMRMLScalarVolumeNode"


def airways_and_vessels_to_node(
    scene: Any, quantification: Quantification, volume_node: Any, node: Any | None = None
) -> Any | None:
    """Write airways and vessels as a segmentation node and return it; a new one is hidden.

    Args:
        scene: the MRML scene.
        quantification: its arrays are on the grid of `volume_node`.
        volume_node: the scalar volume node that was quantified.
        node: updated in place if given, other segments in it are kept. None adds a node.

    Returns:
        the node; None, with nothing written, where they were not looked for.
    """
    node = _segments_to_node(
        scene,
        quantification.airways_and_vessels,
        AIRWAYS_AND_VESSELS,
        AIRWAYS_AND_VESSELS_METHOD,
        volume_node,
        f"{volume_node.GetName()} airways and vessels",
        AIRWAYS_AND_VESSELS_REFERENCE_ROLE,
        node,
    )
    if node is not None and quantification.airways_and_vessels is not None:
        measured = measure_airways_and_vessels(
            quantification.airways_and_vessels,
            quantification.labels,
            quantification.ct.geometry.voxel_volume_ml,
        )
        node.SetDescription(volumes_note(measured))
    return node


def sub_visual_to_node(
    scene: Any, quantification: Quantification, volume_node: Any, node: Any | None = None
) -> Any | None:
    """Write the sub-visual lesions as a segmentation node and return it; a new one is hidden.

    Arguments and result as `airways_and_vessels_to_node`.
    """
    enhancement = quantification.enhancement
    return _segments_to_node(
        scene,
        None if enhancement is None else enhancement.sub_visual,
        (SUB_VISUAL_LESION,),
        ENHANCEMENT_METHOD,
        volume_node,
        f"{volume_node.GetName()} sub-visual lesions",
        SUB_VISUAL_REFERENCE_ROLE,
        node,
    )


def lung_decisions_to_node(
    scene: Any, quantification: Quantification, volume_node: Any, node: Any | None = None
) -> Any | None:
    """Write where the lung network differs as a segmentation node; a new one is hidden.

    Only what there is becomes a segment. Arguments and result as `airways_and_vessels_to_node`.
    """
    decisions = quantification.lung_decisions
    if decisions is None:
        return None
    found = np.bincount(decisions.ravel(), minlength=len(LUNG_DECISIONS) + 1)
    there = [label for label in LUNG_DECISIONS if found[label.value]]
    segments = make_segments(decisions, there, DECISION_METHOD_NAME, volume_node)
    node = hidden_segments_to_node(
        scene,
        segments,
        there,
        volume_node,
        f"{volume_node.GetName()} lung network",
        LUNG_DECISIONS_REFERENCE_ROLE,
        node,
        _ids_in(node, LUNG_DECISIONS),
    )
    voxel_ml = quantification.ct.geometry.voxel_volume_ml
    node.SetDescription(
        "\n".join(f"{label.name}: {found[label.value] * voxel_ml:.0f} mL" for label in there)
    )
    return node


def enhanced_to_node(
    scene: Any, quantification: Quantification, volume_node: Any, node: Any | None = None
) -> Any | None:
    """Write the enhanced scan as a volume node, shown in its optimal window, and return it.

    Args:
        scene: the MRML scene.
        quantification: its arrays are on the grid of `volume_node`.
        volume_node: the scalar volume node that was quantified.
        node: overwritten if given. None adds a node.

    Returns:
        the node; None, with nothing written, where the scan was not enhanced.
    """
    import vtk

    enhancement = quantification.enhancement
    if enhancement is None:
        return None
    with no_new_nodes_on_error(scene):
        if node is None:
            node = scene.AddNewNodeByClass(VOLUME_CLASS, f"{volume_node.GetName()} enhanced")
            place_beside(scene, node, volume_node)
        modify_state = node.StartModify()
        try:
            copy_geometry(volume_node, node)
            image = vtk.vtkImageData()
            fill_image(image, enhancement.enhanced_hu)
            node.SetAndObserveImageData(image)
            node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
            show_in_window(node, 0.0, enhancement.window_width_hu)
            remember_volume(node, volume_node, ENHANCED_REFERENCE_ROLE)
            facts = (*enhancement_facts(enhancement), *enhancement_severities(enhancement))
            node.SetDescription("\n".join(f"{name}: {text}" for name, text in facts))
        finally:
            node.EndModify(modify_state)
    return node


def extras_to_nodes(
    scene: Any,
    quantification: Quantification,
    volume_node: Any,
    segmentation_node: Any | None = None,
) -> None:
    """Write all that the run has found, each as `nodes.renew_or_set_aside` does.

    `segmentation_node` is the result, where the volume has several.
    """
    for write, find, role in (
        (airways_and_vessels_to_node, airways_and_vessels_of, AIRWAYS_AND_VESSELS_REFERENCE_ROLE),
        (sub_visual_to_node, sub_visual_of, SUB_VISUAL_REFERENCE_ROLE),
        (lung_decisions_to_node, lung_decisions_of, LUNG_DECISIONS_REFERENCE_ROLE),
        (enhanced_to_node, enhanced_of, ENHANCED_REFERENCE_ROLE),
    ):
        renew_or_set_aside(scene, quantification, volume_node, segmentation_node, write, find, role)


def airways_and_vessels_from_node(
    node: Any, volume_node: Any
) -> tuple[np.ndarray, tuple[ScanWarning, ...]]:
    """Return (labels, warnings): airways and vessels as a label map on the volume's grid.

    Returns:
        labels: uint8 (z, y, x), values of `labels.AIRWAYS_AND_VESSELS`; empty where a segment is
            no longer there.
        warnings: of segments that were resampled or lie outside the volume.
    """
    warnings: list[ScanWarning] = []
    labels = np.zeros(geometry_of(volume_node).shape, np.uint8)
    # An airway's wall may be counted as vessel, its lumen not: airways come last, as in a run.
    for label in reversed(AIRWAYS_AND_VESSELS):
        if node.GetSegmentation().GetSegment(label.segment_id) is not None:
            labels[segment_mask(node, label.segment_id, volume_node, warnings)] = label.value
    return labels, tuple(dict.fromkeys(warnings))


def airways_and_vessels_of(
    scene: Any, volume_node: Any, segmentation_node: Any | None = None
) -> Any | None:
    """Return the node of airways and vessels of a volume; None if there is none."""
    return newest_referring(
        scene,
        SEGMENTATION_CLASS,
        volume_node,
        AIRWAYS_AND_VESSELS_REFERENCE_ROLE,
        segmentation_node,
    )


def sub_visual_of(scene: Any, volume_node: Any, segmentation_node: Any | None = None) -> Any | None:
    """Return the node of sub-visual lesions of a volume; None if there is none."""
    return newest_referring(
        scene, SEGMENTATION_CLASS, volume_node, SUB_VISUAL_REFERENCE_ROLE, segmentation_node
    )


def lung_decisions_of(
    scene: Any, volume_node: Any, segmentation_node: Any | None = None
) -> Any | None:
    """Return the node of where the lung network differs; None if there is none."""
    return newest_referring(
        scene, SEGMENTATION_CLASS, volume_node, LUNG_DECISIONS_REFERENCE_ROLE, segmentation_node
    )


def enhanced_of(scene: Any, volume_node: Any, segmentation_node: Any | None = None) -> Any | None:
    """Return the enhanced volume node of a volume; None if there is none."""
    return newest_referring(
        scene, VOLUME_CLASS, volume_node, ENHANCED_REFERENCE_ROLE, segmentation_node
    )


def _segments_to_node(
    scene: Any,
    labels: np.ndarray | None,
    classes: Sequence[Label],
    method_name: str,
    volume_node: Any,
    name: str,
    role: str,
    node: Any | None,
) -> Any | None:
    if labels is None:
        return None
    segments = make_segments(labels, classes, method_name, volume_node)
    return hidden_segments_to_node(scene, segments, classes, volume_node, name, role, node)


def _ids_in(node: Any | None, classes: Sequence[Label]) -> list[str]:
    """Segment ids of those classes of which a node, if there is one, has a segment."""
    if node is None:
        return []
    segmentation = node.GetSegmentation()
    ids = (label.segment_id for label in classes)
    return [segment_id for segment_id in ids if segmentation.GetSegment(segment_id) is not None]
