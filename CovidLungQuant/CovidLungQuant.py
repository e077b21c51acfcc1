"""The Slicer module: a thin shell around CovidLungQuantLib, which computes everything.

Annotations are not postponed here (`from __future__ import annotations`): Slicer's parameter node
wrapper needs them as types.
"""

import dataclasses
import importlib.util
import logging
import math
import shutil
import sys
import tempfile
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

if "CovidLungQuantPanel" in sys.modules:
    # Slicer's Reload runs this file alone again; the panel's files are to come anew with it.
    for name in [name for name in sys.modules if name.startswith("CovidLungQuantPanel")]:
        del sys.modules[name]

from CovidLungQuantPanel.advanced import AdvancedSection
from CovidLungQuantPanel.follow_up import FollowUpSection
from CovidLungQuantPanel.looking import LookingSection, registerLayout
from CovidLungQuantPanel.parameter_sets import choose, chooseAfterImport, chosenNode
from CovidLungQuantPanel.reports import ReportsSection
from CovidLungQuantPanel.sample_data import registerSampleData
from CovidLungQuantPanel.self_test import checkLoop
from CovidLungQuantPanel.settings import (
    SettingsSection,
    applyModelsFolder,
    deviceOfThisComputer,
)
from CovidLungQuantPanel.teaching import TeachingSection

from CovidLungQuantLib.ct import ScanWarning
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
from CovidLungQuantLib.lesions.tubes import NO_TUBES
from CovidLungQuantLib.measures.comparison import LESION, LUNG
from CovidLungQuantLib.measures.recount import RunningCount
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
)
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
    is_made_from_a_scan,
    no_new_nodes_on_error,
    remember_result,
    result_of,
    results_of,
    set_aside,
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
# Rows of the table of corrections in the .ui file.
SHOWN_STRUCTURES = (LUNG, LESION, GGO.name, HIGH_OPACITY.name)
# Several changes of one stroke are counted once; short, since the reader waits for the numbers.
RECOUNT_DELAY_MS = 200
LUNGS_CHANGED = "lungs_changed_by_hand"
# What Segment Editor's own module calls its node.
SEGMENT_EDITOR_TAG = "SegmentEditor"
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
            " ConvLSTM-attention network and measures them. Select a CT volume and press Segment."
            " Press Correct to repair the result in Segment Editor; the numbers follow."
        )
        self.parent.helpText += f"<p>{DISCLAIMER}</p>"
        self.parent.acknowledgementText = _(
            "The network follows Grodecki, Killekar et al. 2021 (arXiv:2104.00138)."
        )
        # Views can be arranged once the main window is there.
        slicer.app.connect("startupCompleted()", registerLayout)
        slicer.app.connect("startupCompleted()", registerSampleData)
        applyModelsFolder()


@parameterNodeWrapper
class CovidLungQuantParameterNode:
    """What the user chose; kept in the scene and saved with it. A scene can hold several.

    `model` is a shipped model's name or a weights file's path, empty for the default model.
    `device` is "auto", "cpu", "cuda" or "mps". `kinds` says how GGO is told from high opacity:
    "density", "thresholds", "artery" or "network". `lobes` is a segmentation or label map of the
    user's that holds the five lobes; none finds them. `mayLeaveLungs` lets strokes add lung.
    `airwaysAndVessels` ("none", "find" or "remove"), `enhance` and `mirror` are as in
    `pipeline.Options`. `shownLesion` counts lesions by size, the largest is 1, none 0;
    `layoutBefore` is the number of the layout before ours. `compareAnyway` lets a follow-up
    compare what different rules made.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = ""
    device: str = "auto"
    kinds: str = "density"
    lobes: vtkMRMLNode
    mayLeaveLungs: bool = False
    airwaysAndVessels: str = NO_TUBES
    enhance: bool = False
    mirror: bool = False
    shownLesion: int = 0
    layoutBefore: int = 0
    compareAnyway: bool = False
    outputSegmentation: vtkMRMLSegmentationNode
    outputTable: vtkMRMLTableNode


class CovidLungQuantWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._uiWidget = None
        self._parameterNode = None
        self._shownSet = None
        self._parameterNodeGuiTag = None
        self._lastInputVolumeID = None
        self._observedTable = None
        self._observedSegmentations = []
        self._recountTimer = None
        self._sections = ()
        self._removed = False

    def setup(self):
        """Build the panel; Slicer calls it once, when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{MODULE_NAME}.ui"))
        self._uiWidget = uiWidget
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CovidLungQuantLogic()
        self._recountTimer = qt.QTimer()
        self._recountTimer.setSingleShot(True)
        self._recountTimer.setInterval(RECOUNT_DELAY_MS)
        self._recountTimer.connect("timeout()", self.onRecountTimer)
        self._sections = (
            AdvancedSection(self),
            LookingSection(self),
            ReportsSection(self),
            TeachingSection(self),
            FollowUpSection(self),
            SettingsSection(self),
        )

        self.ui.disclaimerLabel.text = DISCLAIMER
        for table in (self.ui.resultsTable, self.ui.lobesTable, self.ui.correctionTable):
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
        self.ui.correctButton.connect("clicked(bool)", self.onCorrectButton)
        self.ui.mayLeaveLungsCheckBox.connect("toggled(bool)", self.onMayLeaveLungs)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelSelected)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceSelected)
        self.ui.kindsComboBox.connect("currentIndexChanged(int)", self.onKindsSelected)
        # Two classes of nodes, which the parameter node cannot bind to one selector.
        self.ui.lobesSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onLobesSelected)
        # Also after a reload, when Slicer does not call enter.
        self.initializeParameterNode()

    def addSection(self, name, inside=None):
        """Load a section's .ui file; return (widget, children).

        It is put above the disclaimer, or at the end of the form of the widget `inside`.
        """
        section = slicer.util.loadUI(self.resourcePath(f"UI/{MODULE_NAME}{name}.ui"))
        if inside is not None:
            inside.layout().addRow(section)
        else:
            layout = self._uiWidget.layout()
            layout.insertWidget(layout.indexOf(self.ui.disclaimerLabel), section)
        return section, slicer.util.childWidgetVariables(section)

    def cleanup(self):
        """Let go of the scene; Slicer calls it at its end and before a reload."""
        self._removed = True
        if self._recountTimer is not None:
            self._recountTimer.stop()
        if self.logic is not None:
            self.logic.cancel()
        self._observeSegmentations([])
        self.setParameterNode(None)
        for section in self._sections:
            section.cleanup()
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
        self._observeSegmentations([])
        self.logic.forget()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        """Start afresh in the empty scene."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event):
        """Show what a scene file has brought."""
        isShown = self._parameterNode is not None
        self.setParameterNode(None)
        chooseAfterImport(self.logic.getAllParameterNodes())
        if isShown:
            self.initializeParameterNode()

    def onSceneChanged(self, caller, event):
        """Offer the first volume, and follow nodes that come and go."""
        if self._parameterNode is None or slicer.mrmlScene.IsBatchProcessing():
            return
        if not slicer.mrmlScene.IsNodePresent(self._shownSet):
            # The user has deleted the set.
            self._showOtherSet()
            return
        self._selectFirstVolume()
        self._updatePanel()

    def chooseParameterSet(self, node):
        """Show another parameter set: its volume, its results and its options, nothing else."""
        if node is not self._shownSet:
            self.logic.chooseParameterSet(node)
            self._showOtherSet()

    def _showOtherSet(self):
        self._recountTimer.stop()
        for label in (self.ui.statusLabel, self.ui.staleLabel):
            _showText(label, "")
        # Every section lets go of what it holds of the other set.
        self.setParameterNode(None)
        self.initializeParameterNode()
        for section in self._sections:
            if isinstance(section, LookingSection):
                section.showChosen()

    def initializeParameterNode(self):
        """Take the scene's chosen parameter node and offer the first volume."""
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
        self._shownSet = None if parameterNode is None else self.logic.chosenParameterSet()
        if parameterNode is None:
            self._observeTable(None)
            for section in self._sections:
                section.update(None)
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

    def onSegmentationChanged(self, caller, event):
        """A stroke, an undo, a redo: the numbers are out of date at once, and are taken soon."""
        if self.logic.isWriting or slicer.mrmlScene.IsBatchProcessing():
            return
        chosen = self.logic.getParameterNode()
        for tableNode in slicer.util.getNodesByClass("vtkMRMLTableNode"):
            if result_of(tableNode) is caller:
                set_stale(tableNode, True)
        if caller is chosen.outputSegmentation and chosen.outputTable is not None:
            set_stale(chosen.outputTable, True)
            self._recountTimer.start()
        self._showStale(chosen.outputTable)

    def onRecountTimer(self):
        """The stroke has ended: take the numbers again."""
        # Not self._parameterNode: the user is in Segment Editor.
        chosen = self.logic.getParameterNode()
        if self._removed or None in (
            chosen.inputVolume,
            chosen.outputSegmentation,
            chosen.outputTable,
        ):
            return
        if self.logic.isRunning:
            self._recountTimer.start()
            return
        try:
            self.logic.recount(
                chosen.inputVolume, chosen.outputSegmentation, chosen.outputTable, chosen.lobes
            )
            _showText(self.ui.staleLabel, "")
        except CovidLungQuantError as reason:
            # No message box in the middle of painting; the table goes on saying it is out of date.
            _showText(self.ui.staleLabel, str(reason))
        except Exception:
            logging.exception("Recounting failed")
            _showText(self.ui.staleLabel, _("Recounting failed; the log has the details."))
        self._showResults(chosen.outputTable)

    def onCorrectButton(self):
        """Open Segment Editor on the result, so set up that strokes keep to the lungs."""
        chosen = self._parameterNode
        self.logic.prepareCorrection(
            chosen.inputVolume, chosen.outputSegmentation, chosen.mayLeaveLungs
        )
        slicer.util.selectModule("SegmentEditor")

    def onMayLeaveLungs(self, checked):
        """Keep in the parameter node whether strokes may leave the lungs."""
        if self._parameterNode is not None:
            self._parameterNode.mayLeaveLungs = checked

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
            chosen,
            lambda: self.logic.segment(
                volumeNode,
                chosen.outputSegmentation,
                chosen.outputTable,
                model=chosen.model or None,
                device=deviceOfThisComputer(chosen.device),
                kinds=chosen.kinds,
                progress=self.showProgress,
                lobesNode=chosen.lobes,
                airwaysAndVessels=chosen.airwaysAndVessels,
                enhance=chosen.enhance,
                mirror=chosen.mirror,
            ),
        )
        if nodes is not None:
            self.logic.showResult(volumeNode, *nodes)
            chosen.shownLesion = 0
            for section in self._sections:
                if isinstance(section, LookingSection):
                    section.onReadingLayout()

    def onMeasureButton(self):
        """Measure the selected segmentation as it is now."""
        chosen = self._parameterNode
        self._run(
            chosen,
            lambda: self.logic.measure(
                chosen.inputVolume,
                chosen.outputSegmentation,
                chosen.outputTable,
                progress=self.showProgress,
                lobesNode=chosen.lobes,
            ),
        )

    def onCancelButton(self):
        """Stop the run at its next step."""
        _showText(self.ui.statusLabel, _("Stopping…"))
        self.ui.cancelButton.enabled = False
        self.logic.cancel()

    def _run(self, chosen, work):
        """Do `work`, which returns the output nodes, and put them into `chosen`; return its result.

        `chosen` and not self._parameterNode: the user may have left the module meanwhile.
        """
        nodes = self.runWork(work)
        if nodes is not None:
            chosen.outputSegmentation, chosen.outputTable = nodes
            self._updatePanel()
        return nodes

    def runWork(self, work):
        """Do `work` while the panel shows its progress; say how it ended.

        Returns what `work` returns; None where it was cancelled or failed, which a box says then.
        """
        if self.logic.isRunning or not self.ensureTorch():
            return None
        result = None
        error = ""
        start = time.monotonic()
        self._setRunning(True)
        try:
            result = work()
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
        self._updatePanel()
        if error:
            slicer.util.errorDisplay(error)
        return result

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

    def ensureTorch(self):
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
        for section in self._sections:
            section.setRunning(running)
        self._updateButtons(running)

    def showStatus(self, text):
        """Say something below the buttons."""
        _showText(self.ui.statusLabel, text)

    def updateModels(self):
        """Offer the models that there are now."""
        if self._parameterNode is not None:
            model = self._parameterNode.model
            _fillComboBox(self.ui.modelComboBox, self.logic.modelChoices(), model)

    def showProgress(self, fraction, message):
        """Show how far a run is."""
        if not self._removed:
            self.ui.progressBar.value = round(100 * fraction)
            if self.ui.cancelButton.enabled:
                _showText(self.ui.statusLabel, message)

    def _selectFirstVolume(self):
        if self._parameterNode.inputVolume is not None:
            return
        taken = [other.inputVolume for other in self._otherSets()]
        for volumeNode in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            # Label maps are of a class derived from it.
            isPlain = volumeNode.GetClassName() == "vtkMRMLScalarVolumeNode"
            isScan = isPlain and not is_made_from_a_scan(volumeNode)
            if isScan and not volumeNode.GetHideFromEditors() and volumeNode not in taken:
                self._parameterNode.inputVolume = volumeNode
                return

    def _selectOutputsOf(self, volumeNode):
        """Point the outputs at the results of `volumeNode`, so that no other's are overwritten."""
        taken = [
            node
            for other in self._otherSets()
            for node in (other.outputSegmentation, other.outputTable)
            if node is not None
        ]
        segmentationNode, tableNode = self.logic.resultsOf(volumeNode, taken)
        self._parameterNode.outputSegmentation = segmentationNode
        self._parameterNode.outputTable = tableNode
        # Lobes of another patient would be measured with in silence.
        self._parameterNode.lobes = None
        self._parameterNode.shownLesion = 0

    def _otherSets(self):
        return [
            CovidLungQuantParameterNode(node)
            for node in self.logic.getAllParameterNodes()
            if node is not self._shownSet
        ]

    def _updatePanel(self):
        if self._parameterNode is None:
            return
        self.updateModels()
        _fillComboBox(
            self.ui.deviceComboBox, self.logic.deviceChoices(), self._parameterNode.device
        )
        _fillComboBox(self.ui.kindsComboBox, self.logic.kindChoices(), self._parameterNode.kinds)
        if self.ui.lobesSelector.currentNode() is not self._parameterNode.lobes:
            self.ui.lobesSelector.setCurrentNode(self._parameterNode.lobes)
        self.ui.mayLeaveLungsCheckBox.checked = self._parameterNode.mayLeaveLungs
        self._updateButtons(self.logic.isRunning)
        self._observeSegmentations(self._segmentationsOfResults())
        self._observeTable(self._parameterNode.outputTable)
        self._showResults(self._parameterNode.outputTable)
        for section in self._sections:
            section.update(self._parameterNode)

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

    def _segmentationsOfResults(self):
        """What is shown and what other tables were counted from: none may change unnoticed."""
        tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
        nodes = [self._parameterNode.outputSegmentation, *map(result_of, tables)]
        return list(dict.fromkeys(node for node in nodes if node is not None))

    def _observeSegmentations(self, segmentationNodes):
        """Follow changes of the results, also while the user is in Segment Editor."""
        if segmentationNodes == self._observedSegmentations:
            return
        events = (
            slicer.vtkSegmentation.SourceRepresentationModified,
            # All that an undo says.
            slicer.vtkSegmentation.SegmentModified,
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
        )
        for event in events:
            for node in self._observedSegmentations:
                self.removeObserver(node, event, self.onSegmentationChanged)
            for node in segmentationNodes:
                self.addObserver(node, event, self.onSegmentationChanged)
        self._observedSegmentations = segmentationNodes

    def _updateButtons(self, running):
        chosen = self._parameterNode
        hasVolume = chosen is not None and chosen.inputVolume is not None
        hasSegmentation = chosen is not None and chosen.outputSegmentation is not None
        self.ui.segmentButton.enabled = hasVolume and not running
        self.ui.measureButton.enabled = hasVolume and hasSegmentation and not running
        self.ui.correctButton.enabled = hasVolume and hasSegmentation and not running
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
        self._showCorrection(tableNode)
        self._showStale(tableNode)
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

    def _showCorrection(self, tableNode):
        """Show the machine's and the corrected volumes; without a correction, take no room."""
        correction = self.logic.correctionOf(tableNode)
        isCorrected = correction is not None and correction.changed_voxels > 0
        self.ui.correctionTable.visible = isCorrected
        text = ""
        if isCorrected:
            text = _("{voxels} voxels ({volume:.1f} mL) changed by hand.").format(
                voxels=correction.changed_voxels, volume=correction.changed_ml
            )
            structures = {row.structure: row for row in correction.structures}
            for row, structure in enumerate(SHOWN_STRUCTURES):
                shown = structures[structure]
                for column, (value, digits) in enumerate(
                    ((shown.machine_ml, 1), (shown.corrected_ml, 1), (shown.dice, 3))
                ):
                    item = self.ui.correctionTable.item(row, column)
                    item.setText(_formatNumber(value, digits))
        _showText(self.ui.correctionLabel, text)

    def _showStale(self, tableNode):
        """Say whether the shown numbers are out of date."""
        stale = tableNode is not None and is_stale(tableNode)
        text = self.ui.staleLabel.text or (
            _("Numbers out of date; counting again…")
            if self._recountTimer.isActive()
            else _("Numbers out of date; press Measure again.")
        )
        _showText(self.ui.staleLabel, text if stale else "")


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
    text = _("Model {name} (SHA-256 {start}…) on {device}").format(
        name=name, start=sha256[:12], device=record.provenance["device"]
    )
    if record.provenance["options"].get("changed_voxels"):
        text = _("{model}, corrected by hand").format(model=text)
    return (
        text,
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
        importlib.import_module("CovidLungQuantLib.lesions.weights").load_model(str(path))

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
        record, _notices = _readTable(_present(tableNode))
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
        scene = slicer.mrmlScene
        earlier = lobes_of(scene, volumeNode, segmentationNode)
        lobesNode = lobes_to_node(scene, quantification, volumeNode, earlier)
        if lobesNode is None and earlier is not None:
            set_aside(scene, earlier, volumeNode, LOBES_REFERENCE_ROLE)
        if None not in (lobesNode, segmentationNode):
            remember_result(lobesNode, segmentationNode)
        lobe_chart_to_node(scene, quantification, volumeNode, segmentationNode)

    def _writeTable(self, quantification, volumeNode, segmentationNode, tableNode):
        tableNode = measurements_to_node(
            slicer.mrmlScene, quantification, volumeNode, _present(tableNode)
        )
        if segmentationNode is not None:
            remember_result(tableNode, segmentationNode)
        return tableNode


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
