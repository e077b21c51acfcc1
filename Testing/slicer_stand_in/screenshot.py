"""Photograph the panel after a run, as wide as Slicer shows it at 1366×768, folded as at first.

    python -m Testing.slicer_stand_in.screenshot SCAN [--model MODEL] [--output FILE]

The picture shows the module's own panel in the stand-in, not in 3D Slicer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PySide6 import QtWidgets
from PySide6.QtGui import QColor, QPixmap

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.mrml.volumes import ct_to_node
from Testing.slicer_stand_in import application

ROOT = Path(__file__).resolve().parents[2]
MODULE_FILE = ROOT / "CovidLungQuant" / "CovidLungQuant.py"
DEFAULT_OUTPUT = ROOT / "Resources" / "Screenshots" / "panel.png"
# The module panel's share of a 1366×768 window.
PANEL_HEIGHT_PX = 650


def main() -> int:
    """Segment the scan with the panel's button and save a picture of the panel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path, help="DICOM folder or image file")
    parser.add_argument("--model", default="", help="name or file of the model")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    arguments = parser.parse_args()

    stand_in = application.start()
    import slicer

    stand_in.load_module(MODULE_FILE)
    panel = stand_in.open_panel("CovidLungQuant")
    ct_to_node(slicer.mrmlScene, read_ct(arguments.scan))
    panel.logic.getParameterNode().model = arguments.model
    panel.ui.segmentButton.click()
    problems = [text for kind, text in stand_in.messages if kind == "error"]
    if problems:
        sys.stderr.write("\n".join(problems) + "\n")
        return 1
    # It says how long the run took here, which is no news to whoever sees the picture.
    panel.run.showStatus("")
    picture(slicer.modules.covidlungquant.widgetRepresentation()).save(str(arguments.output))
    stand_in.close_panel("CovidLungQuant")
    sys.stdout.write(f"{arguments.output}\n")
    return 0


def picture(panel: QtWidgets.QWidget) -> QPixmap:
    """Return the panel at Slicer's width, as high as it needs to be to show everything."""
    width = application.PANEL_WIDTH_PX
    needed = QtWidgets.QWidget.layout(panel).totalHeightForWidth(width)
    QtWidgets.QWidget.resize(panel, width, max(needed, PANEL_HEIGHT_PX))
    QtWidgets.QApplication.processEvents()
    pixmap = QPixmap(QtWidgets.QWidget.size(panel))
    pixmap.fill(QColor("#efefef"))
    QtWidgets.QWidget.render(panel, pixmap)
    return pixmap


if __name__ == "__main__":
    sys.exit(main())
