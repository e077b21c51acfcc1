"""A label map that a scene's segmentation shows without a copy, so that changes show at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLungQuantLib.labels import LABELS
from CovidLungQuantLib.mrml.segments import BINARY_LABELMAP


def share_labels(segmentation_node: Any, labels: np.ndarray) -> None:
    """Let the segments of a result show a label map itself; call `labels_changed` after changes.

    Args:
        segmentation_node: as `segmentation.segmentation_to_node` writes it, from the same labels.
        labels: uint8 (z, y, x), contiguous; must be kept for as long as the node is.
    """
    from vtk.util.numpy_support import numpy_to_vtk

    scalars = numpy_to_vtk(labels.reshape(-1), deep=False)
    _image_of(segmentation_node).GetPointData().SetScalars(scalars)
    labels_changed(segmentation_node)


def labels_changed(segmentation_node: Any) -> None:
    """Draw a shared label map again."""
    image = _image_of(segmentation_node)
    image.GetPointData().GetScalars().Modified()
    image.Modified()
    segmentation_node.GetSegmentation().Modified()
    segmentation_node.Modified()


def _image_of(segmentation_node: Any) -> Any:
    segment = segmentation_node.GetSegmentation().GetSegment(LABELS[0].segment_id)
    return segment.GetRepresentation(BINARY_LABELMAP)
