"""The Slicer module: a thin shell around CovidLungQuantLib, which computes everything.

The panel's frame is here; its sections, the logic and the parameter node are in the package
CovidLungQuantPanel.
"""

import importlib.util
import logging
import math
import sys
import tempfile
import time
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
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
from CovidLungQuantPanel.logic import CovidLungQuantLogic, readTable
from CovidLungQuantPanel.looking import LookingSection, registerLayout
from CovidLungQuantPanel.parameter_node import CovidLungQuantParameterNode
from CovidLungQuantPanel.parameter_sets import chooseAfterImport
from CovidLungQuantPanel.reports import ReportsSection
from CovidLungQuantPanel.sample_data import registerSampleData
from CovidLungQuantPanel.self_test import checkLoop
from CovidLungQuantPanel.settings import (
    SettingsSection,
    applyModelsFolder,
    deviceOfThisComputer,
)
from CovidLungQuantPanel.teaching import TeachingSection

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
from CovidLungQuantLib.measures.columns import Place, columns_in
from CovidLungQuantLib.measures.comparison import LESION, LUNG
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
)
from CovidLungQuantLib.mrml.nodes import (
    is_made_from_a_scan,
    result_of,
)
from CovidLungQuantLib.mrml.segmentation import (
    segmentation_from_node,
)
from CovidLungQuantLib.mrml.table import (
    is_stale,
    record_from_node,
    set_stale,
)
from CovidLungQuantLib.mrml.volumes import ct_from_node

MODULE_NAME = "CovidLungQuant"
TORCH_VERSION_REQUIREMENT = ">=2.2"
# Columns and rows of the results table in the .ui file: regions; measures with their decimals.
SHOWN_REGIONS = (BOTH_LUNGS_REGION, RIGHT_LUNG_REGION, LEFT_LUNG_REGION)
SHOWN_MEASURES = tuple((column.key, column.decimals) for column in columns_in(Place.PANEL))
# Columns of the table of lobes in the .ui file but the last, which is the score.
SHOWN_LOBE_MEASURES = tuple(
    (column.key, column.decimals) for column in columns_in(Place.PANEL_LOBES)
)
# Rows of the table of corrections in the .ui file.
SHOWN_STRUCTURES = (LUNG, LESION, GGO.name, HIGH_OPACITY.name)
# Several changes of one stroke are counted once; short, since the reader waits for the numbers.
RECOUNT_DELAY_MS = 200


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
        record, notices = readTable(tableNode)
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


def _nodeID(node):
    return None if node is None else node.GetID()


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
