"""What scripts call: the logic, whose parts segment and measure, correct, save and teach.

`run`, `correct`, `save`, `teach` and `show` do the work on a `mrml.scene_result.SceneResult`;
`options` knows what can be chosen, `worker` computes. Scripts give nodes, as everywhere in Slicer.
"""

import importlib

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.mrml.follow_up import change_table_of, follow_up_to_node
from CovidLungQuantLib.mrml.scene_result import SceneResult, newest_result
from CovidLungQuantLib.mrml.time_points import set_day
from CovidLungQuantPanel.logic import library, options
from CovidLungQuantPanel.logic.correct import CorrectLogic
from CovidLungQuantPanel.logic.counting import StrokeCounter, Writing
from CovidLungQuantPanel.logic.review import LesionReview
from CovidLungQuantPanel.logic.run import RunLogic
from CovidLungQuantPanel.logic.save import SaveLogic
from CovidLungQuantPanel.logic.show import ShowLogic
from CovidLungQuantPanel.logic.teach import TeachLogic
from CovidLungQuantPanel.logic.worker import Workers
from CovidLungQuantPanel.parameter_node import CovidLungQuantParameterNode
from CovidLungQuantPanel.parameter_sets import choose, chosenNode


class CovidLungQuantLogic(ScriptedLoadableModuleLogic):
    """What scripts call; `slicer.util.getModuleLogic("CovidLungQuant")` returns one.

    Computing runs in a worker thread that touches neither MRML nor Qt; this thread keeps the window
    alive meanwhile, reads the voxels before and writes the nodes after. A call returns when all is
    done, and leaves the scene as it was if it is cancelled or fails.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        # A scene may hold several parameter sets.
        self.isSingletonParameterNode = False
        self._workers = Workers()
        self._writing = Writing()
        self._counter = StrokeCounter(self._writing)
        self._run = RunLogic(self._workers, self._writing, self._counter)
        self._correct = CorrectLogic(self._run, self._writing, self._counter)
        self._review = None
        self._save = SaveLogic(self._workers, self._run, self._correct, self._counter)
        self._teach = TeachLogic(self._workers)
        self._show = ShowLogic(self._writing)

    # Parameter sets

    def getParameterNode(self):
        """Return the chosen parameter set of the scene, typed; made where there is none."""
        return CovidLungQuantParameterNode(self.chosenParameterSet())

    def chosenParameterSet(self):
        """Return the node of the chosen parameter set; made where the scene has none."""
        node = chosenNode(self.getAllParameterNodes()) or super().getParameterNode()
        self.chooseParameterSet(node)
        return node

    def chooseParameterSet(self, node):
        """Let a node of `getAllParameterNodes` be the chosen parameter set; saved with the scene.

        A panel that is open follows.
        """
        choose(self.getAllParameterNodes(), node)

    def parameterSets(self):
        """Return all parameter sets of the scene, typed."""
        return [CovidLungQuantParameterNode(node) for node in self.getAllParameterNodes()]

    def newParameterSet(self, volumeNode, like):
        """Return a new parameter set for a volume, named as it, with the options of another."""
        node = self.createParameterNode()
        node.SetName(volumeNode.GetName())
        made = CovidLungQuantParameterNode(slicer.mrmlScene.AddNode(node))
        for name in options.OPTION_NAMES:
            setattr(made, name, getattr(like, name))
        made.inputVolume = volumeNode
        return made

    # Running

    @property
    def isRunning(self):
        """Whether a segmentation or measurement is under way."""
        return self._workers.isBusy

    @property
    def isWriting(self):
        """Whether changes of the scene are the logic's, not the user's."""
        return self._writing.isOn

    def cancel(self, reason=None):
        """Stop the run, if there is one, at its next step; it then raises `Cancelled(reason)`."""
        self._workers.cancel(reason)

    def segment(
        self,
        volumeNode,
        segmentationNode=None,
        tableNode=None,
        options=None,
        progress=None,
        lobesNode=None,
        *,
        model=None,
        device=None,
        kinds=None,
        arteryHu=None,
        airwaysAndVessels=None,
        enhance=None,
        mirror=None,
    ):
        """Segment and measure a chest CT; return (segmentationNode, tableNode).

        Options may be given as the library's, by their names, or both: a name that is given counts.

        :param volumeNode: the CT, in Hounsfield units.
        :param segmentationNode: overwritten if given, otherwise a new one is made.
        :param tableNode: likewise.
        :param options: `CovidLungQuantLib.Options`; None is the default.
        :param progress: called with (fraction, message) in the caller's thread; may raise
            `Cancelled`.
        :param lobesNode: segmentation or label map node with the five lobes; None finds them.
        :param model: name of a shipped model or path of a weights file.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param kinds: how GGO is told from high opacity: "density", "thresholds", "artery" or
            "network".
        :param arteryHu: density of the pulmonary artery for kinds "artery"; else it is measured.
        :param airwaysAndVessels: "find" writes airways and vessels as a segmentation node of their
            own; "remove" also takes those in normal lung out of the lesions; "none" does neither.
        :param enhance: write the enhanced volume and the sub-visual lesions, too.
        :param mirror: show the network the mirror image, too; takes twice its time.
        :raises CovidLungQuantError: the message says what is wrong and what to do.
        """
        individual = {
            "model": model,
            "device": device,
            "kinds": kinds,
            "artery_hu": arteryHu,
            "airways_and_vessels": airwaysAndVessels,
            "enhance": enhance,
            "mirror": mirror,
        }
        result = _sceneResult(volumeNode, segmentationNode, tableNode, lobesNode)
        written = self._run.segment(result, options, individual, progress)
        return written.segmentation, written.table

    def measure(self, volumeNode, segmentationNode, tableNode=None, progress=None, lobesNode=None):
        """Measure a segmentation as it is now, after a correction; return both nodes.

        Parameters and errors as for `segment`; the lesion network does not run. Without `lobesNode`
        those of an earlier run are measured with as they are now; where there are none, they are
        found.
        """
        result = _sceneResult(volumeNode, segmentationNode, tableNode, lobesNode)
        return segmentationNode, self._run.measure(result, progress).table

    def chosenOptions(self, parameterNode):
        """Return the `CovidLungQuantLib.Options` that a parameter set holds."""
        return options.optionsOf(parameterNode)

    # Correcting

    def recount(self, volumeNode, segmentationNode, tableNode, lobesNode=None):
        """Take the numbers again after a stroke, an undo or a redo; return the table node.

        Only the changed voxels are looked at, in this thread. Left and right lung and the lobes
        stay those of the last `segment` or `measure`. After neither, as in a scene just loaded,
        this measures the whole scan once.
        """
        self._correct.recount(_sceneResult(volumeNode, segmentationNode, tableNode, lobesNode))
        return tableNode

    def correctionOf(self, tableNode):
        """Return how the segmentation behind a table differs from the machine's.

        A `measures.correction.Correction`; None where the machine's is not known.
        """
        return self._correct.correctionOf(tableNode)

    def isEdited(self, volumeNode, segmentationNode):
        """Whether a segmentation holds something else than what `segment` last wrote into it."""
        return self._correct.isEdited(_sceneResult(volumeNode, segmentationNode))

    def prepareCorrection(self, volumeNode, segmentationNode, mayLeaveLungs=False):
        """Set Segment Editor up for correcting a result; return its node.

        Painting a segment takes from the others and keeps to the voxels that have a segment, unless
        `mayLeaveLungs`. Selecting the module is left to the caller.
        """
        result = _sceneResult(volumeNode, segmentationNode)
        return self._correct.prepareCorrection(result, mayLeaveLungs)

    def lesionReview(self, volumeNode, segmentationNode, tableNode, lobesNode=None):
        """Return the lesions of a measured result, to be decided on one by one: a `LesionReview`.

        Its `lesions` have a number, `island.index`, by which `accept`, `reject`, `changeKind` and
        `lock` call them; `setSensitivity` grows or shrinks all or one; `fixAt` says what marks
        change, and `applyFix` changes it; `undo` and `redo`. Segments and table follow at once. The
        same object is returned until the result is another one.
        """
        result = _sceneResult(volumeNode, segmentationNode, tableNode, lobesNode)
        if self._review is None or not self._review.isOf(result):
            self._review = LesionReview(result, self._correct, self._counter, self._writing)
        return self._review

    @property
    def canUndo(self):
        """Whether the lesions asked for last have a decision, slide or fix to undo."""
        return self._review is not None and self._review.canUndo

    def forget(self):
        """Let go of what is kept for counting strokes; the next one measures the whole scan."""
        self._counter.forget()
        self._review = None

    # Results

    def resultsOf(self, volumeNode, taken=()):
        """Return (segmentationNode, tableNode) made for a volume; None where there is none.

        The newest, but for those in `taken`.
        """
        result = newest_result(slicer.mrmlScene, volumeNode, taken)
        return result.segmentation, result.table

    def showResult(self, volumeNode, segmentationNode, tableNode):
        """Show the volume in a lung window under its segments; go to the larger kind of lesion."""
        self._show.showResult(_sceneResult(volumeNode, segmentationNode, tableNode))

    def showSurfaces(self, segmentationNode, shown):
        """Show the lesions as surfaces in translucent lungs in 3D, or not; no number changes."""
        self._show.showSurfaces(segmentationNode, shown)

    def followUp(self, tableNodes, days=None, anyway=False):
        """Compare measured scans of one patient; return the change table node.

        One row a region and figure: the value at each scan, and the changes in mL or percentage
        points. Curves lie beside it. An earlier comparison of the same scans is renewed.

        :param tableNodes: two tables or more that `segment` or `measure` wrote.
        :param days: day of each, kept with the table; None takes the days that were given before,
            else the DICOM study dates, else the order of `tableNodes`.
        :param anyway: compare also what was made by different rules for GGO.
        :raises CovidLungQuantError: a table is out of date, or the numbers do not compare.
        """
        tableNodes = list(tableNodes)
        if days is not None and len(days) != len(tableNodes):
            raise CovidLungQuantError(_("Give one day for each scan."))
        scene = slicer.mrmlScene
        for tableNode, day in zip(tableNodes, days or (), strict=False):
            set_day(tableNode, day)
        return follow_up_to_node(scene, tableNodes, anyway, change_table_of(scene, tableNodes))

    # Saving

    def tableText(self, volumeNode, segmentationNode, tableNode, lobesNode=None):
        """Return the table as text for a spreadsheet, tab between cells, with units and model.

        The numbers are taken again first if the segmentation has changed since.
        """
        result = _sceneResult(volumeNode, segmentationNode, tableNode, lobesNode)
        return self._save.tableText(result)

    def saveReport(
        self,
        volumeNode,
        segmentationNode,
        tableNode,
        folder,
        lobesNode=None,
        overwrite=False,
        pdf=False,
        dicom=False,
        progress=None,
    ):
        """Write the result as it is now into a folder, as the command line does; return the files.

        The numbers are taken again first if the segmentation has changed since.

        :param folder: must not exist, or be empty.
        :param lobesNode: as for `measure`.
        :param overwrite: replace the results of an earlier run.
        :param pdf: write the report as PDF, too; needs WeasyPrint.
        :param dicom: write DICOM SEG and SR that refer to the source series, too; needs highdicom
            and a volume from Slicer's DICOM database.
        :raises CovidLungQuantError: nothing was written then.
        """
        result = _sceneResult(volumeNode, segmentationNode, tableNode, lobesNode)
        return self._save.saveReport(result, folder, overwrite, pdf, dicom, progress)

    def saveDICOM(
        self,
        volumeNode,
        segmentationNode,
        tableNode,
        folder,
        lobesNode=None,
        overwrite=False,
        progress=None,
    ):
        """Write DICOM SEG and SR alone into a folder; return the files. As `saveReport`."""
        result = _sceneResult(volumeNode, segmentationNode, tableNode, lobesNode)
        return self._save.saveDICOM(result, folder, overwrite, progress)

    def isFromDicom(self, volumeNode):
        """Whether a volume was loaded from DICOM."""
        return self._save.isFromDicom(volumeNode)

    def dicomFiles(self, volumeNode):
        """Return the DICOM file of each slice of a volume, in their order.

        :raises CovidLungQuantError: it was not loaded from DICOM, or its files are gone.
        """
        return self._save.dicomFiles(volumeNode)

    # Teaching

    def exportTrainingCase(
        self,
        volumeNode,
        segmentationNode,
        datasetFolder,
        reader=None,
        layout=None,
        newVersion=False,
        progress=None,
        samePatientAs=None,
    ):
        """Add a scan with its segments as they are now to a training set; return the case's name.

        :param datasetFolder: made if it does not exist; nothing in it is overwritten.
        :param reader: who corrected; stands in the manifest as given.
        :param layout: "covidlungquant" or "nnunet"; None is that of the set.
        :param newVersion: add a scan that is there already; the earlier version is kept.
        :param samePatientAs: a case of the set that is of the same patient; None is a new patient.
        :raises CovidLungQuantError: nothing was written then.
        """
        result = _sceneResult(volumeNode, segmentationNode)
        return self._teach.exportTrainingCase(
            result, datasetFolder, reader, layout, newVersion, progress, samePatientAs
        )

    def trainingSetLayouts(self):
        """Layouts of a training set: value → text."""
        return self._teach.trainingSetLayouts()

    def trainingCases(self, datasetFolder):
        """Return the names of the cases in a training set; none where there is no such folder."""
        return self._teach.trainingCases(datasetFolder)

    def trainingPatientCount(self, datasetFolder):
        """Return how many patients the cases of a training set are of."""
        return self._teach.trainingPatientCount(datasetFolder)

    def layoutOfTrainingSet(self, datasetFolder):
        """Return the layout of a training set that has cases, otherwise None."""
        return self._teach.layoutOfTrainingSet(datasetFolder)

    def rankedCases(self, datasetFolder):
        """Return the cases of a training set by expected gain, as far as it is known; quick.

        :return: list of `training.expected_gain.RankedCase`, the one to correct next on top.
        :raises CovidLungQuantError: the folder is no training set.
        """
        return self._teach.rankedCases(datasetFolder)

    def rankTrainingSet(self, datasetFolder, device="auto", progress=None, candidatesFolder=None):
        """As `rankedCases`, after both shipped models ran on every case they have not seen.

        What they find is kept in the folder, so cancelling loses no case that is done.

        :param candidatesFolder: of scans that could be added, which are ranked by their names too.
        """
        return self._teach.rankTrainingSet(datasetFolder, device, progress, candidatesFolder)

    def writeTrainingSetPage(self, datasetFolder, progress=None):
        """Write the ranking and the last fine-tuning's effect as training-set.html; return it."""
        return self._teach.writeTrainingSetPage(datasetFolder, progress)

    def fineTuningEffect(self, comparisonFile):
        """Return a `training.fine_tuning_effect.FineTuningEffect` from a fine-tuning's status."""
        return self._teach.fineTuningEffect(comparisonFile)

    def fineTune(
        self,
        datasetFolder,
        model=None,
        name=None,
        device="auto",
        epochs=None,
        heldBack=(),
        samePatient=(),
    ):
        """Let a model go on learning from a training set, in a process of its own; do not wait.

        The process goes on when Slicer is closed. At its end there is one more model, and a
        comparison with the old one on cases it has not seen.

        :param model: as for `segment`; it stays as it is.
        :param name: of the new model; None makes one from the old one's.
        :param epochs: how long to train; None is a few epochs.
        :param heldBack: cases to compare on; none takes those of every fifth patient.
        :param samePatient: lists of cases of one patient, which are never parted; nor are those
            that were exported as of one patient.
        :return: `training.fine_tuning_runs.FineTuning`, with `status()` and `cancel()`.
        :raises CovidLungQuantError: too few cases, no such model, a name that is taken.
        """
        return self._teach.fineTune(
            datasetFolder, model, name, device, epochs, heldBack, samePatient
        )

    def fineTunings(self):
        """Return all fine-tunings, running or over, the newest last."""
        return self._teach.fineTunings()

    # Choices

    def isTorchInstalled(self):
        """Whether PyTorch can be imported; importing it takes seconds, so this does not."""
        return library.isTorchInstalled()

    def checkModel(self, path):
        """Refuse a file that is no model of lesions, with a CovidLungQuantError."""
        library.requireTorch()
        importlib.import_module("CovidLungQuantLib.lesions.lesion_model").load_model(str(path))

    def modelChoices(self):
        """Models to offer: value → text."""
        return options.modelChoices()

    def deviceChoices(self):
        """Devices to offer: value → text. Graphics cards are known once PyTorch is loaded."""
        return options.deviceChoices()

    def kindChoices(self):
        """Ways to tell GGO from high opacity: value → text."""
        return options.kindChoices()


def _sceneResult(volumeNode, segmentationNode=None, tableNode=None, lobesNode=None):
    """The nodes of a call as one result of the application's scene."""
    return SceneResult(slicer.mrmlScene, volumeNode, segmentationNode, tableNode, lobesNode)
