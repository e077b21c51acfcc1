"""Small things that several sections do with their widgets."""

import math
import re
from pathlib import Path

import ctk
import qt
import slicer

# Names of scans and folders may be longer than the panel is wide.
LONGEST_WORD = 24
# Breaks no word that fits and is not seen.
MAY_BREAK = "\u200b"


def showText(label, text):
    """Show `text`; a label without text takes no room."""
    label.text = breakable(text)
    label.visible = bool(text)


def breakable(text):
    """Let long words, such as names of scans and folders, go on in the next line of a label.

    They break after what joins words, or else anywhere.
    """
    return re.sub(rf"\S{{{LONGEST_WORD + 1},}}", _breakableWord, text)


def _breakableWord(found):
    parts = re.findall(r"[^/\\_.^-]*[/\\_.^-]?", found.group())
    pieces = [
        part[start : start + LONGEST_WORD]
        for part in parts
        for start in range(0, len(part), LONGEST_WORD)
    ]
    return MAY_BREAK.join(pieces)


def formatNumber(value, digits):
    """Return a number with so many decimals, a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def fillComboBox(comboBox, choices, current):
    """Offer `choices` (value → text), with `current` among them, selected."""
    # What is unknown here is the path of a model file, or a device of another computer.
    choices = {**choices, current: choices.get(current, Path(current).name)}
    wasBlocked = comboBox.blockSignals(True)
    if [comboBox.itemData(index) for index in range(comboBox.count)] != list(choices):
        comboBox.clear()
        for value, text in choices.items():
            comboBox.addItem(text, value)
    comboBox.setCurrentIndex(list(choices).index(current))
    comboBox.blockSignals(wasBlocked)


def keepColumnsInSight(table):
    """Let the columns of a small table share its width, and its rows keep their height."""
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    table.verticalHeader().setSectionResizeMode(qt.QHeaderView.Fixed)


def keepNarrow(pathLineEdit):
    """Let the line edit ask for no more width than a few letters, however long its path is."""
    pathLineEdit.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
    pathLineEdit.minimumContentsLength = 8


def rememberFolder(pathLineEdit, setting, onChosen):
    """Let the line edit choose a folder, kept under `setting`; `onChosen()` follows each choice."""
    keepNarrow(pathLineEdit)
    pathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
    pathLineEdit.currentPath = slicer.util.settingsValue(setting, "")

    def keep(path):
        qt.QSettings().setValue(setting, path)
        onChosen()

    pathLineEdit.connect("currentPathChanged(QString)", keep)
