"""Marks "lesion here" and "not lesion here" in the views, and a preview of what they change.

Marks are points a person places and strokes a person draws; the preview is a segmentation of its
own, outlined, that belongs to no result and is counted nowhere. None is saved with the scene.

Placing: `start_marking(scene, is_lesion)`, `stop_marking(scene)`; nodes: `mark_nodes(scene)`.
Drawing: `begin_stroke(scene, is_lesion, place)`, then `extend_stroke(node, place)`.
Reading: `marked_voxels(scene, volume_node)` → (lesion, other).
Preview: `show_preview(scene, volume_node, labels, fix)`; all away: `clear_marks(scene)`.

Slicer's scene, and nodes in it, are arguments; nothing here touches the application.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from CovidLungQuantLib.labels import GGO, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.lesions.local_fix import LocalFix
from CovidLungQuantLib.mrml.nodes import (
    add_passing_node,
    no_new_nodes_on_error,
    place_beside,
    remove_with_display,
)
from CovidLungQuantLib.mrml.segments import make_segments, replace_segments, set_display
from CovidLungQuantLib.mrml.volumes import RAS_TO_LPS, geometry_of, node_to_world

MARKS_CLASS = "vtkMRMLMarkupsFiducialNode"
STROKE_CLASS = "vtkMRMLMarkupsCurveNode"
# Of a stroke: what it marks.
STROKE_ATTRIBUTE = "CovidLungQuant.stroke"
# Singletons, so that no name of the user's is taken for one.
LESION_MARKS = "CovidLungQuantLesionHere"
OTHER_MARKS = "CovidLungQuantNotLesionHere"
PREVIEW = "CovidLungQuantFixPreview"
_NAMES = {LESION_MARKS: "Lesion here", OTHER_MARKS: "Not lesion here"}
# Kept apart from the segments' blue and orange, and from each other.
_COLORS = {LESION_MARKS: (1.0, 0.35, 0.35), OTHER_MARKS: (0.35, 0.95, 0.95)}
# What the preview shows, each in the colour of the marks that make it.
BECOMES_LESION = replace(
    GGO,
    value=1,
    segment_id="BecomesLesion",
    name="Becomes lesion",
    color=_COLORS[LESION_MARKS],
    opacity=1.0,
)
BECOMES_LUNG = replace(
    NORMAL_LUNG,
    value=2,
    segment_id="BecomesNormalLung",
    name="Becomes normal lung",
    color=_COLORS[OTHER_MARKS],
    opacity=1.0,
)


def start_marking(scene: Any, is_lesion: bool) -> Any:
    """Let the next click in a view place a mark; return the node it goes to."""
    tag = LESION_MARKS if is_lesion else OTHER_MARKS
    node = _singleton(scene, tag, MARKS_CLASS)
    if node is None:
        node = add_passing_node(scene, MARKS_CLASS, _NAMES[tag], tag)
        _color(node, tag)
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    selection.SetReferenceActivePlaceNodeClassName(MARKS_CLASS)
    selection.SetActivePlaceNodeID(node.GetID())
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetPlaceModePersistence(0)
    interaction.SetCurrentInteractionMode(interaction.Place)
    return node


def stop_marking(scene: Any) -> None:
    """Let clicks in the views place marks no more."""
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    active = selection.GetActivePlaceNodeID()
    if active is not None and active in [node.GetID() for node in mark_nodes(scene)]:
        interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        selection.SetActivePlaceNodeID(None)


def begin_stroke(scene: Any, is_lesion: bool, place: tuple[float, float, float]) -> Any:
    """Begin to draw a stroke at a place in the world's RAS; return its node."""
    tag = LESION_MARKS if is_lesion else OTHER_MARKS
    node = add_passing_node(scene, STROKE_CLASS, f"{_NAMES[tag]}, stroke")
    node.SetAttribute(STROKE_ATTRIBUTE, tag)
    node.SetCurveTypeToLinear()
    node.SetLocked(True)
    _color(node, tag)
    display = node.GetDisplayNode()
    display.SetPropertiesLabelVisibility(False)
    # The points that it goes through are no thicker than the line, whose thickness is of theirs.
    display.SetGlyphScale(1.0)
    display.SetLineThickness(0.8)
    extend_stroke(node, place)
    return node


def extend_stroke(stroke: Any, place: tuple[float, float, float]) -> None:
    """Let a stroke go on to a place in the world's RAS."""
    stroke.AddControlPointWorld(*place)


def mark_nodes(scene: Any) -> tuple[Any, ...]:
    """Return the nodes that hold marks now: places of both kinds, and each stroke."""
    nodes = (_singleton(scene, tag, MARKS_CLASS) for tag in (LESION_MARKS, OTHER_MARKS))
    places = (node for node in nodes if node is not None)
    return (*places, *_strokes(scene, LESION_MARKS), *_strokes(scene, OTHER_MARKS))


def marked_voxels(scene: Any, volume_node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of a volume marked as lesion and as no lesion, bool (z, y, x).

    Raises:
        BadInputError: the volume is under a transform that bends.
    """
    geometry = geometry_of(volume_node)
    world_to_index = np.linalg.inv(node_to_world(volume_node) @ RAS_TO_LPS @ geometry.ijk_to_lps)
    marked = []
    for tag in (LESION_MARKS, OTHER_MARKS):
        mask = np.zeros(geometry.shape, bool)
        ways = [[place] for place in _places(_singleton(scene, tag, MARKS_CLASS))]
        ways += [_places(stroke) for stroke in _strokes(scene, tag)]
        for way in filter(None, ways):
            homogeneous = np.column_stack([way, np.ones(len(way))])
            indices = (homogeneous @ world_to_index.T)[:, 2::-1]
            indices = np.rint(_along(indices)).astype(int)
            inside = ((indices >= 0) & (indices < geometry.shape)).all(axis=1)
            mask[tuple(indices[inside].T)] = True
        marked.append(mask)
    return marked[0], marked[1]


def _along(points: np.ndarray) -> np.ndarray:
    """Return points (n, 3), in voxels, with enough between them that no voxel is passed over."""
    pieces = [points[:1]]
    for start, end in pairwise(points):
        count = max(1, int(np.ceil(2.0 * np.abs(end - start).max())))
        shares = np.arange(1, count + 1)[:, None] / count
        pieces.append(start + shares * (end - start))
    return np.concatenate(pieces)


def show_preview(scene: Any, volume_node: Any, fix: LocalFix) -> Any:
    """Outline what a fix would change; return the node.

    Args:
        scene: the MRML scene.
        volume_node: the scan.
        fix: what would change.
    """
    changes = np.zeros(fix.labels.shape, np.uint8)
    added = is_lesion(fix.labels[fix.box])
    changes[fix.box][fix.changed & added] = BECOMES_LESION.value
    changes[fix.box][fix.changed & ~added] = BECOMES_LUNG.value
    node = _singleton(scene, PREVIEW, "vtkMRMLSegmentationNode")
    with no_new_nodes_on_error(scene):
        if node is None:
            node = add_passing_node(scene, "vtkMRMLSegmentationNode", "Preview of the fix", PREVIEW)
            place_beside(scene, node, volume_node)
        modify_state = node.StartModify()
        try:
            classes = (BECOMES_LESION, BECOMES_LUNG)
            old_ids = list(node.GetSegmentation().GetSegmentIDs())
            segments = make_segments(changes, classes, None, volume_node)
            replace_segments(node, volume_node, old_ids, segments)
            set_display(node, classes)
            display = node.GetDisplayNode()
            display.SetAllSegmentsVisibility2DFill(False)
            display.SetSliceIntersectionThickness(3)
            display.SetVisibility3D(False)
            display.SetSaveWithScene(False)
        finally:
            node.EndModify(modify_state)
    return node


def preview_of(scene: Any) -> Any | None:
    """Return the node of the preview; None where nothing is previewed."""
    return _singleton(scene, PREVIEW, "vtkMRMLSegmentationNode")


def clear_marks(scene: Any) -> None:
    """Take marks and preview out of the scene."""
    stop_marking(scene)
    for node in (*mark_nodes(scene), preview_of(scene)):
        if node is not None:
            remove_with_display(scene, node)


def _places(node: Any | None) -> list[tuple[float, float, float]]:
    """Where the marks of a node are placed, in the world's RAS."""
    if node is None:
        return []
    places = []
    for number in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(number) == node.PositionDefined:
            place = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(number, place)
            places.append((place[0], place[1], place[2]))
    return places


def _strokes(scene: Any, tag: str) -> list[Any]:
    count = scene.GetNumberOfNodesByClass(STROKE_CLASS)
    nodes = (scene.GetNthNodeByClass(index, STROKE_CLASS) for index in range(count))
    return [node for node in nodes if node.GetAttribute(STROKE_ATTRIBUTE) == tag]


def _color(node: Any, tag: str) -> None:
    """Show marks in the colour of their kind."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(_COLORS[tag])
    display.SetColor(_COLORS[tag])
    display.SetPointLabelsVisibility(False)
    display.SetSaveWithScene(False)


def _singleton(scene: Any, tag: str, class_name: str) -> Any | None:
    return scene.GetSingletonNode(tag, class_name)
