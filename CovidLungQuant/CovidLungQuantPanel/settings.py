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
from CovidLungQuantLib.models.registry import (
    MODEL_SUFFIX,
    USER_MODELS_VARIABLE,
    user_models_folder,
)

MODELS_FOLDER_SETTING = "CovidLungQuant/ModelsFolder"
DEVICE_SETTING = "CovidLungQuant/Device"
AUTOMATIC_DEVICE = "auto"


def applyModelsFolder():
    """Let the library, and what it starts in the background, look in the chosen folder."""
    folder = slicer.util.settingsValue(MODELS_FOLDER_SETTING, "")
    if folder:
        os.environ[USER_MODELS_VARIABLE] = folder


def deviceOfThisComputer(device):
    """Return a chosen device; what is kept in the settings where it is automatic."""
    if device != AUTOMATIC_DEVICE:
        return device
    return slicer.util.settingsValue(DEVICE_SETTING, AUTOMATIC_DEVICE)


class SettingsSection:
    """Takes a model file into the parameter node, and keeps the rest in the settings."""

    def __init__(self, panel):
        self._panel = panel
        self._logic = panel.logic
        self._parameterNode = None
        self._shownModel = None
        self._widget, self.ui = panel.addSection("Settings")
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

    def update(self, parameterNode):
        """Show the model's file where it is one; None lets go of the node."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            return
        self.ui.parameterSetSelector.setCurrentNode(self._logic.chosenParameterSet())
        if parameterNode.model == self._shownModel:
            return
        self._shownModel = parameterNode.model
        # A name is shown by the selector of models.
        isFile = Path(self._shownModel).name != self._shownModel
        self.ui.modelFilePathLineEdit.currentPath = self._shownModel if isFile else ""
        self._say("")

    def setRunning(self, running):
        """Refuse changes during a run."""
        self._widget.enabled = not running

    def cleanup(self):
        """Let go of the scene."""
        self.update(None)

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
        self._panel.updateModels()

    def onDevice(self):
        """Keep what the device is where it is automatic."""
        qt.QSettings().setValue(DEVICE_SETTING, self.ui.automaticDeviceComboBox.currentData)

    def _say(self, text):
        self.ui.modelFileLabel.text = text
        self.ui.modelFileLabel.visible = bool(text)
