"""The whole loop of the module's self-test: segment, correct, recount, undo, export, fine-tune."""

import dataclasses
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import slicer

from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, NORMAL_LUNG
from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node, ct_to_node, voxels

LONGEST_FINE_TUNING_S = 1800.0


def checkLoop(test, logic, volumeNode, folder, model=None):
    """Go once around the loop on a scan; `test` is a `unittest.TestCase`.

    :param folder: empty; takes the training set and the new model.
    :param model: as for `segment`; None is the default.
    """
    segmentationNode, tableNode = logic.segment(volumeNode, model=model, device="cpu")
    segmented = _numbers(tableNode)

    editor = _Editor(logic.prepareCorrection(volumeNode, segmentationNode))
    labels, _warnings = segmentation_from_node(segmentationNode, volumeNode)
    stroke = _boxIn(labels == NORMAL_LUNG.value)
    paintedVoxels = int((labels[stroke] == NORMAL_LUNG.value).sum())
    test.assertGreater(paintedVoxels, 0)
    editor.paint(GGO.segment_id, stroke)
    logic.recount(volumeNode, segmentationNode, tableNode)
    painted = _numbers(tableNode)
    voxelVolumeMl = ct_from_node(volumeNode).geometry.voxel_volume_ml
    added = painted[0].ggo_ml - segmented[0].ggo_ml
    # The box may hold high opacity, too, which becomes GGO.
    fromOthers = int(((labels[stroke] > 0) & (labels[stroke] != GGO.value)).sum())
    test.assertAlmostEqual(added, fromOthers * voxelVolumeMl, places=6)
    test.assertEqual(logic.correctionOf(tableNode).changed_voxels, fromOthers)

    editor.logic.Undo()
    logic.recount(volumeNode, segmentationNode, tableNode)
    test.assertEqual(_numbers(tableNode), segmented)
    test.assertEqual(logic.correctionOf(tableNode).changed_voxels, 0)
    editor.logic.Redo()
    logic.recount(volumeNode, segmentationNode, tableNode)
    test.assertEqual(_numbers(tableNode), painted)

    dataset = Path(folder) / "training set"
    ct = ct_from_node(volumeNode)
    # A second patient: a held-back case is needed, too.
    otherNode = ct_to_node(slicer.mrmlScene, dataclasses.replace(ct, hu=ct.hu + 1))
    cases = [
        logic.exportTrainingCase(node, segmentationNode, dataset, reader="self-test")
        for node in (volumeNode, otherNode)
    ]
    test.assertEqual(logic.trainingCases(dataset), cases)

    with _modelsIn(Path(folder) / "models"):
        before = set(logic.modelChoices())
        status = _fineTuneTwoSteps(dataset, model)
        test.assertEqual(status.state, "done", status.message)
        (new,) = set(logic.modelChoices()) - before
        test.assertEqual(new, status.model_file.stem)
        test.assertTrue(status.comparison_file.is_file())
        logic.segment(otherNode, model=new, device="cpu")


def _numbers(tableNode):
    record = record_from_node(tableNode)
    assert record.measurements.regions[0].region == BOTH_LUNGS_REGION
    return record.measurements.regions


def _boxIn(mask):
    """A small box around a voxel in the middle of a mask (z, y, x)."""
    indices = mask.nonzero()
    middle = len(indices[0]) // 2
    return tuple(slice(max(index[middle] - 1, 0), index[middle] + 2) for index in indices)


def _fineTuneTwoSteps(dataset, model):
    """Train for two steps in a process of its own, as the panel does, and wait for it."""
    from CovidLungQuantLib.lesions.lesion_model import load_model
    from CovidLungQuantLib.models.registry import model_path
    from CovidLungQuantLib.training.fine_tune import fine_tuning_config, start_fine_tuning

    config = dataclasses.replace(
        fine_tuning_config(load_model(str(model_path(model))).config),
        epochs=2,
        steps_per_epoch=1,
        samples_per_batch=1,
        targets_per_sample=2,
    )
    run = start_fine_tuning(
        dataset, model, device="cpu", config=config, python=shutil.which("PythonSlicer")
    )
    end = time.monotonic() + LONGEST_FINE_TUNING_S
    while not (status := run.status()).is_over and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.1)
    if not status.is_over:
        run.cancel()
    return status


@contextmanager
def _modelsIn(folder):
    """Keep the user's own folder of models as it is."""
    folder.mkdir()
    earlier = os.environ.get(USER_MODELS_VARIABLE)
    os.environ[USER_MODELS_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if earlier is None:
            del os.environ[USER_MODELS_VARIABLE]
        else:
            os.environ[USER_MODELS_VARIABLE] = earlier


class _Editor:
    """Slicer's segment-editor logic on the node that `prepareCorrection` has set up."""

    def __init__(self, editorNode):
        self.node = editorNode
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetSegmentEditorNode(editorNode)
        self.logic.SetSegmentationNode(editorNode.GetSegmentationNode())
        self.logic.SetSourceVolumeNode(editorNode.GetSourceVolumeNode())
        self.logic.SetMaximumNumberOfUndoStates(5)

    def paint(self, segmentId, box):
        """One stroke, as an effect of Segment Editor does it; `box` is slices (z, y, x)."""
        self.logic.SaveStateForUndo()
        self.node.SetSelectedSegmentID(segmentId)
        self.logic.SetCurrentSegmentID(segmentId)
        self.logic.UpdateReferenceGeometryImage()
        self.logic.UpdateMaskLabelmap()
        self.logic.ResetModifierLabelmapToDefault()
        modifier = self.logic.GetModifierLabelmap()
        voxels(modifier)[box] = 1
        modifier.Modified()
        self.logic.ModifySegmentByLabelmap(
            self.node.GetSegmentationNode(),
            segmentId,
            modifier,
            self.logic.ModificationModeAdd,
            modifier.GetExtent(),
            False,
            False,
        )
