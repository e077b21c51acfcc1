"""The Slicer module: a thin shell around CovidLungQuantLib, which computes everything.

The panel's frame is here; its sections, the logic and the parameter node are in the package
CovidLungQuantPanel.
"""

import importlib.util
import sys
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("CovidLungQuantLib") is None:
    # In a source checkout the library lies one folder up; installed, it lies beside this file.
    sys.path.append(str(Path(__file__).resolve().parent.parent))

if "CovidLungQuantPanel" in sys.modules:
    # Slicer's Reload runs this file alone again; the panel's files are to come anew with it.
    for name in [name for name in sys.modules if name.startswith("CovidLungQuantPanel")]:
        del sys.modules[name]

from CovidLungQuantPanel.advanced import AdvancedSection
from CovidLungQuantPanel.correction import CorrectionSection
from CovidLungQuantPanel.follow_up import FollowUpSection
from CovidLungQuantPanel.inputs import InputsSection
from CovidLungQuantPanel.install import Installation
from CovidLungQuantPanel.lesions import LesionsSection
from CovidLungQuantPanel.logic import CovidLungQuantLogic
from CovidLungQuantPanel.looking import LookingSection, registerLayout
from CovidLungQuantPanel.parameter_sets import chooseAfterImport
from CovidLungQuantPanel.preferences import applyModelsFolder
from CovidLungQuantPanel.reports import ReportsSection
from CovidLungQuantPanel.results import ResultsSection
from CovidLungQuantPanel.run import RunSection
from CovidLungQuantPanel.sample_data import registerSampleData
from CovidLungQuantPanel.self_test import CovidLungQuantTest, makeSyntheticChest
from CovidLungQuantPanel.settings import SettingsSection
from CovidLungQuantPanel.teaching import TeachingSection

from CovidLungQuantLib.labels import DISCLAIMER

MODULE_NAME = "CovidLungQuant"
# Slicer looks for the first four in this file; the chest is for whoever tries the module out.
__all__ = [
    "CovidLungQuant",
    "CovidLungQuantLogic",
    "CovidLungQuantTest",
    "CovidLungQuantWidget",
    "makeSyntheticChest",
]


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
    """The panel's frame: binds its sections to the chosen parameter set and follows the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._uiWidget = None
        self._parameterNode = None
        self._shownSet = None
        self._parameterNodeGuiTag = None
        self._sections = ()

    def setup(self):
        """Build the panel; Slicer calls it once, when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{MODULE_NAME}.ui"))
        self._uiWidget = uiWidget
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui.disclaimerLabel.text = DISCLAIMER
        self.logic = CovidLungQuantLogic()
        self._makeSections()

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.NodeAddedEvent, self.onSceneChanged)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        # Also after a reload, when Slicer does not call enter.
        self.initializeParameterNode()

    def _makeSections(self):
        """Make the sections; those with a file of their own stand in this order."""
        self.installation = Installation(self)
        self.inputs = InputsSection(self)
        self.run = RunSection(self)
        self.results = ResultsSection(self)
        self._sections = (
            self.inputs,
            self.run,
            self.results,
            CorrectionSection(self),
            AdvancedSection(self),
            LesionsSection(self),
            LookingSection(self),
            ReportsSection(self),
            TeachingSection(self),
            FollowUpSection(self),
            SettingsSection(self),
        )

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
        if self.logic is not None:
            self.logic.cancel()
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
        for section in self._sections:
            section.onSceneClosing()
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
        self.inputs.selectFirstVolume(self._parameterNode)
        self.updateSections()

    def chooseParameterSet(self, node):
        """Show another parameter set: its volume, its results and its options, nothing else."""
        if node is not self._shownSet:
            self.logic.chooseParameterSet(node)
            self._showOtherSet()

    def _showOtherSet(self):
        # Every section lets go of what it holds of the other set.
        self.setParameterNode(None)
        self.initializeParameterNode()
        for section in self._sections:
            section.onSetChanged()

    def initializeParameterNode(self):
        """Take the scene's chosen parameter node and offer the first volume."""
        self.setParameterNode(self.logic.getParameterNode())
        self.inputs.selectFirstVolume(self._parameterNode)

    def setParameterNode(self, parameterNode):
        """Bind the panel to a parameter node, or to none."""
        modified = vtk.vtkCommand.ModifiedEvent
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, modified, self.onParameterNodeModified)
        self._parameterNode = parameterNode
        self._shownSet = None if parameterNode is None else self.logic.chosenParameterSet()
        if parameterNode is None:
            for section in self._sections:
                section.update(None)
            return
        self.inputs.bind(parameterNode)
        self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
        self.addObserver(parameterNode, modified, self.onParameterNodeModified)
        self.updateSections()

    def onParameterNodeModified(self, caller=None, event=None):
        """A choice has changed, in the panel or from a script."""
        if slicer.mrmlScene.IsBatchProcessing():
            # A scene file is being read, its nodes are not all there yet.
            return
        self.inputs.followVolume(self._parameterNode)
        self.updateSections()

    def updateSections(self):
        """Let every section show the parameter node as it is now, where there is one."""
        if self._parameterNode is not None:
            for section in self._sections:
                section.update(self._parameterNode)

    def setRunning(self, running):
        """Tell every section that a run has begun or ended."""
        for section in self._sections:
            section.setRunning(running)

    def onSegmented(self):
        """Tell every section that the chosen volume was segmented."""
        for section in self._sections:
            section.onSegmented()
