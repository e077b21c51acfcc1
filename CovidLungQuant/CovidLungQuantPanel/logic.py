"""What scripts call: the logic, which computes in a worker thread and writes nodes here."""

import dataclasses
import importlib.util
import shutil
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, HIGH_OPACITY
from CovidLungQuantLib.lesions.airways_and_vessels import NO_TUBES
from CovidLungQuantLib.measures.recount import RunningCount
from CovidLungQuantLib.models.registry import available_models
from CovidLungQuantLib.mrml.chart import lobe_chart_to_node
from CovidLungQuantLib.mrml.current import numbers_fit, provenance_of, with_record
from CovidLungQuantLib.mrml.density import is_density_shown, renew_density
from CovidLungQuantLib.mrml.dicom_source import INSTANCE_UIDS_ATTRIBUTE, source_files_of
from CovidLungQuantLib.mrml.display import are_surfaces_shown, show_surfaces
from CovidLungQuantLib.mrml.follow_up import change_table_of, follow_up_to_node, set_day
from CovidLungQuantLib.mrml.lobes import lobes_from_node, lobes_of, lobes_to_node
from CovidLungQuantLib.mrml.machine_labels import machine_labels_of, machine_labels_to_node
from CovidLungQuantLib.mrml.nodes import (
    LOBES_REFERENCE_ROLE,
    no_new_nodes_on_error,
    remember_result,
    renew_or_set_aside,
    result_of,
    results_of,
)
from CovidLungQuantLib.mrml.segmentation import (
    labels_after_stroke,
    note_edits,
    segmentation_from_node,
    segmentation_to_node,
)
from CovidLungQuantLib.mrml.structures import (
    airways_and_vessels_from_node,
    airways_and_vessels_of,
    structures_to_nodes,
)
from CovidLungQuantLib.mrml.table import (
    correction_from_node,
    is_stale,
    measurements_to_node,
    record_from_node,
    set_correction,
    set_stale,
    table_text,
)
from CovidLungQuantLib.mrml.volumes import ct_from_node, geometry_of, show_in_lung_window
from CovidLungQuantLib.outputs.dicom_files import check_dicom_possible, write_dicom
from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder, write_results
from CovidLungQuantLib.outputs.pdf import check_pdf_possible
from CovidLungQuantLib.progress import subrange
from CovidLungQuantLib.training.dataset import (
    COVIDLUNGQUANT_LAYOUT,
    NNUNET_LAYOUT,
    case_names,
    layout_of,
    patient_count,
)
from CovidLungQuantLib.training.export import export_training_case
from CovidLungQuantLib.training.fine_tuning_runs import fine_tunings
from CovidLungQuantPanel.parameter_node import CovidLungQuantParameterNode
from CovidLungQuantPanel.parameter_sets import choose, chosenNode

LUNGS_CHANGED = "lungs_changed_by_hand"
# What Segment Editor's own module calls its node.
SEGMENT_EDITOR_TAG = "SegmentEditor"
# Long enough for the worker to compute, short enough for the window to feel alive.
POLL_INTERVAL_S = 0.02


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
        self._worker = None
        self._running = None
        self.isWriting = False

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

    @property
    def isRunning(self):
        """Whether a segmentation or measurement is under way."""
        return self._worker is not None

    def cancel(self, reason=None):
        """Stop the run, if there is one, at its next step; it then raises `Cancelled(reason)`."""
        if self._worker is not None:
            self._worker.cancel(reason or _("Cancelled; the scene is as it was."))

    def segment(
        self,
        volumeNode,
        segmentationNode=None,
        tableNode=None,
        model=None,
        device="auto",
        progress=None,
        kinds="density",
        arteryHu=None,
        lobesNode=None,
        airwaysAndVessels=NO_TUBES,
        enhance=False,
        mirror=False,
    ):
        """Segment and measure a chest CT; return (segmentationNode, tableNode).

        :param volumeNode: the CT, in Hounsfield units.
        :param segmentationNode: overwritten if given, otherwise a new one is made.
        :param tableNode: likewise.
        :param model: name of a shipped model or path of a weights file; None is the default.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param progress: called with (fraction, message) in the caller's thread; may raise
            `Cancelled`.
        :param kinds: how GGO is told from high opacity: "density", "thresholds", "artery" or
            "network".
        :param arteryHu: density of the pulmonary artery for kinds "artery"; None measures it.
        :param lobesNode: segmentation or label map node with the five lobes; None finds them.
        :param airwaysAndVessels: "find" writes airways and vessels as a segmentation node of their
            own; "remove" also takes those in normal lung out of the lesions; "none" does neither.
        :param enhance: write the enhanced volume and the sub-visual lesions, too.
        :param mirror: show the network the mirror image, too; takes twice its time.
        :raises CovidLungQuantError: the message says what is wrong and what to do.
        """
        with self._exclusively() as worker:
            pipeline = self._pipeline(progress)
            ct = ct_from_node(volumeNode)
            options = pipeline.Options(
                device=device,
                model=model,
                kinds=kinds,
                artery_hu=arteryHu,
                airways_and_vessels=airwaysAndVessels,
                enhance=enhance,
                mirror=mirror,
            )
            lobes, warnings = None, ()
            if _present(lobesNode) is not None:
                lobes, warnings = lobes_from_node(lobesNode, volumeNode)
            worker.work = lambda report: pipeline.quantify(ct, options, report, lobes)
            quantification = _withWarnings(
                self._compute(worker, volumeNode, ct, progress), warnings
            )
        scene = slicer.mrmlScene
        with self._writing(), no_new_nodes_on_error(scene):
            segmentationNode = segmentation_to_node(
                scene, quantification, volumeNode, _present(segmentationNode)
            )
            machine_labels_to_node(
                scene,
                quantification.labels,
                volumeNode,
                quantification.provenance.model_name,
                segmentationNode,
            )
            tableNode = self._writeTable(quantification, volumeNode, segmentationNode, tableNode)
            self._writeLobes(quantification, volumeNode, segmentationNode)
            structures_to_nodes(scene, quantification, volumeNode, segmentationNode)
            renew_density(scene, volumeNode, quantification.labels)
        self._startCounting(quantification, volumeNode, segmentationNode, tableNode, lobesNode)
        return segmentationNode, tableNode

    def measure(self, volumeNode, segmentationNode, tableNode=None, progress=None, lobesNode=None):
        """Measure a segmentation as it is now, after a correction; return both nodes.

        Parameters and errors as for `segment`; the lesion network does not run. Without `lobesNode`
        those of an earlier run are measured with as they are now; where there are none, they are
        found.
        """
        with self._exclusively() as worker:
            pipeline = self._pipeline(progress)
            ct = ct_from_node(volumeNode)
            labels, warnings = segmentation_from_node(segmentationNode, volumeNode)
            lobes = None
            result = (slicer.mrmlScene, volumeNode, segmentationNode)
            lobesNode = _present(lobesNode) or lobes_of(*result)
            if lobesNode is not None:
                lobes, lobeWarnings = lobes_from_node(lobesNode, volumeNode)
                warnings = (*warnings, *lobeWarnings)
            tubes = None
            tubesNode = airways_and_vessels_of(*result)
            if tubesNode is not None:
                tubes, tubeWarnings = airways_and_vessels_from_node(tubesNode, volumeNode)
                warnings = (*warnings, *tubeWarnings)
            worker.work = lambda report: pipeline.measure(
                ct, labels, report, lobes, pipeline.AUTOMATIC_LOBES, tubes
            )
            quantification = _withWarnings(
                self._compute(worker, volumeNode, ct, progress), warnings
            )
        quantification = self._creditModel(quantification, volumeNode, segmentationNode, tableNode)
        with self._writing(), no_new_nodes_on_error(slicer.mrmlScene):
            # The user may have taken the segmentation away during the run.
            measuredNode = _present(segmentationNode)
            tableNode = self._writeTable(quantification, volumeNode, measuredNode, tableNode)
            self._writeLobes(quantification, volumeNode, measuredNode)
            renew_density(slicer.mrmlScene, volumeNode, labels)
            if measuredNode is not None:
                note_edits(segmentationNode, labels)
                self._startCounting(
                    quantification, volumeNode, segmentationNode, tableNode, lobesNode
                )
        return segmentationNode, tableNode

    def recount(self, volumeNode, segmentationNode, tableNode, lobesNode=None):
        """Take the numbers again after a stroke, an undo or a redo; return the table node.

        Only the changed voxels are looked at, in this thread. Left and right lung and the lobes
        stay those of the last `segment` or `measure`. After neither, as in a scene just loaded,
        this measures the whole scan once.
        """
        running = self._running
        if running is None or not running.belongsTo(
            volumeNode, segmentationNode, tableNode, lobesNode
        ):
            self.measure(volumeNode, segmentationNode, tableNode, lobesNode=lobesNode)
            return tableNode
        labels = labels_after_stroke(segmentationNode, volumeNode)
        recounted = running.count.recount(labels)
        if recounted.changed_voxels == 0 and not is_stale(tableNode):
            return tableNode
        with self._writing():
            if recounted.changed_voxels:
                running.quantification = _recounted(running.quantification, labels, recounted)
                measurements_to_node(
                    slicer.mrmlScene, running.quantification, volumeNode, tableNode
                )
                lobe_chart_to_node(
                    slicer.mrmlScene, running.quantification, volumeNode, segmentationNode
                )
                renew_density(slicer.mrmlScene, volumeNode, labels)
                note_edits(segmentationNode, labels)
                set_correction(tableNode, recounted.correction)
            set_stale(tableNode, False)
        return tableNode

    def correctionOf(self, tableNode):
        """Return how the segmentation behind a table differs from the machine's.

        A `measures.correction.Correction`; None where the machine's is not known.
        """
        return None if tableNode is None else correction_from_node(tableNode)

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

    def tableText(self, volumeNode, segmentationNode, tableNode, lobesNode=None):
        """Return the table as text for a spreadsheet, tab between cells, with units and model.

        The numbers are taken again first if the segmentation has changed since.
        """
        self._upToDate(volumeNode, segmentationNode, tableNode, lobesNode)
        return table_text(tableNode)

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
        check_output_folder(folder, overwrite)
        if pdf:
            check_pdf_possible()
        files = self.dicomFiles(volumeNode) if dicom else ()
        return self._writeCurrent(
            (volumeNode, segmentationNode, tableNode, lobesNode),
            lambda quantification, report: write_results(
                folder, quantification, overwrite, progress=report, dicom_source=files, pdf=pdf
            ),
            progress,
        )

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
        check_output_folder(folder, overwrite)
        files = self.dicomFiles(volumeNode)

        def write(quantification, report):
            with filled_folder(folder, overwrite) as unfinished:
                names = write_dicom(unfinished, quantification, files)
            return [Path(folder) / name for name in names]

        return self._writeCurrent(
            (volumeNode, segmentationNode, tableNode, lobesNode), write, progress
        )

    def isFromDicom(self, volumeNode):
        """Whether a volume was loaded from DICOM."""
        return volumeNode is not None and bool(volumeNode.GetAttribute(INSTANCE_UIDS_ATTRIBUTE))

    def dicomFiles(self, volumeNode):
        """Return the DICOM file of each slice of a volume, in their order.

        :raises CovidLungQuantError: it was not loaded from DICOM, or its files are gone.
        """
        check_dicom_possible()
        return source_files_of(volumeNode, lambda uid: slicer.dicomDatabase.fileForInstance(uid))

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
        with self._exclusively() as worker:
            self._pipeline(progress)
            ct = ct_from_node(volumeNode)
            labels, _warnings = segmentation_from_node(segmentationNode, volumeNode)
            machineLabels = machine_labels_of(slicer.mrmlScene, volumeNode, segmentationNode)
            provenance = provenance_of(segmentationNode)
            worker.work = lambda report: export_training_case(
                datasetFolder,
                ct,
                labels,
                machineLabels,
                provenance,
                reader,
                layout,
                newVersion,
                samePatientAs,
            )
            return self._wait(worker, progress)

    def trainingSetLayouts(self):
        """Layouts of a training set: value → text."""
        return {COVIDLUNGQUANT_LAYOUT: _("A folder for each case"), NNUNET_LAYOUT: _("nnU-Net raw")}

    def trainingCases(self, datasetFolder):
        """Return the names of the cases in a training set; none where there is no such folder."""
        datasetFolder = Path(datasetFolder).expanduser()
        layout = self.layoutOfTrainingSet(datasetFolder)
        return [] if layout is None else case_names(datasetFolder)

    def trainingPatientCount(self, datasetFolder):
        """Return how many patients the cases of a training set are of."""
        datasetFolder = Path(datasetFolder).expanduser()
        return patient_count(datasetFolder) if self.layoutOfTrainingSet(datasetFolder) else 0

    def layoutOfTrainingSet(self, datasetFolder):
        """Return the layout of a training set that has cases, otherwise None."""
        return layout_of(Path(datasetFolder).expanduser())

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
        self._pipeline(None)
        from CovidLungQuantLib.training.fine_tune import start_fine_tuning

        return start_fine_tuning(
            datasetFolder,
            model,
            name,
            device=device,
            same_patient=samePatient,
            # Slicer's own program would start a second Slicer.
            python=shutil.which("PythonSlicer"),
            held_back=heldBack,
            epochs=epochs,
        )

    def fineTunings(self):
        """Return all fine-tunings, running or over, the newest last."""
        return sorted(fine_tunings(), key=lambda run: run.started_s)

    def forget(self):
        """Let go of what is kept for counting strokes; the next one measures the whole scan."""
        self._running = None

    def prepareCorrection(self, volumeNode, segmentationNode, mayLeaveLungs=False):
        """Set Segment Editor up for correcting a result; return its node.

        Painting a segment takes from the others and keeps to the voxels that have a segment, unless
        `mayLeaveLungs`. Selecting the module is left to the caller.
        """
        scene = slicer.mrmlScene
        editorNode = scene.GetSingletonNode(SEGMENT_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if editorNode is None:
            editorNode = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            editorNode.UnRegister(None)
            editorNode.SetSingletonTag(SEGMENT_EDITOR_TAG)
            editorNode = scene.AddNode(editorNode)
        editorNode.SetAndObserveSegmentationNode(segmentationNode)
        editorNode.SetAndObserveSourceVolumeNode(volumeNode)
        editorNode.SetOverwriteMode(editorNode.OverwriteAllSegments)
        editorNode.SetMaskMode(
            segmentationNode.EditAllowedEverywhere
            if mayLeaveLungs
            else segmentationNode.EditAllowedInsideAllSegments
        )
        if segmentationNode.GetSegmentation().GetSegment(GGO.segment_id) is not None:
            editorNode.SetSelectedSegmentID(GGO.segment_id)
        return editorNode

    def showResult(self, volumeNode, segmentationNode, tableNode):
        """Show the volume in a lung window under its segments; go to the larger kind of lesion."""
        show_in_lung_window(volumeNode)
        slicer.util.setSliceViewerLayers(background=volumeNode)
        segmentationNode.SetDisplayVisibility(True)
        displayNode = segmentationNode.GetDisplayNode()
        displayNode.SetVisibility2DFill(not is_density_shown(slicer.mrmlScene, volumeNode))
        displayNode.SetVisibility2DOutline(True)
        if are_surfaces_shown(segmentationNode):
            self.showSurfaces(segmentationNode, True)
        both = record_from_node(tableNode).measurements.region(BOTH_LUNGS_REGION)
        label, volume_ml = max(
            ((GGO, both.ggo_ml), (HIGH_OPACITY, both.high_opacity_ml)), key=lambda pair: pair[1]
        )
        if volume_ml > 0:
            centre = segmentationNode.GetSegmentCenterRAS(label.segment_id)
            slicer.vtkMRMLSliceNode.JumpAllSlices(
                slicer.mrmlScene, *centre, slicer.vtkMRMLSliceNode.CenteredJumpSlice
            )

    def showSurfaces(self, segmentationNode, shown):
        """Show the lesions as surfaces in translucent lungs in 3D, or not; no number changes."""
        with self._writing():
            show_surfaces(segmentationNode, shown)

    def isEdited(self, volumeNode, segmentationNode):
        """Whether a segmentation holds something else than what `segment` last wrote into it."""
        if (
            segmentationNode is None
            or segmentationNode.GetSegmentation().GetNumberOfSegments() == 0
        ):
            return False
        try:
            labels, _warnings = segmentation_from_node(segmentationNode, volumeNode)
        except CovidLungQuantError:
            return True
        return note_edits(segmentationNode, labels)

    def resultsOf(self, volumeNode, taken=()):
        """Return (segmentationNode, tableNode) made for a volume; None where there is none.

        The newest, but for those in `taken`.
        """
        if volumeNode is None:
            return None, None
        return results_of(slicer.mrmlScene, volumeNode, taken)

    def isTorchInstalled(self):
        """Whether PyTorch can be imported; importing it takes seconds, so this does not."""
        return importlib.util.find_spec("torch") is not None

    def checkModel(self, path):
        """Refuse a file that is no model of lesions, with a CovidLungQuantError."""
        self._requireTorch()
        importlib.import_module("CovidLungQuantLib.lesions.lesion_model").load_model(str(path))

    def modelChoices(self):
        """Models to offer: value → text."""
        names = available_models()
        default = _("Default ({name})").format(name=names[0]) if names else _("Default")
        return {"": default, **{name: name for name in names[1:]}}

    def deviceChoices(self):
        """Devices to offer: value → text. Graphics cards are known once PyTorch is loaded."""
        choices = {"auto": _("Automatic"), "cpu": _("CPU")}
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            choices["cuda"] = _("NVIDIA graphics card (CUDA)")
        if torch is not None and torch.backends.mps.is_available():
            choices["mps"] = _("Apple graphics card (MPS)")
        return choices

    def kindChoices(self):
        """Ways to tell GGO from high opacity: value → text."""
        return {
            "density": _("By density (above −350 HU)"),
            "thresholds": _("By thresholds (−750 and −350 HU)"),
            "artery": _("Relative to the pulmonary artery"),
            "network": _("By the network's own classes"),
        }

    def _requireTorch(self):
        if not self.isTorchInstalled():
            raise CovidLungQuantError(
                _("PyTorch is not installed; install it through the PyTorch extension.")
            )

    def _pipeline(self, progress):
        """Import what computes; it loads PyTorch, which takes a moment the first time."""
        self._requireTorch()
        if progress is not None and "torch" not in sys.modules:
            progress(0.0, _("Loading PyTorch"))
            slicer.app.processEvents()
        return importlib.import_module("CovidLungQuantLib.pipeline")

    @contextmanager
    def _exclusively(self):
        """Give a worker, and refuse a second one meanwhile: events are handled during a run."""
        if self._worker is not None:
            raise CovidLungQuantError(_("A run is already on; wait for it or cancel it."))
        self._worker = _Worker()
        try:
            yield self._worker
        finally:
            self._worker = None

    def _compute(self, worker, volumeNode, ct, progress):
        """Let `worker` work on `ct`, which was read from a volume that has to stay as it is."""
        volumeGone = _("Stopped: the volume is no longer in the scene.")
        modifiedBefore = volumeNode.GetImageData().GetMTime()

        def look():
            if _present(volumeNode) is None:
                worker.cancel(volumeGone)

        result = self._wait(worker, progress, look)
        if _present(volumeNode) is None:
            raise Cancelled(volumeGone)
        if not _isSame(volumeNode, ct, modifiedBefore):
            raise CovidLungQuantError(
                _("The volume was changed during the run, so nothing was written; run it again.")
            )
        return result

    def _wait(self, worker, progress, look=lambda: None):
        """Let `worker` work in its thread while this thread keeps the window alive."""
        worker.start()
        try:
            while worker.is_alive():
                look()
                if progress is not None:
                    progress(worker.fraction, worker.message)
                slicer.app.processEvents()
                worker.join(POLL_INTERVAL_S)
        except BaseException as error:
            worker.cancel(str(error))
            worker.join()
            raise
        if worker.error is not None:
            raise worker.error
        return worker.result

    def _upToDate(self, volumeNode, segmentationNode, tableNode, lobesNode):
        """Return (record, labels): what a table says and the segments, which fit each other.

        Where they do not, the numbers are taken again.
        """
        labels, _warnings = segmentation_from_node(segmentationNode, volumeNode)
        voxel_ml = geometry_of(volumeNode).voxel_volume_ml
        nodes = (volumeNode, segmentationNode, tableNode)
        record = record_from_node(tableNode)
        if is_stale(tableNode) or not numbers_fit(record.measurements, labels, voxel_ml):
            self.recount(*nodes, lobesNode)
            record = record_from_node(tableNode)
        if not numbers_fit(record.measurements, labels, voxel_ml):
            self.measure(*nodes, lobesNode=lobesNode)
            record = record_from_node(tableNode)
        return record, labels

    def _writeCurrent(self, nodes, write, progress):
        """Let `write(quantification, report)` write the result as it is now; return its result."""
        volumeNode, segmentationNode, _tableNode, givenLobesNode = nodes
        record, labels = self._upToDate(*nodes)
        scene = slicer.mrmlScene
        with self._exclusively() as worker:
            pipeline = self._pipeline(progress)
            ct = ct_from_node(volumeNode)
            lobes = tubes = None
            lobesNode = _present(givenLobesNode) or lobes_of(scene, volumeNode, segmentationNode)
            if lobesNode is not None and record.measurements.lobes:
                lobes, _warnings = lobes_from_node(lobesNode, volumeNode)
            tubesNode = airways_and_vessels_of(scene, volumeNode, segmentationNode)
            if tubesNode is not None:
                tubes, _warnings = airways_and_vessels_from_node(tubesNode, volumeNode)
            enhancement = None
            if self._running is not None and self._running.belongsTo(*nodes):
                enhancement = self._running.quantification.enhancement

            def work(report):
                measured = pipeline.measure(
                    ct, labels, subrange(report, 0.0, 0.4), lobes, airways_and_vessels=tubes
                )
                current = dataclasses.replace(
                    with_record(measured, record), enhancement=enhancement
                )
                return write(current, subrange(report, 0.4, 1.0))

            worker.work = work
            return self._wait(worker, progress)

    @contextmanager
    def _writing(self):
        """Tell the panel that the changes of the scene are ours, not the user's."""
        self.isWriting = True
        try:
            yield
        finally:
            self.isWriting = False

    def _startCounting(self, quantification, volumeNode, segmentationNode, tableNode, lobesNode):
        """Be ready to count the next stroke by its changed voxels."""
        hasLobes = quantification.segments is not None
        machineLabels = machine_labels_of(slicer.mrmlScene, volumeNode, segmentationNode)
        count = RunningCount(
            quantification.ct.hu,
            quantification.labels,
            quantification.segments if hasLobes else quantification.lungs,
            hasLobes,
            quantification.ct.geometry.spacing_mm,
            quantification.ct.geometry.voxel_volume_ml,
            machineLabels,
        )
        self._running = _Running(
            count, quantification, volumeNode, segmentationNode, tableNode, lobesNode
        )
        with self._writing():
            set_correction(tableNode, count.recount(quantification.labels).correction)

    def _creditModel(self, quantification, volumeNode, segmentationNode, tableNode):
        """Name the model of a run's own result that was measured again, with what was corrected."""
        machineLabels = machine_labels_of(slicer.mrmlScene, volumeNode, segmentationNode)
        record, _notices = readTable(_present(tableNode))
        earlier = None if record is None else record.provenance
        countedFrom = None if record is None else result_of(tableNode)
        # The command line's scenes do not name it.
        isOurs = countedFrom is segmentationNode or (
            countedFrom is None and (segmentationNode, tableNode) == self.resultsOf(volumeNode)
        )
        if machineLabels is None or not isOurs or not earlier or not earlier["model_name"]:
            return quantification
        provenance = quantification.provenance
        changed = int((quantification.labels != machineLabels).sum())
        return dataclasses.replace(
            quantification,
            provenance=dataclasses.replace(
                provenance,
                model_name=earlier["model_name"],
                model_sha256=earlier["model_sha256"],
                device=earlier["device"],
                options={**earlier["options"], **provenance.options, "changed_voxels": changed},
            ),
        )

    def _writeLobes(self, quantification, volumeNode, segmentationNode):
        """Write the lobes, hidden, and their chart; earlier ones of the result are renewed.

        Where there are no lobes, earlier ones are set aside.
        """
        result = (slicer.mrmlScene, quantification, volumeNode, segmentationNode)
        renew_or_set_aside(*result, lobes_to_node, lobes_of, LOBES_REFERENCE_ROLE)
        lobe_chart_to_node(*result)

    def _writeTable(self, quantification, volumeNode, segmentationNode, tableNode):
        tableNode = measurements_to_node(
            slicer.mrmlScene, quantification, volumeNode, _present(tableNode)
        )
        if segmentationNode is not None:
            remember_result(tableNode, segmentationNode)
        return tableNode


def readTable(tableNode):
    """Return (record, notices): what a table of ours holds and what to know about it."""
    if tableNode is None or tableNode.GetNumberOfColumns() == 0:
        return None, []
    try:
        record = record_from_node(tableNode)
    except CovidLungQuantError as reason:
        return None, [str(reason)]
    warnings = (*record.warnings, *record.measurements.warnings)
    return record, list(dict.fromkeys(warning.message for warning in warnings))


def _present(node):
    """Return `node` if it is still in the scene, otherwise None."""
    return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None


def _withWarnings(quantification, warnings):
    return dataclasses.replace(quantification, warnings=(*quantification.warnings, *warnings))


def _isSame(volumeNode, ct, modifiedBefore):
    """Whether a volume still has the voxels and geometry of `ct`, which was read from it."""
    image = volumeNode.GetImageData()
    if image is None or (geometry_of(volumeNode).ijk_to_lps != ct.geometry.ijk_to_lps).any():
        return False
    if image.GetMTime() == modifiedBefore:
        return True
    # Marked as modified, which does not have to mean that a voxel is different.
    hu = ct_from_node(volumeNode).hu
    return hu.shape == ct.hu.shape and bool((hu == ct.hu).all())


class _Running:
    """A running count with the nodes it belongs to and what was last written of it."""

    def __init__(self, count, quantification, volumeNode, segmentationNode, tableNode, lobesNode):
        self.count = count
        self.quantification = quantification
        self._nodes = (volumeNode, segmentationNode, tableNode, lobesNode)
        self._voxelsModified = volumeNode.GetImageData().GetMTime()

    def belongsTo(self, *nodes):
        """Whether these are the nodes and the volume still has the voxels that were counted."""
        return (
            all(mine is theirs for mine, theirs in zip(self._nodes, nodes, strict=True))
            and nodes[0].GetImageData() is not None
            and nodes[0].GetImageData().GetMTime() == self._voxelsModified
        )


def _recounted(quantification, labels, recounted):
    """Return a quantification with the numbers of a corrected label map."""
    before = quantification.measurements
    kept = [
        warning
        for warning in quantification.warnings
        if warning not in before.warnings and warning.code != LUNGS_CHANGED
    ]
    if recounted.lung_was_added or recounted.lung_was_removed:
        kept.append(
            ScanWarning(
                LUNGS_CHANGED,
                _(
                    "The lungs themselves were changed by hand; left, right and lobes are those of"
                    " before, added lung counts to the nearest. Measure again divides them anew."
                ),
            )
        )
    correction = recounted.correction
    provenance = quantification.provenance
    return dataclasses.replace(
        quantification,
        labels=labels,
        measurements=dataclasses.replace(recounted.measurements, notes=before.notes),
        warnings=(*kept, *recounted.measurements.warnings),
        provenance=dataclasses.replace(
            provenance,
            options={
                **provenance.options,
                "changed_voxels": None if correction is None else correction.changed_voxels,
            },
        ),
    )


class _Worker(threading.Thread):
    """A computation in a thread of its own, with progress to read and a way to stop it.

    `work` is called with a progress callback; `result` or `error` is set when the thread has ended.
    """

    def __init__(self):
        super().__init__(name="CovidLungQuant", daemon=True)
        self.fraction = 0.0
        self.message = ""
        self.result = None
        self.error = None
        self.work = None
        self._stopReason = None

    def cancel(self, reason):
        """Let the computation end at its next report of progress, with `Cancelled(reason)`."""
        self._stopReason = self._stopReason or reason

    def run(self):
        """Called by the thread."""
        try:
            self.result = self.work(self._report)
        except BaseException as error:
            self.error = error

    def _report(self, fraction, message):
        self.fraction, self.message = fraction, message
        if self._stopReason is not None:
            raise Cancelled(self._stopReason)
