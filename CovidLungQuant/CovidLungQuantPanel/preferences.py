"""What the user keeps for this computer, in the application's settings and not in a scene."""

import os

import slicer

from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE

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
