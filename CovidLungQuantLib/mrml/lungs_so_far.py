"""The lungs of a run that goes on, shown until its result is there.

They belong to no result, are counted nowhere and are not saved with the scene.

Showing: `show_lungs_so_far(scene, volume_node, lungs)`; away: `remove_lungs_so_far(scene)`.

Slicer's scene, and nodes in it, are arguments; nothing here touches the application.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from CovidLungQuantLib.labels import NORMAL_LUNG
from CovidLungQuantLib.mrml.nodes import (
    add_passing_node,
    no_new_nodes_on_error,
    place_beside,
    remove_with_display,
)
from CovidLungQuantLib.mrml.segments import make_segments, replace_segments, set_display

SEGMENTATION_CLASS = "vtkMRMLSegmentationNode"
# A singleton, so that no name of the user's is taken for it.
LUNGS_SO_FAR_TAG = "CovidLungQuantLungsSoFar"
# Neither normal nor ill yet.
LUNGS_SO_FAR = replace(
    NORMAL_LUNG,
    value=1,
    segment_id="LungsSoFar",
    name="Lungs, searched for lesions",
    color=(0.45, 0.80, 0.75),
    opacity=0.7,
)


def show_lungs_so_far(scene: Any, volume_node: Any, lungs: np.ndarray) -> Any:
    """Show the lungs over a volume, in the place of earlier ones; return the node.

    Args:
        scene: the MRML scene.
        volume_node: the scalar volume node that is segmented.
        lungs: (z, y, x) on the volume's grid; lung where it is not 0.
    """
    remove_lungs_so_far(scene)
    segments = make_segments(lungs > 0, (LUNGS_SO_FAR,), None, volume_node)
    with no_new_nodes_on_error(scene):
        node = add_passing_node(
            scene, SEGMENTATION_CLASS, LUNGS_SO_FAR.name, LUNGS_SO_FAR_TAG, is_offered=False
        )
        place_beside(scene, node, volume_node)
        replace_segments(node, volume_node, (), segments)
        set_display(node, (LUNGS_SO_FAR,))
        node.GetDisplayNode().SetSaveWithScene(False)
    return node


def lungs_so_far(scene: Any) -> Any | None:
    """The node that shows them; None where there is none."""
    return scene.GetSingletonNode(LUNGS_SO_FAR_TAG, SEGMENTATION_CLASS)


def remove_lungs_so_far(scene: Any) -> None:
    """Take them out of the scene again; nothing where there are none."""
    node = lungs_so_far(scene)
    if node is not None:
        remove_with_display(scene, node)
