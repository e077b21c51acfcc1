"""The section "Settings": parameter sets, a model file by hand, where models lie, the device.

Parameter sets and the model belong to the scene; the rest to this computer and is kept in the
application's settings.
"""

import os
from pathlib import Path

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.models.registry import MODEL_SUFFIX, USER_MODELS_VARIABLE, user_models_folder
from CovidLungQuantPanel.preferences import (
    AUTOMATIC_DEVICE,
    DEVICE_SETTING,
    MODELS_FOLDER_SETTING,
    applyModelsFolder,
    deviceOfThisComputer,
)
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.widgets import keepNarrow, showText


class SettingsSection(Section):
    """Takes a model file into the parameter node, and keeps the rest in the settings."""

    def setup(self):
        """Fill the lists and connect the widgets."""
        self._shownModel = None
        self._widget, self.ui = self._panel.addSection("Settings")
        keepNarrow(self.ui.modelFilePathLineEdit)
        keepNarrow(self.ui.modelsFolderPathLineEdit)
        self.ui.modelFilePathLineEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.modelFilePathLineEdit.nameFilters = [f"{_('Models')} (*{MODEL_SUFFIX})"]
        self.ui.modelsFolderPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.modelsFolderPathLineEdit.currentPath = str(user_models_folder())
        for device, text in self._logic.deviceChoices().items():
            name = _("Best there is") if device == AUTOMATIC_DEVICE else text
            self.ui.automaticDeviceComboBox.addItem(name, device)
        kept = self.ui.automaticDeviceComboBox.findData(deviceOfThisComputer(AUTOMATIC_DEVICE))
        self.ui.automaticDeviceComboBox.setCurrentIndex(max(kept, 0))
        self.ui.modelFileLabel.visible = False
        self.ui.modelFilePathLineEdit.connect("currentPathChanged(QString)", self.onModelFile)
        self.ui.modelsFolderPathLineEdit.connect("currentPathChanged(QString)", self.onModelsFolder)
        self.ui.automaticDeviceComboBox.connect("currentIndexChanged(int)", self.onDevice)
        selector = self.ui.parameterSetSelector
        # Slicer hides such nodes from the lists, and every module has its own.
        selector.showHidden = True
        selector.addAttribute("vtkMRMLScriptedModuleNode", "ModuleName", self._logic.moduleName)
        selector.baseName = self._logic.moduleName
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self.onParameterSet)

    def show(self):
        """Show the chosen set, and the model's file where it is one."""
        self.ui.parameterSetSelector.setCurrentNode(self._logic.chosenParameterSet())
        if self._parameterNode.model == self._shownModel:
            return
        self._shownModel = self._parameterNode.model
        # A name is shown by the selector of models.
        isFile = Path(self._shownModel).name != self._shownModel
        self.ui.modelFilePathLineEdit.currentPath = self._shownModel if isFile else ""
        self._say("")

    def onParameterSet(self):
        """Show the parameter set that was chosen in the list."""
        node = self.ui.parameterSetSelector.currentNode()
        # While a scene closes or loads, or a set is deleted, the selector is empty for a moment.
        isSettled = node is not None and not slicer.mrmlScene.IsBatchProcessing()
        if self._parameterNode is not None and isSettled:
            self._panel.chooseParameterSet(node)

    def onModelFile(self, path):
        """Take a model file that was chosen or typed, if it is one."""
        chosen = self._parameterNode
        if chosen is None or path.strip() in ("", chosen.model):
            self._say("")
            return
        if not Path(path).is_file():
            self._say(_("There is no such file; the model stays as it is."))
            return
        try:
            with slicer.util.WaitCursor():
                self._logic.checkModel(path)
        except CovidLungQuantError as reason:
            self._say(str(reason))
            return
        self._shownModel = chosen.model = path
        self._say("")

    def onModelsFolder(self, path):
        """Keep the folder of models and offer what lies there; empty is the usual one again."""
        folder = path.strip()
        qt.QSettings().setValue(MODELS_FOLDER_SETTING, folder)
        os.environ.pop(USER_MODELS_VARIABLE, None)
        applyModelsFolder()
        self._panel.inputs.showModels()

    def onDevice(self):
        """Keep what the device is where it is automatic."""
        qt.QSettings().setValue(DEVICE_SETTING, self.ui.automaticDeviceComboBox.currentData)

    def _say(self, text):
        showText(self.ui.modelFileLabel, text)
