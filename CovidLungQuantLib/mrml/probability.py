"""The network's lesion probability, kept in the scene so that sensitivity can be changed later.

It is a volume node that no list offers, with a reference to its result; Slicer saves it with the
scene.

Writing: `probability_to_node(scene, quantification, volume_node, segmentation_node)`.
Reading: `probability_of(scene, volume_node, segmentation_node)` → codes, or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.mrml.nodes import (
    PROBABILITY_REFERENCE_ROLE,
    newest_referring,
    no_new_nodes_on_error,
    node_in_role,
    remove,
)
from CovidLungQuantLib.mrml.volumes import copy_geometry, fill_image, geometry_of, voxels

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

VOLUME_CLASS = "vtkMRMLScalarVolumeNode"


def probability_to_node(
    scene: Any,
    quantification: Quantification,
    volume_node: Any,
    segmentation_node: Any | None = None,
) -> Any | None:
    """Keep the probability of a run, in the place of an earlier one; return its node.

    Args:
        scene: the MRML scene.
        quantification: its arrays are on the grid of `volume_node`.
        volume_node: the scalar volume node that was segmented.
        segmentation_node: the result it belongs to, where the volume has several.

    Returns:
        the node; None where the run kept no probability: then that of a run before, which does not
        belong to the new labels, is taken away.
    """
    import vtk

    node = _node_of(scene, volume_node, segmentation_node)
    probability = quantification.lesion_probability
    if probability is None:
        if node is not None:
            remove(scene, node)
        return None
    with no_new_nodes_on_error(scene):
        node = node_in_role(
            scene,
            VOLUME_CLASS,
            volume_node,
            PROBABILITY_REFERENCE_ROLE,
            f"{volume_node.GetName()} lesion probability",
            segmentation_node,
        )
        node.SetHideFromEditors(True)
        modify_state = node.StartModify()
        try:
            copy_geometry(volume_node, node)
            image = vtk.vtkImageData()
            fill_image(image, probability)
            node.SetAndObserveImageData(image)
            node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        finally:
            node.EndModify(modify_state)
    return node


def probability_of(
    scene: Any, volume_node: Any, segmentation_node: Any | None = None
) -> np.ndarray | None:
    """Return the codes uint8 (z, y, x) kept for a volume; None if there are none that fit it.

    With `segmentation_node` those of this result, where the volume has several.
    """
    node = _node_of(scene, volume_node, segmentation_node)
    image = None if node is None else node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        return None
    codes = voxels(image)
    if codes.dtype != np.uint8 or codes.shape != geometry_of(volume_node).shape:
        return None
    return codes.copy()


def _node_of(scene: Any, volume_node: Any, segmentation_node: Any | None) -> Any | None:
    return newest_referring(
        scene, VOLUME_CLASS, volume_node, PROBABILITY_REFERENCE_ROLE, segmentation_node
    )
