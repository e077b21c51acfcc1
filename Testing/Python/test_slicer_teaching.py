"""Teaching in the panel: scans into a training set, and a real fine-tuning of two steps."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from PySide6.QtCore import QSettings
from PySide6.QtTest import QTest
from slicer_panel import draw_lobes, draw_segments, errors, label_map, press
from small_model import SMALL_CONFIG, small_model
from test_slicer_width import WIDEST_PX

from CovidLungQuantLib.ct import CTVolume
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.measures.correction import correction_of
from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE
from CovidLungQuantLib.mrml.machine_labels import machine_labels_of
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.training import disagreement_cache, fine_tune
from CovidLungQuantLib.training.expected_gain import GAIN_DEFINITION, NOT_COMPARED
from CovidLungQuantLib.training.export import export_training_case
from CovidLungQuantLib.training.fine_tuning_runs import FineTuning, fine_tunings
from Testing.slicer_stand_in.panel_states import asked_width_px

LONGEST_WAIT_S = 500.0
PATIENT_NAME = "Doe^Jane"


def section(widget: Any) -> Any:
    return next(item for item in widget._sections if type(item).__name__ == "TeachingSection")


def open_section(widget: Any, folder: Path) -> Any:
    found = section(widget)
    found._widget.collapsed = False
    found.update(widget._parameterNode)
    found.ui.trainingSetPathLineEdit.currentPath = str(folder)
    return found


@pytest.fixture(autouse=True)
def models(
    stand_in: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder for the user's models that is not the developer's own, and no settings yet."""
    QSettings().clear()
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv(USER_MODELS_VARIABLE, str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


@pytest.fixture
def training_set(tmp_path: Path) -> Path:
    return tmp_path / "training set"


@pytest.fixture
def corrected(panel: Any, chest: Any) -> Iterator[tuple[Any, Any]]:
    """Volume and segmentation after Segment and a correction by hand."""
    chest.SetName(PATIENT_NAME)
    chest.SetAttribute("DICOM.instanceUIDs", "1.2.840.99999.7")
    press(panel.ui.segmentButton)
    segmentation_node = panel.logic.getParameterNode().outputSegmentation
    draw_segments(segmentation_node, chest)
    yield chest, segmentation_node


@pytest.fixture(scope="module")
def two_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two") / "cases"
    case = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5))
    for shift in (0, 1):
        ct = CTVolume(case.ct.hu + np.int16(shift), case.ct.geometry)
        export_training_case(folder, ct, case.labels)
    return folder


def use_two_steps(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """A tiny recipe, which the process reads from its run folder."""
    recipe = replace(
        fine_tune.fine_tuning_config(SMALL_CONFIG),
        epochs=epochs,
        steps_per_epoch=1,
        samples_per_batch=1,
        targets_per_sample=2,
    )
    monkeypatch.setattr(fine_tune, "fine_tuning_config", lambda network: recipe)


def wait_until(condition: Any) -> None:
    """Let events be handled, as in Slicer, until something is so."""
    end_s = time.monotonic() + LONGEST_WAIT_S
    while not condition():
        assert time.monotonic() < end_s, "it took too long"
        QTest.qWait(200)


def shown_ranking(found: Any) -> list[list[str]]:
    table = found.ui.rankingTable
    return [
        [table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)
    ]


def test_the_ranking_says_which_case_to_correct_next(
    panel: Any,
    two_cases: Path,
    tmp_path: Path,
    model_path: str,
    stand_in: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = tmp_path / "other.pt"
    save_model(other, small_model(1).network)
    monkeypatch.setattr(disagreement_cache, "COMPARED_MODELS", (model_path, str(other)))
    folder = tmp_path / "set"
    case = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5))
    machine = np.where(case.labels == GGO.value, NORMAL_LUNG.value, case.labels).astype(np.uint8)
    export_training_case(folder, case.ct, case.labels, machine)
    found = open_section(panel, Path())
    assert not found.ui.rankCasesButton.enabled and not found.ui.rankingTable.visible

    found.ui.trainingSetPathLineEdit.currentPath = str(folder)
    ((name, changed, disputed, what_next),) = shown_ranking(found)
    expected = correction_of(machine, case.labels, 1.0).lesion_changed_percent
    assert (name, changed, disputed) == ("case_0001", f"{expected:.1f}", "–")
    assert what_next == NOT_COMPARED

    press(found.ui.rankCasesButton)
    assert errors(stand_in) == []
    (known,) = panel.logic.rankedCases(folder)
    assert shown_ranking(found) == [
        ["case_0001", changed, f"{known.disputed_ml:.1f}", known.next_step]
    ]
    assert known.disputed_ml > 0
    assert found.ui.rankingLabel.text == GAIN_DEFINITION
    assert asked_width_px() <= WIDEST_PX

    # Scans that are not in the set are ranked beside it; one that is in it is left out.
    more = tmp_path / "more"
    more.mkdir()
    write_image(more / "of the set.nrrd", case.ct.hu, case.ct.geometry)
    later = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5), seed=7).ct
    write_image(more / "a scan with a long name.nrrd", later.hu, later.geometry)
    found.ui.candidatesPathLineEdit.currentPath = str(more)
    assert len(shown_ranking(found)) == 1
    press(found.ui.rankCasesButton)
    assert errors(stand_in) == []
    rows = {row[0]: row for row in shown_ranking(found)}
    assert set(rows) == {"case_0001", "a scan with a…"}
    assert rows["case_0001"][2] == f"{known.disputed_ml:.1f}"
    assert rows["a scan with a…"][1] == "–" and float(rows["a scan with a…"][2]) > 0
    at = list(rows).index("a scan with a…")
    tip = found.ui.rankingTable.item(at, 0).toolTip()
    assert tip.startswith("a scan with a long name.nrrd: ")
    assert "egment, correct and add" in tip
    assert asked_width_px() <= WIDEST_PX
    found.ui.candidatesPathLineEdit.currentPath = ""
    assert len(shown_ranking(found)) == 1

    import qt

    opened: list[Any] = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", opened.append)
    press(found.ui.openPageButton)
    assert [url.toLocalFile() for url in opened] == [str(folder / "training-set.html")]
    assert "case_0001" in (folder / "training-set.html").read_text(encoding="utf-8")


def test_a_manifest_of_others_is_said_where_the_ranking_would_be(
    panel: Any, two_cases: Path, tmp_path: Path, stand_in: Any
) -> None:
    folder = Path(shutil.copytree(two_cases, tmp_path / "set"))
    (folder / "manifest.csv").write_text("case,when\ncase_0001,today\n", encoding="utf-8")
    found = open_section(panel, folder)
    assert found.ui.rankingLabel.text.startswith("manifest.csv of set was not written by this")
    assert not found.ui.rankingTable.visible and errors(stand_in) == []


def test_without_a_result_or_a_folder_the_button_says_why(
    panel: Any,
    chest: Any,
    training_set: Path,
) -> None:
    found = open_section(panel, Path())
    found.ui.trainingSetPathLineEdit.currentPath = ""
    assert not found.ui.addCaseButton.enabled
    assert found.ui.addCaseButton.toolTip == "Segment a volume first."
    press(panel.ui.segmentButton)
    assert found.ui.addCaseButton.toolTip == "Choose the folder of the training set first."
    assert found.ui.casesLabel.text == "Choose a folder; it need not exist yet."
    found.ui.trainingSetPathLineEdit.currentPath = str(training_set)
    assert found.ui.addCaseButton.enabled
    assert found.ui.casesLabel.text == "0 cases in this training set."
    assert not found.ui.fineTuneButton.enabled
    assert found.ui.tooFewLabel.text == "Fine-tuning needs scans of two patients at least."
    assert not training_set.exists()


@pytest.mark.parametrize("layout", ["covidlungquant", "nnunet"])
def test_the_labels_are_written_as_they_are_now_with_a_manifest(
    panel: Any,
    corrected: tuple[Any, Any],
    training_set: Path,
    stand_in: Any,
    layout: str,
) -> None:
    volume_node, segmentation_node = corrected
    found = open_section(panel, training_set)
    found.ui.readerLineEdit.text = " A. Reader "
    found.ui.layoutComboBox.setCurrentIndex(["covidlungquant", "nnunet"].index(layout))
    press(found.ui.addCaseButton)
    assert errors(stand_in) == []
    assert found.ui.addedLabel.text.startswith("Added as case_0001")
    assert found.ui.casesLabel.text == "1 case in this training set."

    ct_file, labels_file = {
        "covidlungquant": ("case_0001/ct.nrrd", "case_0001/labels.nrrd"),
        "nnunet": ("imagesTr/case_0001_0000.nii.gz", "labelsTr/case_0001.nii.gz"),
    }[layout]
    labels = label_map(segmentation_node, volume_node)
    written = sitk.ReadImage(str(training_set / labels_file))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), labels)
    ct = ct_from_node(volume_node)
    written_ct = sitk.ReadImage(str(training_set / ct_file))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written_ct), ct.hu)
    np.testing.assert_allclose(written_ct.GetSpacing(), ct.geometry.spacing_mm)
    np.testing.assert_allclose(written_ct.GetOrigin(), ct.geometry.origin_mm)

    with (training_set / "manifest.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    machine = machine_labels_of(slicer.mrmlScene, volume_node)
    expected = correction_of(machine, labels, ct.geometry.voxel_volume_ml)
    assert row["reader"] == "A. Reader"
    assert row["changed_voxels"] == str(expected.changed_voxels) != "0"
    table_node = panel.logic.getParameterNode().outputTable
    provenance = record_from_node(table_node).provenance
    assert provenance["model_sha256"] in (row["model_sha256"], None)
    assert row["model_name"] == "small" and len(row["model_sha256"]) == 64


def test_nothing_of_the_patient_is_copied(
    panel: Any,
    corrected: tuple[Any, Any],
    training_set: Path,
) -> None:
    found = open_section(panel, training_set)
    press(found.ui.addCaseButton)
    files = [file for file in training_set.rglob("*") if file.is_file()]
    assert len(files) == 4
    for file in files:
        content = file.read_bytes()
        for secret in (b"Doe", b"Jane", b"1.2.840.99999.7", str(training_set.parent).encode()):
            assert secret not in content, (file.name, secret)


def test_a_scan_is_added_once_or_as_a_new_version(
    panel: Any,
    corrected: tuple[Any, Any],
    training_set: Path,
    stand_in: Any,
) -> None:
    volume_node, segmentation_node = corrected
    found = open_section(panel, training_set)
    press(found.ui.addCaseButton)
    before = (training_set / "case_0001" / "labels.nrrd").read_bytes()
    draw_segments(segmentation_node, volume_node, with_lesions=False)
    press(found.ui.addCaseButton)
    (error,) = errors(stand_in)
    assert "already, as case_0001" in error
    assert (training_set / "case_0001" / "labels.nrrd").read_bytes() == before

    found.ui.newVersionCheckBox.checked = True
    press(found.ui.addCaseButton)
    assert not found.ui.newVersionCheckBox.checked
    earlier = training_set / "earlier" / "case_0001_version_1" / "labels.nrrd"
    assert earlier.read_bytes() == before
    assert (training_set / "case_0001" / "labels.nrrd").read_bytes() != before
    assert found.ui.casesLabel.text == "1 case in this training set."


def test_folder_and_reader_are_remembered(panel: Any, training_set: Path) -> None:
    found = open_section(panel, training_set)
    found.ui.readerLineEdit.text = "AR"
    found.onReaderTyped()
    panel.onReload()
    again = section(slicer.modules.CovidLungQuantWidget)
    assert again is not found
    assert again.ui.readerLineEdit.text == "AR"
    assert again.ui.trainingSetPathLineEdit.currentPath == str(training_set)


@pytest.mark.slow
def test_fine_tuning_survives_the_panel_and_ends_in_a_model_to_choose(
    panel: Any,
    chest: Any,
    two_cases: Path,
    models: Path,
    stand_in: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_two_steps(monkeypatch, epochs=2)
    old_path = panel._parameterNode.model
    old_bytes = Path(old_path).read_bytes()
    found = open_section(panel, two_cases)
    assert found.ui.fineTuneButton.enabled and not found.ui.comparisonTable.visible
    press(found.ui.fineTuneButton)
    assert errors(stand_in) == []
    (run,) = fine_tunings()
    assert found.ui.fineTuningProgressBar.visible and found.ui.cancelFineTuningButton.enabled
    assert not found.ui.fineTuneButton.enabled
    assert "goes on when Slicer is closed" in found.ui.fineTuningLabel.text

    # Away from the module, the scene closed, the panel made anew: it is found again.
    panel.exit()
    assert not found._timer.isActive()
    slicer.mrmlScene.Clear(0)
    panel.onReload()
    # Qt shows what is added to a visible widget once events are handled.
    QTest.qWait(100)
    widget = slicer.modules.CovidLungQuantWidget
    again = section(widget)
    again._widget.collapsed = False
    again.update(widget._parameterNode)
    if not run.status().is_over:
        assert again._timer.isActive() and again.ui.fineTuningProgressBar.visible
    wait_until(lambda: run.status().is_over and not again._timer.isActive())

    assert run.status().state == "done", (run.run_folder / "messages.txt").read_text(
        encoding="utf-8"
    )
    assert (
        again.ui.fineTuningLabel.text == "The new model small-fine-tuned-1 is ready to be chosen."
    )
    assert again.ui.comparisonTable.visible and not again.ui.fineTuningProgressBar.visible
    comparison = again.ui.comparisonTable
    shown = [[comparison.item(row, column).text() for column in range(2)] for row in range(4)]
    assert all(text == "–" or 0.0 <= float(text) <= 1.0 for row in shown for text in row)
    assert float(shown[3][0]) > 0.5
    assert "cases held back: 1." in again.ui.comparisonLabel.text

    choices = [
        widget.ui.modelComboBox.itemData(index) for index in range(widget.ui.modelComboBox.count)
    ]
    assert "small-fine-tuned-1" in choices
    assert Path(old_path).read_bytes() == old_bytes
    press(again.ui.useModelButton)
    assert widget._parameterNode.model == "small-fine-tuned-1"
    assert widget.ui.modelComboBox.currentData == "small-fine-tuned-1"
    from CovidLungQuant import makeSyntheticChest

    makeSyntheticChest()
    widget._parameterNode.device = "cpu"
    press(widget.ui.segmentButton)
    record = record_from_node(widget.logic.getParameterNode().outputTable)
    assert record.provenance["model_name"] == "small-fine-tuned-1"
    assert record.provenance["model_sha256"] == load_model("small-fine-tuned-1").sha256


def test_a_fine_tuning_is_cancelled_by_its_button(
    panel: Any,
    two_cases: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_two_steps(monkeypatch, epochs=10_000)
    found = open_section(panel, two_cases)
    press(found.ui.fineTuneButton)
    (run,) = fine_tunings()
    wait_until(lambda: run.status().losses)
    press(found.ui.cancelFineTuningButton)
    assert found.ui.fineTuningLabel.text == "Stopping…"
    assert not found.ui.cancelFineTuningButton.enabled
    wait_until(lambda: not found._timer.isActive())
    assert FineTuning(run.run_folder).status().state == "cancelled"
    assert found.ui.fineTuningLabel.text == "Fine-tuning was cancelled; no model was made."
    assert list(models.glob("*.pt")) == []
    assert found.ui.fineTuneButton.enabled
    assert not found.ui.comparisonTable.visible


def test_a_scan_of_a_patient_who_is_in_the_set_is_added_as_such(
    panel: Any,
    chest: Any,
    two_cases: Path,
    tmp_path: Path,
    stand_in: Any,
) -> None:
    panel._parameterNode.lobes, _lobes = draw_lobes(chest)
    press(panel.ui.segmentButton)
    folder = tmp_path / "set"
    shutil.copytree(two_cases, folder)
    found = open_section(panel, folder)
    box = found.ui.samePatientComboBox
    assert [box.itemText(index) for index in range(box.count)] == [
        "A new patient",
        "case_0001",
        "case_0002",
    ]
    assert box.currentData == ""
    box.setCurrentIndex(2)
    found.update(panel._parameterNode)
    assert box.currentData == "case_0002"
    press(found.ui.addCaseButton)
    assert errors(stand_in) == []
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        groups = [row["patient_group"] for row in csv.DictReader(file)]
    assert groups == ["case_0001", "case_0002", "case_0002"]
    assert found.ui.casesLabel.text == "3 cases of 2 patients in this training set."
    # The next scan is of a new patient again, until it is said otherwise.
    assert box.currentData == ""
    assert found.ui.fineTuneButton.enabled


def test_two_scans_of_one_patient_are_too_few_to_fine_tune(panel: Any, training_set: Path) -> None:
    case = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5))
    found = open_section(panel, training_set)
    assert not found.ui.samePatientComboBox.enabled
    export_training_case(training_set, case.ct, case.labels)
    other = CTVolume(case.ct.hu + np.int16(1), case.ct.geometry)
    export_training_case(training_set, other, case.labels, same_patient_as="case_0001")
    found.update(panel._parameterNode)
    assert found.ui.casesLabel.text == "2 cases of 1 patient in this training set."
    assert not found.ui.fineTuneButton.enabled
    assert found.ui.tooFewLabel.text == "Fine-tuning needs scans of two patients at least."


def test_scans_of_one_patient_only_are_refused_in_one_sentence(
    panel: Any,
    two_cases: Path,
) -> None:
    with pytest.raises(Exception, match="one patient only; add at least one more"):
        panel.logic.fineTune(
            two_cases, panel._parameterNode.model, samePatient=[["case_0001", "case_0002"]]
        )
    assert fine_tunings() == []


def test_slicers_own_python_is_run_and_missed_with_a_sentence(
    panel: Any,
    two_cases: Path,
    stand_in: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from CovidLungQuantPanel.logic.library import slicersPython

    assert slicersPython() == str(Path(slicer.app.applicationDirPath()) / "PythonSlicer")
    monkeypatch.setattr(slicer.app, "standInHome", SimpleNamespace(name=str(tmp_path)))
    monkeypatch.setenv("PATH", str(tmp_path))
    open_section(panel, two_cases)
    press(section(panel).ui.fineTuneButton)
    (message,) = errors(stand_in)
    assert "PythonSlicer, was found neither in" in message
    assert fine_tunings() == []
