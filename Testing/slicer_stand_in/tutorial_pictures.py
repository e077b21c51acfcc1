"""Photograph the loop of Docs/tutorial.md: each section of the panel at work, and two views.

    python -m Testing.slicer_stand_in.tutorial_pictures SCAN FOLDER

The panel runs in the stand-in, not in 3D Slicer; views are drawn by Slicer's own libraries. Give
the sample chest (`make tutorial` does), never a scan that may not be shown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PySide6 import QtWidgets
from PySide6.QtCore import QPoint, QRect
from PySide6.QtGui import QImage
from scipy import ndimage

from CovidLungQuantLib.ct import CTVolume, read_ct
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG
from CovidLungQuantLib.lesions.lesion_model import load_model
from CovidLungQuantLib.measures.lesion_islands import lesion_islands
from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE, model_path
from CovidLungQuantLib.mrml.segmentation import labels_after_stroke
from CovidLungQuantLib.mrml.table import is_stale
from CovidLungQuantLib.mrml.volumes import ct_to_node
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.training.export import export_training_case
from CovidLungQuantLib.training.fine_tune import fine_tuning_config, start_fine_tuning
from Testing.slicer_stand_in import application
from Testing.slicer_stand_in.screenshot import MODULE_FILE, picture
from Testing.slicer_stand_in.segment_editor import Editor
from Testing.slicer_stand_in.views import draw_3d, draw_slice, save_picture

MODULE_NAME = "CovidLungQuant"
FIRST_NAME, LATER_NAME = "Chest CT 1", "Chest CT 2"
LATER_DAY = 14
# What is left of a lesion's density by then, and what it clears to.
LESION_LEFT_SHARE = 0.25
CLEARED_HU = -830.0
# Small and quick, since nothing is to be learned.
TEACHING_STEPS = 2
TEACHING_SHAPE, TEACHING_SPACING_MM = (20, 128, 128), (2.8, 2.8, 15.0)
# The smallest lesion of at least this volume is painted over, with a brush of so many times the
# radius of a ball as large.
SMALL_LESION_ML = 3.0
BRUSH_SHARE = 1.1
VIEW_SIZE = (390, 320)
MARGIN_PX = 6
PATIENCE_S = 1800.0


def main() -> int:
    """Go through the loop of the tutorial and save a picture at each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path, help="the sample chest")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    ct = read_ct(arguments.scan)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    start_folder = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="tutorial-") as work_folder:
        # Paths that the panel shows are short then, and the user's own models stay out.
        os.chdir(work_folder)
        os.environ[USER_MODELS_VARIABLE] = str(Path(work_folder, "models"))
        try:
            take_pictures(ct, folder)
        finally:
            os.chdir(start_folder)
    sys.stdout.write(f"{folder}\n")
    return 0


def take_pictures(ct: CTVolume, folder: Path) -> None:
    """Segment, look, correct, report, compare and teach, as the tutorial does."""
    stand_in = application.start()
    # Before the module, whose layout then uses this view and makes no second one.
    slice_logic = _slice_view()
    stand_in.load_module(MODULE_FILE)
    import slicer

    panel = stand_in.open_panel(MODULE_NAME)
    camera = _Camera(slicer.modules.covidlungquant.widgetRepresentation(), folder)
    volume_node = ct_to_node(slicer.mrmlScene, ct)
    volume_node.SetName(FIRST_NAME)

    camera.press("segmentButton")
    chosen = panel.logic.getParameterNode()
    # It says how long the run took here, which is no news to whoever sees the picture.
    panel.run.showStatus("")
    camera.take("inputs", "inputsCollapsibleButton", until="resultsCollapsibleButton")
    camera.take("results", "resultsCollapsibleButton")

    camera.press("largestLesionButton")
    camera.take("lesions", "lesionsCollapsibleButton")
    camera.press("surfacesCheckBox")
    camera.take("looking", "lookingCollapsibleButton")
    draw_slice(slice_logic, folder / "slice.png", VIEW_SIZE)
    view_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLViewNode")
    draw_3d(view_node, chosen.outputSegmentation, folder / "lesions-3d.png", VIEW_SIZE)
    camera.press("surfacesCheckBox")

    camera.press("correctButton")
    _paint_around_a_small_lesion(ct, volume_node, chosen.outputSegmentation)
    camera.wait_until(lambda: not is_stale(chosen.outputTable))
    slicer.modules.covidlungquant.widgetRepresentation().enter()
    camera.take("correction", "correctionCollapsibleButton")

    camera.find("reportPathLineEdit").currentPath = "reports"
    camera.press("saveReportButton")
    camera.take("reports", "reportsCollapsibleButton")

    _teach(camera)
    camera.take("teaching", "teachingCollapsibleButton")
    _follow_up(camera, panel, ct)
    camera.take("follow-up", "followUpCollapsibleButton")
    stand_in.close_panel(MODULE_NAME)


class _Camera:
    """Presses what the panel shows, and photographs its sections."""

    def __init__(self, representation: Any, folder: Path) -> None:
        self._representation = representation
        self._folder = folder
        QtWidgets.QWidget.show(representation)

    def find(self, name: str) -> Any:
        """Return a widget of the panel by its name in the .ui files."""
        return self._representation.findChild(QtWidgets.QWidget, name)

    def press(self, name: str) -> None:
        """Press a button or a box; what is greyed out or refused ends the tutorial."""
        if not self.find(name).enabled:
            raise SystemExit(f"{name} is greyed out.")
        self.find(name).click()
        self.check()

    def check(self) -> None:
        """End the tutorial if a box has said that something went wrong."""
        import slicer

        errors = [text for kind, text in slicer.app.standInMessages if kind == "error"]
        if errors:
            raise SystemExit("\n".join(errors))

    def wait_until(self, is_reached: Callable[[], bool]) -> None:
        """Let the panel live until something has come about."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_reached():
            if time.monotonic() > deadline:
                raise SystemExit("A step of the tutorial did not end.")
            QtWidgets.QApplication.processEvents()
            time.sleep(0.02)
            self.check()

    def take(self, name: str, section: str, until: str | None = None) -> None:
        """Save a picture of a section of the panel, and of what follows `until` another."""
        self.find(section).collapsed = False
        QtWidgets.QApplication.processEvents()
        whole = picture(self._representation)
        upper, lower = self._edges(section)
        if until is not None:
            lower = self._edges(until)[0] - MARGIN_PX
        part = QRect(0, upper - MARGIN_PX, whole.width(), lower - upper + 2 * MARGIN_PX)
        image = whole.toImage().copy(part.intersected(whole.rect()))
        image = image.convertToFormat(QImage.Format.Format_RGBA8888)
        size = (image.width(), image.height())
        save_picture(
            Image.frombytes("RGBA", size, bytes(image.constBits())), self._folder / f"{name}.png"
        )

    def _edges(self, name: str) -> tuple[int, int]:
        """Upper and lower edge of a widget in the panel, in pixels."""
        widget = self.find(name)
        upper = QtWidgets.QWidget.mapTo(widget, self._representation, QPoint(0, 0)).y()
        return upper, upper + QtWidgets.QWidget.height(widget)


def _slice_view() -> Any:
    """The logic of an axial slice view; Slicer's main window makes these."""
    import slicer

    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.AddSliceNode("Red").SetOrientation("Axial")
    return logic


def _paint_around_a_small_lesion(ct: CTVolume, volume_node: Any, segmentation_node: Any) -> None:
    """Make a lesion larger, with a round brush."""
    labels = labels_after_stroke(segmentation_node, volume_node)
    lesions = lesion_islands(labels, ct.geometry.voxel_volume_ml)
    lesion = [island for island in lesions if island.volume_ml >= SMALL_LESION_ML][-1]
    brush_mm = BRUSH_SHARE * (3000.0 * lesion.volume_ml / (4.0 * np.pi)) ** (1 / 3)
    steps_mm = ct.geometry.spacing_mm[::-1]
    distances_mm = (
        (np.arange(size) - middle) * step_mm
        for size, middle, step_mm in zip(labels.shape, lesion.place, steps_mm, strict=True)
    )
    z_mm, y_mm, x_mm = np.meshgrid(*distances_mm, indexing="ij", sparse=True)
    Editor().paint(GGO.segment_id, np.sqrt(z_mm**2 + y_mm**2 + x_mm**2) <= brush_mm)


def _teach(camera: _Camera) -> None:
    """Fine-tune for a moment on a set of two small chests; then add the corrected scan to it."""
    for seed in (1, 2):
        case = chest_phantom(TEACHING_SHAPE, TEACHING_SPACING_MM, seed=seed)
        export_training_case("training-set", case.ct, case.labels, reader="AB")
    recipe = fine_tuning_config(load_model(str(model_path(None))).config)
    run = start_fine_tuning(
        "training-set",
        device="cpu",
        config=replace(recipe, epochs=1, steps_per_epoch=TEACHING_STEPS, painted_variants=0),
    )
    camera.wait_until(lambda: run.status().is_over)
    camera.find("trainingSetPathLineEdit").currentPath = "training-set"
    camera.find("readerLineEdit").text = "AB"
    camera.press("addCaseButton")


def _follow_up(camera: _Camera, panel: Any, ct: CTVolume) -> None:
    """Segment the same chest with its lesions clearing, and compare."""
    import slicer

    chosen = panel.logic.getParameterNode()
    labels = labels_after_stroke(chosen.outputSegmentation, chosen.inputVolume)
    volume_node = ct_to_node(slicer.mrmlScene, _clearing(ct, labels))
    volume_node.SetName(LATER_NAME)
    chosen.inputVolume = volume_node
    camera.press("segmentButton")
    scans = camera.find("timePointsTable")
    for row, day in ((0, 0), (1, LATER_DAY)):
        scans.item(row, 1).setText(str(day))
    camera.press("compareButton")


def _clearing(ct: CTVolume, labels: np.ndarray) -> CTVolume:
    """The scan as it may be later: consolidation has become hazy, ground glass is almost gone."""
    lesions = ndimage.gaussian_filter((labels > NORMAL_LUNG.value).astype(np.float32), 1.0)
    gone = lesions * (1.0 - LESION_LEFT_SHARE)
    hu = ct.hu + gone * np.minimum(CLEARED_HU - ct.hu, 0.0)
    return replace(ct, hu=np.rint(hu).astype(np.int16))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Slicer's libraries and Qt take each other down in an order that only the application knows.
    os._exit(code)
