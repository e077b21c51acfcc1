"""A folder that the user chooses once and the application's settings keep."""

import ctk
import qt
import slicer


def rememberFolder(pathLineEdit, setting, onChosen):
    """Let the line edit choose a folder, kept under `setting`; `onChosen()` follows each choice."""
    pathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
    pathLineEdit.currentPath = slicer.util.settingsValue(setting, "")

    def keep(path):
        qt.QSettings().setValue(setting, path)
        onChosen()

    pathLineEdit.connect("currentPathChanged(QString)", keep)
