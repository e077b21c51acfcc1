"""The Slicer module: a thin shell around CovidLungQuantLib, which computes everything.

Annotations are not postponed here (`from __future__ import annotations`): Slicer's parameter node
wrapper needs them as types.
"""

import dataclasses
import importlib.util
import logging
import math
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import qt
import slicer
import vtk
from slicer import (
    vtkMRMLNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("CovidLungQuantLib") is None:
    # In a source checkout the library lies one folder up; installed, it lies beside this file.
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    DISCLAIMER,
    GGO,
    HIGH_OPACITY,
    LEFT_LUNG_REGION,
    LOBES,
    RIGHT_LUNG_REGION,
)
from CovidLungQuantLib.lesions.models import available_models
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
)
from CovidLungQuantLib.mrml.chart import lobe_chart_to_node
from CovidLungQuantLib.mrml.lobes import lobes_from_node, lobes_of, lobes_to_node
from CovidLungQuantLib.mrml.nodes import no_new_nodes_on_error, results_of
from CovidLungQuantLib.mrml.segmentation import (
    note_edits,
    segmentation_from_node,
    segmentation_to_node,
)
from CovidLungQuantLib.mrml.table import measurements_to_node, record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node, geometry_of, show_in_lung_window

MODULE_NAME = "CovidLungQuant"
TORCH_VERSION_REQUIREMENT = ">=2.2"
# Columns and rows of the results table in the .ui file: regions; measures with their decimals.
SHOWN_REGIONS = (BOTH_LUNGS_REGION, RIGHT_LUNG_REGION, LEFT_LUNG_REGION)
SHOWN_MEASURES = (
    ("volume_ml", 0),
    ("normal_ml", 0),
    ("ggo_ml", 1),
    ("high_opacity_ml", 1),
    ("lesion_ml", 1),
    ("ggo_percent", 1),
    ("high_opacity_percent", 1),
    ("lesion_percent", 1),
    ("mean_hu", 0),
    ("sd_hu", 0),
)
# Columns of the table of lobes in the .ui file but the last, which is the score.
SHOWN_LOBE_MEASURES = (
    ("volume_ml", 0),
    ("ggo_percent", 1),
    ("high_opacity_percent", 1),
    ("lesion_percent", 1),
)
# Long enough for the worker to compute, short enough for the window to feel alive.
POLL_INTERVAL_S = 0.02


class CovidLungQuant(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("COVID-19 Lung Quantification")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Chest Imaging Platform")]
        self.parent.dependencies = []
        self.parent.contributors = ["CovidLungQuant contributors"]
        self.parent.helpText = _(
            "Segments normal lung, ground-glass opacity and high opacity on chest CT with a"
            " ConvLSTM-attention network and measures them. Select a CT volume and press Segment;"
            " after correcting the segmentation, press Measure again."
        )
        self.parent.helpText += f"<p>{DISCLAIMER}</p>"
        self.parent.acknowledgementText = _(
            "The network follows Grodecki, Killekar et al. 2021 (arXiv:2104.00138)."
        )


@parameterNodeWrapper
class CovidLungQuantParameterNode:
    """What the user chose; kept in the scene and saved with it.

    `model` is a shipped model's name or a weights file's path, empty for the default model.
    `device` is "auto", "cpu", "cuda" or "mps". `kinds` says how GGO is told from high opacity:
    "density", "thresholds", "artery" or "network". `lobes` is a segmentation or label map of the
    user's that holds the five lobes; none finds them.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = ""
    device: str = "auto"
    kinds: str = "density"
    lobes: vtkMRMLNode
    outputSegmentation: vtkMRMLSegmentationNode
    outputTable: vtkMRMLTableNode


class CovidLungQuantWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._lastInputVolumeID = None
        self._observedTable = None
        self._removed = False

    def setup(self):
        """Build the panel; Slicer calls it once, when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{MODULE_NAME}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CovidLungQuantLogic()

        self.ui.disclaimerLabel.text = DISCLAIMER
        for table in (self.ui.resultsTable, self.ui.lobesTable):
            table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
            table.verticalHeader().setSectionResizeMode(qt.QHeaderView.Fixed)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.NodeAddedEvent, self.onSceneChanged)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)

        self.ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self.ui.measureButton.connect("clicked(bool)", self.onMeasureButton)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelSelected)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceSelected)
        self.ui.kindsComboBox.connect("currentIndexChanged(int)", self.onKindsSelected)
        # Two classes of nodes, which the parameter node cannot bind to one selector.
        self.ui.lobesSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onLobesSelected)
        # Also after a reload, when Slicer does not call enter.
        self.initializeParameterNode()

    def cleanup(self):
        """Let go of the scene; Slicer calls it at its end and before a reload."""
        self._removed = True
        if self.logic is not None:
            self.logic.cancel()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self):
        """Called each time the user opens another module; a run goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """The scene's nodes are about to go: stop a run and let go of the parameter node."""
        self.logic.cancel(_("Stopped: the scene was closed."))
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        """Start afresh in the empty scene."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event):
        """Show what a scene file has brought."""
        if self._parameterNode is not None:
            self.initializeParameterNode()

    def onSceneChanged(self, caller, event):
        """Offer the first volume, and follow nodes that come and go."""
        if self._parameterNode is not None and not slicer.mrmlScene.IsBatchProcessing():
            self._selectFirstVolume()
            self._updatePanel()

    def initializeParameterNode(self):
        """Take the scene's parameter node and offer the first volume."""
        self.setParameterNode(self.logic.getParameterNode())
        self._selectFirstVolume()

    def setParameterNode(self, parameterNode):
        """Bind the panel to a parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterNodeModified
            )
        self._parameterNode = parameterNode
        if parameterNode is None:
            self._observeTable(None)
            return
        self._lastInputVolumeID = _nodeID(parameterNode.inputVolume)
        self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
        self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterNodeModified)
        self._updatePanel()

    def onParameterNodeModified(self, caller=None, event=None):
        """A choice has changed, in the panel or from a script."""
        if slicer.mrmlScene.IsBatchProcessing():
            # A scene file is being read, its nodes are not all there yet.
            return
        volumeNode = self._parameterNode.inputVolume
        if _nodeID(volumeNode) != self._lastInputVolumeID:
            self._lastInputVolumeID = _nodeID(volumeNode)
            self._selectOutputsOf(volumeNode)
        self._updatePanel()

    def onTableModified(self, caller, event):
        """The shown table holds other numbers now."""
        self._showResults(self._observedTable)

    def onModelSelected(self):
        """Keep the chosen model in the parameter node."""
        if self._parameterNode is not None:
            self._parameterNode.model = self.ui.modelComboBox.currentData or ""

    def onDeviceSelected(self):
        """Keep the chosen device in the parameter node."""
        if self._parameterNode is not None:
            self._parameterNode.device = self.ui.deviceComboBox.currentData

    def onKindsSelected(self):
        """Keep the chosen way to tell GGO from high opacity in the parameter node."""
        if self._parameterNode is not None:
            self._parameterNode.kinds = self.ui.kindsComboBox.currentData

    def onLobesSelected(self):
        """Keep the chosen lobes in the parameter node."""
        # While a scene closes or loads, the selector loses nodes that nobody took away.
        if self._parameterNode is not None and not slicer.mrmlScene.IsBatchProcessing():
            self._parameterNode.lobes = self.ui.lobesSelector.currentNode()

    def onSegmentButton(self):
        """Segment the selected volume and show the result."""
        chosen = self._parameterNode
        volumeNode = chosen.inputVolume
        if not self._mayOverwrite(volumeNode, chosen.outputSegmentation):
            return
        nodes = self._run(
            lambda: self.logic.segment(
                volumeNode,
                chosen.outputSegmentation,
                chosen.outputTable,
                model=chosen.model or None,
                device=chosen.device,
                kinds=chosen.kinds,
                progress=self._showProgress,
                lobesNode=chosen.lobes,
            )
        )
        if nodes is not None:
            self.logic.showResult(volumeNode, *nodes)

    def onMeasureButton(self):
        """Measure the selected segmentation as it is now."""
        chosen = self._parameterNode
        self._run(
            lambda: self.logic.measure(
                chosen.inputVolume,
                chosen.outputSegmentation,
                chosen.outputTable,
                progress=self._showProgress,
                lobesNode=chosen.lobes,
            )
        )

    def onCancelButton(self):
        """Stop the run at its next step."""
        _showText(self.ui.statusLabel, _("Stopping…"))
        self.ui.cancelButton.enabled = False
        self.logic.cancel()

    def _run(self, work):
        """Do `work`, which returns output nodes; say how it ended. Return the nodes or None."""
        if self.logic.isRunning or not self._ensureTorch():
            return None
        nodes = None
        error = ""
        start = time.monotonic()
        self._setRunning(True)
        try:
            nodes = work()
            status = _("Done in {seconds:.0f} s.").format(seconds=time.monotonic() - start)
        except Cancelled as reason:
            status = str(reason)
        except CovidLungQuantError as reason:
            status = _("Not done.")
            error = str(reason)
        except Exception as reason:
            logging.exception("CovidLungQuant failed")
            status = _("Not done.")
            error = _("The run failed unexpectedly ({reason}); the log has the details.").format(
                reason=reason or type(reason).__name__
            )
        if self._removed:
            return None
        self._setRunning(False)
        _showText(self.ui.statusLabel, status)
        if nodes is not None:
            # Not self._parameterNode: the user may have left the module meanwhile.
            chosen = self.logic.getParameterNode()
            chosen.outputSegmentation, chosen.outputTable = nodes
        self._updatePanel()
        if error:
            slicer.util.errorDisplay(error)
        return nodes

    def _mayOverwrite(self, volumeNode, segmentationNode):
        """Return whether segmenting may replace the chosen segmentation; asks if it was edited."""
        if not self.logic.isEdited(volumeNode, segmentationNode):
            return True
        return slicer.util.confirmOkCancelDisplay(
            _(
                "The segmentation “{name}” was edited or made elsewhere. Segmenting replaces its"
                " normal lung, GGO and high opacity. To keep them and renew the numbers, press"
                " Cancel here and then Measure again."
            ).format(name=segmentationNode.GetName()),
            _("Replace the segmentation?"),
        )

    def _ensureTorch(self):
        """Return whether PyTorch is there, after offering to install it where it is not."""
        if self.logic.isTorchInstalled():
            return True
        try:
            import PyTorchUtils
        except ModuleNotFoundError:
            slicer.util.errorDisplay(
                _(
                    "PyTorch is needed and is not installed. Install the PyTorch extension in the"
                    " Extensions Manager, restart Slicer and press Segment again."
                )
            )
            return False
        agreed = slicer.util.confirmOkCancelDisplay(
            _(
                "PyTorch, the library that runs the network, is not installed yet.\n\n"
                "OK downloads it from pytorch.org (0.2 GB for CPU, up to 3 GB for an NVIDIA"
                " graphics card) and installs it into this Slicer through the PyTorch extension."
                " This takes some minutes and is needed once. No data leave this computer."
            ),
            _("Install PyTorch?"),
        )
        if not agreed:
            _showText(self.ui.statusLabel, _("PyTorch was not installed."))
            return False
        _showText(self.ui.statusLabel, _("Installing PyTorch…"))
        slicer.app.processEvents()
        try:
            with slicer.util.WaitCursor():
                torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
                    askConfirmation=False, torchVersionRequirement=TORCH_VERSION_REQUIREMENT
                )
        except Exception:
            logging.exception("Installing PyTorch failed")
            torch = None
        if torch is None:
            _showText(self.ui.statusLabel, _("PyTorch was not installed."))
            slicer.util.errorDisplay(
                _(
                    "PyTorch could not be installed. Check the network connection and try again, or"
                    " install it in the PyTorch Util module."
                )
            )
            return False
        return True

    def _setRunning(self, running):
        self.ui.progressBar.visible = running
        self.ui.progressBar.value = 0
        self.ui.cancelButton.enabled = running
        self.ui.inputsCollapsibleButton.enabled = not running
        self.ui.outputsCollapsibleButton.enabled = not running
        self._updateButtons(running)

    def _showProgress(self, fraction, message):
        if not self._removed:
            self.ui.progressBar.value = round(100 * fraction)
            if self.ui.cancelButton.enabled:
                _showText(self.ui.statusLabel, message)

    def _selectFirstVolume(self):
        if self._parameterNode.inputVolume is not None:
            return
        for volumeNode in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            # Label maps are of a class derived from it.
            isPlain = volumeNode.GetClassName() == "vtkMRMLScalarVolumeNode"
            if isPlain and not volumeNode.GetHideFromEditors():
                self._parameterNode.inputVolume = volumeNode
                return

    def _selectOutputsOf(self, volumeNode):
        """Point the outputs at the results of `volumeNode`, so that no other's are overwritten."""
        segmentationNode, tableNode = self.logic.resultsOf(volumeNode)
        self._parameterNode.outputSegmentation = segmentationNode
        self._parameterNode.outputTable = tableNode
        # Lobes of another patient would be measured with in silence.
        self._parameterNode.lobes = None

    def _updatePanel(self):
        if self._parameterNode is None:
            return
        _fillComboBox(self.ui.modelComboBox, self.logic.modelChoices(), self._parameterNode.model)
        _fillComboBox(
            self.ui.deviceComboBox, self.logic.deviceChoices(), self._parameterNode.device
        )
        _fillComboBox(self.ui.kindsComboBox, self.logic.kindChoices(), self._parameterNode.kinds)
        if self.ui.lobesSelector.currentNode() is not self._parameterNode.lobes:
            self.ui.lobesSelector.setCurrentNode(self._parameterNode.lobes)
        self._updateButtons(self.logic.isRunning)
        self._observeTable(self._parameterNode.outputTable)
        self._showResults(self._parameterNode.outputTable)

    def _observeTable(self, tableNode):
        """Follow changes of the shown table, which a script or the user may make."""
        if tableNode is self._observedTable:
            return
        modified = vtk.vtkCommand.ModifiedEvent
        if self._observedTable is not None:
            self.removeObserver(self._observedTable, modified, self.onTableModified)
        self._observedTable = tableNode
        if tableNode is not None:
            self.addObserver(tableNode, modified, self.onTableModified)

    def _updateButtons(self, running):
        chosen = self._parameterNode
        hasVolume = chosen is not None and chosen.inputVolume is not None
        hasSegmentation = chosen is not None and chosen.outputSegmentation is not None
        self.ui.segmentButton.enabled = hasVolume and not running
        self.ui.measureButton.enabled = hasVolume and hasSegmentation and not running
        if running:
            self.ui.segmentButton.toolTip = _("A run is on; wait for it or cancel it.")
        elif hasVolume:
            self.ui.segmentButton.toolTip = _("Segment the lungs and lesions and measure them.")
        else:
            self.ui.segmentButton.toolTip = _("Select a CT volume first.")

    def _showResults(self, tableNode):
        """Show the numbers, warnings and model of one of our tables; blank for none."""
        record, notices = _readTable(tableNode)
        regions = {} if record is None else {row.region: row for row in record.measurements.regions}
        for column, region in enumerate(SHOWN_REGIONS):
            for row, (field, digits) in enumerate(SHOWN_MEASURES):
                value = getattr(regions.get(region), field, None)
                text = "" if value is None else _formatNumber(value, digits)
                self.ui.resultsTable.item(row, column).setText(text)
        self._showLobes(record)
        _showText(self.ui.warningsLabel, "\n".join(notices))
        name, tip = _describeModel(record)
        _showText(self.ui.modelInfoLabel, name)
        self.ui.modelInfoLabel.toolTip = tip

    def _showLobes(self, record):
        """Show the lobes with their scores; a table without lobes takes no room."""
        lobes = () if record is None else record.measurements.lobes
        severity = None if record is None else record.measurements.severity
        self.ui.lobesTable.visible = bool(lobes)
        for row in range(len(LOBES)):
            texts = [""] * (len(SHOWN_LOBE_MEASURES) + 1)
            if lobes:
                texts = [
                    _formatNumber(getattr(lobes[row], field), digits)
                    for field, digits in SHOWN_LOBE_MEASURES
                ]
                texts.append(
                    _formatScore(None if severity is None else severity.lobes[row].ct_score)
                )
            for column, text in enumerate(texts):
                self.ui.lobesTable.item(row, column).setText(text)
        _showText(self.ui.severityLabel, _describeSeverity(severity))


def _readTable(tableNode):
    """Return (record, notices): what a table of ours holds and what to know about it."""
    if tableNode is None or tableNode.GetNumberOfColumns() == 0:
        return None, []
    try:
        record = record_from_node(tableNode)
    except CovidLungQuantError as reason:
        return None, [str(reason)]
    warnings = (*record.warnings, *record.measurements.warnings)
    return record, list(dict.fromkeys(warning.message for warning in warnings))


def _formatNumber(value, digits):
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _formatScore(score):
    return "–" if score is None else str(score)


def _describeSeverity(severity):
    """Return the three scores with their highest values; empty without lobes."""
    if severity is None:
        return ""
    text = _(
        "CT score {ct}/{ctHighest} · Total severity {total}/{totalHighest} · CT-SS {ss}/{ssHighest}"
    ).format(
        ct=_formatScore(severity.ct_score),
        ctHighest=HIGHEST_CT_SCORE,
        total=_formatScore(severity.total_severity_score),
        totalHighest=HIGHEST_TOTAL_SEVERITY_SCORE,
        ss=_formatScore(severity.ct_severity_score),
        ssHighest=HIGHEST_CT_SEVERITY_SCORE,
    )
    return f"{text} {_('(severe)')}" if severity.is_severe else text


def _describeModel(record):
    """Return (text, tooltip) that name the model behind the numbers."""
    if record is None or record.provenance is None:
        return "", ""
    name, sha256 = record.provenance["model_name"], record.provenance["model_sha256"]
    if name is None:
        return _("Measured from the segmentation as it was; no network ran."), ""
    return (
        _("Model {name} (SHA-256 {start}…) on {device}").format(
            name=name, start=sha256[:12], device=record.provenance["device"]
        ),
        _("SHA-256 of the model's weights: {hash}").format(hash=sha256),
    )


def _showText(label, text):
    """Show `text`; a label without text takes no room."""
    label.text = text
    label.visible = bool(text)


def _fillComboBox(comboBox, choices, current):
    """Offer `choices` (value → text), with `current` among them, selected."""
    # What is unknown here is the path of a model file, or a device of another computer.
    choices = {**choices, current: choices.get(current, Path(current).name)}
    if [comboBox.itemData(index) for index in range(comboBox.count)] != list(choices):
        wasBlocked = comboBox.blockSignals(True)
        comboBox.clear()
        for value, text in choices.items():
            comboBox.addItem(text, value)
        comboBox.blockSignals(wasBlocked)
    wasBlocked = comboBox.blockSignals(True)
    comboBox.setCurrentIndex(list(choices).index(current))
    comboBox.blockSignals(wasBlocked)


class CovidLungQuantLogic(ScriptedLoadableModuleLogic):
    """What scripts call; `slicer.util.getModuleLogic("CovidLungQuant")` returns one.

    Computing runs in a worker thread that touches neither MRML nor Qt; this thread keeps the window
    alive meanwhile, reads the voxels before and writes the nodes after. A call returns when all is
    done, and leaves the scene as it was if it is cancelled or fails.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._worker = None

    def getParameterNode(self):
        """Return the scene's parameter node, typed."""
        return CovidLungQuantParameterNode(super().getParameterNode())

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
        :raises CovidLungQuantError: the message says what is wrong and what to do.
        """
        with self._exclusively() as worker:
            pipeline = self._pipeline(progress)
            ct = ct_from_node(volumeNode)
            options = pipeline.Options(device=device, model=model, kinds=kinds, artery_hu=arteryHu)
            lobes, warnings = None, ()
            if _present(lobesNode) is not None:
                lobes, warnings = lobes_from_node(lobesNode, volumeNode)
            worker.work = lambda report: pipeline.quantify(ct, options, report, lobes)
            quantification = _withWarnings(
                self._compute(worker, volumeNode, ct, progress), warnings
            )
        scene = slicer.mrmlScene
        with no_new_nodes_on_error(scene):
            segmentationNode = segmentation_to_node(
                scene, quantification, volumeNode, _present(segmentationNode)
            )
            tableNode = self._writeTable(quantification, volumeNode, tableNode)
            self._writeLobes(quantification, volumeNode)
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
            lobesNode = _present(lobesNode) or lobes_of(slicer.mrmlScene, volumeNode)
            if lobesNode is not None:
                lobes, lobeWarnings = lobes_from_node(lobesNode, volumeNode)
                warnings = (*warnings, *lobeWarnings)
            worker.work = lambda report: pipeline.measure(
                ct, labels, report, lobes, pipeline.AUTOMATIC_LOBES
            )
            quantification = _withWarnings(
                self._compute(worker, volumeNode, ct, progress), warnings
            )
        with no_new_nodes_on_error(slicer.mrmlScene):
            tableNode = self._writeTable(quantification, volumeNode, tableNode)
            self._writeLobes(quantification, volumeNode)
        if _present(segmentationNode) is not None:
            note_edits(segmentationNode, labels)
        return segmentationNode, tableNode

    def showResult(self, volumeNode, segmentationNode, tableNode):
        """Show the volume in a lung window under its segments; go to the larger kind of lesion."""
        show_in_lung_window(volumeNode)
        slicer.util.setSliceViewerLayers(background=volumeNode)
        segmentationNode.SetDisplayVisibility(True)
        displayNode = segmentationNode.GetDisplayNode()
        displayNode.SetVisibility2DFill(True)
        displayNode.SetVisibility2DOutline(True)
        both = record_from_node(tableNode).measurements.region(BOTH_LUNGS_REGION)
        label, volume_ml = max(
            ((GGO, both.ggo_ml), (HIGH_OPACITY, both.high_opacity_ml)), key=lambda pair: pair[1]
        )
        if volume_ml > 0:
            centre = segmentationNode.GetSegmentCenterRAS(label.segment_id)
            slicer.vtkMRMLSliceNode.JumpAllSlices(
                slicer.mrmlScene, *centre, slicer.vtkMRMLSliceNode.CenteredJumpSlice
            )

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

    def resultsOf(self, volumeNode):
        """Return (segmentationNode, tableNode) made for a volume; None where there is none."""
        return results_of(slicer.mrmlScene, volumeNode) if volumeNode is not None else (None, None)

    def isTorchInstalled(self):
        """Whether PyTorch can be imported; importing it takes seconds, so this does not."""
        return importlib.util.find_spec("torch") is not None

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

    def _pipeline(self, progress):
        """Import what computes; it loads PyTorch, which takes a moment the first time."""
        if not self.isTorchInstalled():
            raise CovidLungQuantError(
                _("PyTorch is not installed; install it through the PyTorch extension.")
            )
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
        """Let `worker` work on `ct` in its thread while this thread keeps the window alive."""
        volumeGone = _("Stopped: the volume is no longer in the scene.")
        modifiedBefore = volumeNode.GetImageData().GetMTime()
        worker.start()
        try:
            while worker.is_alive():
                if _present(volumeNode) is None:
                    worker.cancel(volumeGone)
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
        if _present(volumeNode) is None:
            raise Cancelled(volumeGone)
        if not _isSame(volumeNode, ct, modifiedBefore):
            raise CovidLungQuantError(
                _("The volume was changed during the run, so nothing was written; run it again.")
            )
        return worker.result

    def _writeLobes(self, quantification, volumeNode):
        """Write the lobes, hidden, and their chart; earlier ones of the volume are renewed."""
        scene = slicer.mrmlScene
        lobes_to_node(scene, quantification, volumeNode, lobes_of(scene, volumeNode))
        lobe_chart_to_node(scene, quantification, volumeNode)

    def _writeTable(self, quantification, volumeNode, tableNode):
        return measurements_to_node(
            slicer.mrmlScene, quantification, volumeNode, _present(tableNode)
        )


def _nodeID(node):
    return None if node is None else node.GetID()


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


class _Worker(threading.Thread):
    """A computation in a thread of its own, with progress to read and a way to stop it.

    `work` is called with a progress callback; `result` or `error` is set when the thread has ended.
    """

    def __init__(self):
        super().__init__(name=MODULE_NAME, daemon=True)
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


class CovidLungQuantTest(ScriptedLoadableModuleTest):
    """Run by Slicer's Self Tests module and by Reload and Test."""

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
        self.test_cancelLeavesTheScene()
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
    import numpy as np

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
