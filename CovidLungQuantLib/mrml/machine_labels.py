"""The label map as the network made it, kept in the scene to compare a correction with.

It is a segmentation node that no list offers; Slicer saves it, compressed, with the scene.

Writing: `machine_labels_to_node(scene, labels, volume_node, model_name)`.
Reading: `machine_labels_of(scene, volume_node)` → labels, or None.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import LABELS
from CovidLungQuantLib.mrml.nodes import (
    MACHINE_REFERENCE_ROLE,
    newest_referring,
    no_new_nodes_on_error,
    node_in_role,
)
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node
from CovidLungQuantLib.mrml.segments import make_segments, replace_segments

SEGMENTATION_CLASS = "vtkMRMLSegmentationNode"


def machine_labels_to_node(
    scene: Any,
    labels: np.ndarray,
    volume_node: Any,
    model_name: str | None,
    segmentation_node: Any | None = None,
) -> Any:
    """Keep the machine's label map of a volume, in the place of an earlier one; return its node.

    Args:
        scene: the MRML scene.
        labels: label map (z, y, x) on the volume's grid; values as in `labels.py`.
        volume_node: the scalar volume node that was segmented.
        model_name: the network that made it; None if it is not known.
        segmentation_node: the result it belongs to, where the volume has several.
    """
    segments = make_segments(labels, LABELS, model_name, volume_node)
    with no_new_nodes_on_error(scene):
        node = node_in_role(
            scene,
            SEGMENTATION_CLASS,
            volume_node,
            MACHINE_REFERENCE_ROLE,
            f"{volume_node.GetName()} machine segmentation",
            segmentation_node,
        )
        node.SetHideFromEditors(True)
        segmentation = node.GetSegmentation()
        old_ids = [name for name in segments if segmentation.GetSegment(name) is not None]
        replace_segments(node, volume_node, old_ids, segments)
        # Slicer gives every segmentation a display when it is shown; this one never is.
        node.CreateDefaultDisplayNodes()
        node.SetDisplayVisibility(False)
    return node


def machine_labels_of(
    scene: Any, volume_node: Any, segmentation_node: Any | None = None
) -> np.ndarray | None:
    """Return the machine's label map (z, y, x) of a volume; None if none is kept or it is empty.

    With `segmentation_node` that of this result, where the volume has several.
    """
    node = _node_of(scene, volume_node, segmentation_node)
    if node is None:
        return None
    try:
        return segmentation_from_node(node, volume_node)[0]
    except BadInputError:
        # Someone took its segments away.
        return None


def _node_of(scene: Any, volume_node: Any, segmentation_node: Any | None) -> Any | None:
    return newest_referring(
        scene, SEGMENTATION_CLASS, volume_node, MACHINE_REFERENCE_ROLE, segmentation_node
    )
