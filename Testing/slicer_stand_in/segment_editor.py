"""A brush: strokes through Slicer's own segment-editor logic, as an effect of the module does."""

from __future__ import annotations

from typing import Any

import slicer

from CovidLungQuantLib.mrml.volumes import voxels

UNDO_STATES = 5


class Editor:
    """Slicer's segment-editor logic on the node that the panel has set up."""

    def __init__(self) -> None:
        self.node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetSegmentEditorNode(self.node)
        self.logic.SetSegmentationNode(self.node.GetSegmentationNode())
        self.logic.SetSourceVolumeNode(self.node.GetSourceVolumeNode())
        self.logic.SetMaximumNumberOfUndoStates(UNDO_STATES)

    def paint(self, segment_id: str, where: Any) -> None:
        """Paint a segment with one stroke; `where` is an index of an array (z, y, x)."""
        self.logic.SaveStateForUndo()
        self.node.SetSelectedSegmentID(segment_id)
        self.logic.SetCurrentSegmentID(segment_id)
        self.logic.UpdateReferenceGeometryImage()
        self.logic.UpdateMaskLabelmap()
        self.logic.ResetModifierLabelmapToDefault()
        modifier = self.logic.GetModifierLabelmap()
        voxels(modifier)[where] = 1
        modifier.Modified()
        self.logic.ModifySegmentByLabelmap(
            self.node.GetSegmentationNode(),
            segment_id,
            modifier,
            self.logic.ModificationModeAdd,
            modifier.GetExtent(),
            False,
            False,
        )
