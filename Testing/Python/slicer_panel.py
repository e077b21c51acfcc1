"""What the tests of the panel share: its file, mouse presses, and segments drawn by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6.QtCore import QObject, Qt
from PySide6.QtTest import QTest

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LABELS, LOBES, NORMAL_LUNG
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node
from Testing.slicer_stand_in import application
from Testing.slicer_stand_in.pythonqt import ctkCollapsibleButton

ROOT = Path(__file__).resolve().parents[2]
MODULE_FILE = ROOT / "CovidLungQuant" / "CovidLungQuant.py"
MODULE_NAME = "CovidLungQuant"


def use_small_model(widget: Any, model_path: str) -> None:
    widget._parameterNode.model = model_path
    widget._parameterNode.device = "cpu"


def open_sections(widget: Any) -> None:
    """Open all that is folded away at first, as a user does who works there."""
    representation = slicer.modules.covidlungquant.widgetRepresentation()
    for section in QObject.findChildren(representation, ctkCollapsibleButton):
        section.collapsed = False


def section(widget: Any, name: str) -> Any:
    """The section of the panel whose class is `name`."""
    (found,) = (part for part in widget._sections if type(part).__name__ == name)
    return found


def press(button: Any) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def label_map(segmentation_node: Any, volume_node: Any) -> np.ndarray:
    return segmentation_from_node(segmentation_node, volume_node)[0]


def draw_segments(
    segmentation_node: Any, volume_node: Any, with_lesions: bool = True
) -> np.ndarray:
    """Correct the segments by hand: both lungs, and in one of them GGO and less high opacity."""
    labels = np.zeros(ct_from_node(volume_node).hu.shape, dtype=np.uint8)
    labels[10:30, 24:38, 14:26] = NORMAL_LUNG.value
    labels[10:30, 24:38, 38:50] = NORMAL_LUNG.value
    if with_lesions:
        labels[18:22, 28:34, 18:22] = GGO.value
        labels[12:14, 34:36, 42:44] = HIGH_OPACITY.value
    write_segments(segmentation_node, volume_node, labels)
    return labels


def write_segments(segmentation_node: Any, volume_node: Any, labels: np.ndarray) -> None:
    """Give the segments other voxels, as an editor does that tells nobody."""
    for label in LABELS:
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            (labels == label.value).astype(np.uint8),
            segmentation_node,
            label.segment_id,
            volume_node,
        )


def draw_lobes(volume_node: Any) -> tuple[Any, np.ndarray]:
    """A label map node of the user's with five lobes that cover the lungs of the synthetic chest.

    The right lung lies at low x; the back at high y, the head at high z.
    """
    z, y, x = np.indices(ct_from_node(volume_node).hu.shape)
    is_lower = z - 20 < y - 31
    right = np.where(is_lower, LOBES[2].value, np.where(z < 20, LOBES[1].value, LOBES[0].value))
    left = np.where(is_lower, LOBES[4].value, LOBES[3].value)
    lobes = np.where(x < 32, right, left).astype(np.uint8)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "My lobes")
    node.CopyOrientation(volume_node)
    slicer.util.updateVolumeFromArray(node, lobes)
    return node, lobes


def errors(stand_in: application.StandIn) -> list[str]:
    return [text for kind, text in stand_in.messages if kind == "error"]
