"""The module's self-test: the scene after a run and after a cancelled one, and the whole loop."""

import dataclasses
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from CovidLungQuantLib.errors import Cancelled
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, NORMAL_LUNG
from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node, ct_to_node, voxels
from CovidLungQuantPanel.logic import CovidLungQuantLogic
from CovidLungQuantPanel.logic.library import slicersPython

LONGEST_FINE_TUNING_S = 1800.0


class CovidLungQuantTest(ScriptedLoadableModuleTest):
    """Run by Slicer's Self Tests module and by Reload and Test."""

    # What the loop segments with and trains; None is the default model.
    model = None

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run every test of this class."""
        if not CovidLungQuantLogic().isTorchInstalled():
            self.delayDisplay("PyTorch is not installed: nothing was tested.")
            return
        self.setUp()
        self.test_segmentAndMeasure()
        self.setUp()
        self.test_sensitivityAndDecisionsAreUndone()
        self.setUp()
        self.test_cancelLeavesTheScene()
        self.setUp()
        self.test_loop()
        self.delayDisplay("All tests passed.")

    def test_segmentAndMeasure(self):
        """A script gets the same label map as the library, and measuring repeats the numbers."""
        from CovidLungQuantLib.pipeline import Options, quantify

        volumeNode = makeSyntheticChest()
        logic = CovidLungQuantLogic()
        segmentationNode, tableNode = logic.segment(volumeNode, device="cpu")
        labels, _warnings = segmentation_from_node(segmentationNode, volumeNode)
        expected = quantify(ct_from_node(volumeNode), Options(device="cpu"))
        self.assertTrue((labels == expected.labels).all())
        self.assertGreater(int(labels.max()), 0)

        segmented = record_from_node(tableNode).measurements.regions
        logic.measure(volumeNode, segmentationNode, tableNode)
        self.assertEqual(record_from_node(tableNode).measurements.regions, segmented)

    def test_loop(self):
        """Segment, paint, recount, undo, export, fine-tune for two steps, use the new model."""
        with tempfile.TemporaryDirectory(prefix="covidlungquant-") as folder:
            checkLoop(self, CovidLungQuantLogic(), makeSyntheticChest(), folder, self.model)

    def test_sensitivityAndDecisionsAreUndone(self):
        """Numbers follow a slider and a rejected lesion, and are as before after undo."""
        logic, volumeNode = CovidLungQuantLogic(), makeSyntheticChest()
        segmentationNode, tableNode = logic.segment(volumeNode, model=self.model, device="cpu")
        before = _numbers(tableNode)
        review = logic.lesionReview(volumeNode, segmentationNode, tableNode)
        self.assertTrue(review.hasProbability)
        review.setSensitivity(1)
        self.assertGreaterEqual(_numbers(tableNode)[0].lesion_ml, before[0].lesion_ml)
        review.undo()
        self.assertEqual(_numbers(tableNode), before)
        for lesion in review.lesions[:1]:
            review.reject(lesion.island.index, "other")
            rejectedMl = before[0].lesion_ml - _numbers(tableNode)[0].lesion_ml
            self.assertAlmostEqual(rejectedMl, lesion.island.volume_ml, places=6)
            review.undo()
            self.assertEqual(_numbers(tableNode), before)

    def test_cancelLeavesTheScene(self):
        """A cancelled run adds no node."""
        volumeNode = makeSyntheticChest()
        nodeCount = slicer.mrmlScene.GetNumberOfNodes()

        def cancelAtOnce(fraction, message):
            raise Cancelled("Cancelled by the test.")

        with self.assertRaises(Cancelled):
            CovidLungQuantLogic().segment(volumeNode, device="cpu", progress=cancelAtOnce)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodeCount)


def makeSyntheticChest():
    """Add a coarse chest of ellipsoids to the scene, with one hazy and one dense lesion.

    64 × 64 × 40 voxels of 6 × 6 × 7 mm; HU of air, soft tissue, lung, GGO and consolidation.
    """
    z, y, x = np.ogrid[0:40, 0:64, 0:64]

    def ellipsoid(centre, radii):
        distances = (
            ((index - middle) / radius) ** 2
            for index, middle, radius in zip((z, y, x), centre, radii, strict=True)
        )
        return sum(distances) <= 1.0

    hu = np.full((40, 64, 64), -1000, dtype=np.int16)
    hu[ellipsoid((20, 32, 32), (60, 20, 28))] = 40
    hu[ellipsoid((20, 31, 20), (17, 13, 9))] = -850
    hu[ellipsoid((20, 31, 44), (17, 13, 9))] = -850
    hu[ellipsoid((14, 38, 19), (4, 4, 4))] = -550
    hu[ellipsoid((12, 38, 45), (4, 4, 4))] = 0
    volumeNode = slicer.util.addVolumeFromArray(hu, name="Synthetic chest")
    # Columns run to the patient's left, rows to the back, slices to the head.
    volumeNode.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    volumeNode.SetSpacing(6.0, 6.0, 7.0)
    return volumeNode


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
    run = start_fine_tuning(dataset, model, device="cpu", config=config, python=slicersPython())
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
