"""Photograph the panel after a run, as wide as Slicer shows it at 1366×768, folded as at first.

    python -m Testing.slicer_stand_in.screenshot SCAN [--model MODEL] [--output FILE]
    python -m Testing.slicer_stand_in.screenshot SCAN --states FOLDER [--scaling PERCENT]

With --states one picture is taken of each state of the panel, all sections open, and it is printed
how wide the panel asks to be there. The pictures show the module's own panel in the stand-in, not
in 3D Slicer.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

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
    parser.add_argument("--states", type=Path, metavar="FOLDER", help="a picture of each state")
    parser.add_argument(
        "--scaling", type=int, default=100, metavar="PERCENT", help="of the screen, such as 150"
    )
    arguments = parser.parse_args()
    # Qt looks at it once, when the application starts.
    os.environ["QT_SCALE_FACTOR"] = str(arguments.scaling / 100)

    stand_in = application.start()
    import slicer

    stand_in.load_module(MODULE_FILE)
    panel = stand_in.open_panel("CovidLungQuant")
    volume = ct_to_node(slicer.mrmlScene, read_ct(arguments.scan))
    panel.logic.getParameterNode().model = arguments.model
    if arguments.states is None:
        panel.ui.segmentButton.click()
        # It says how long the run took here, which is no news to whoever sees the picture.
        panel.run.showStatus("")
        picture(slicer.modules.covidlungquant.widgetRepresentation()).save(str(arguments.output))
        sys.stdout.write(f"{arguments.output}\n")
    else:
        _photograph_states(panel, volume, arguments.states)
    problems = [text for kind, text in stand_in.messages if kind == "error"]
    stand_in.close_panel("CovidLungQuant")
    if problems:
        sys.stderr.write("\n".join(problems) + "\n")
        return 1
    return 0


def _photograph_states(panel: Any, volume: Any, folder: Path) -> None:
    """Save a picture of each state, and print how wide the panel asks to be and what is cut off."""
    import slicer

    from Testing.slicer_stand_in.panel_states import asked_width_px, cut_off_texts, panel_states

    folder.mkdir(parents=True, exist_ok=True)
    representation = slicer.modules.covidlungquant.widgetRepresentation()
    with tempfile.TemporaryDirectory(prefix="panel-states-") as scratch:
        for number, name in enumerate(panel_states(panel, volume, Path(scratch)), start=1):
            picture(representation).save(str(folder / f"{number:02d} {name}.png"))
            cut = "".join(f", cut off: {text}" for text in cut_off_texts())
            sys.stdout.write(f"{name}: {asked_width_px()} px{cut}\n")


def picture(panel: QtWidgets.QWidget) -> QPixmap:
    """Return the panel at Slicer's width, as high as it needs to be to show everything.

    Its pixels are those of the screen: at a scaling of 150 % one and a half times as many.
    """
    width = application.PANEL_WIDTH_PX
    # What was shown or hidden a moment ago is laid out with the first events.
    for _ in range(2):
        QtWidgets.QApplication.processEvents()
        needed = QtWidgets.QWidget.layout(panel).totalHeightForWidth(width)
        QtWidgets.QWidget.resize(panel, width, max(needed, PANEL_HEIGHT_PX))
    QtWidgets.QApplication.processEvents()
    scale = QtWidgets.QWidget.devicePixelRatioF(panel)
    pixmap = QPixmap(QtWidgets.QWidget.size(panel) * scale)
    pixmap.setDevicePixelRatio(scale)
    pixmap.fill(QColor("#efefef"))
    QtWidgets.QWidget.render(panel, pixmap)
    return pixmap


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Slicer's libraries and Qt take each other down in an order that only the application knows.
    os._exit(code)
