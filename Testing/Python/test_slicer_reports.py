"""Saving and copying results in the panel: always what the scene holds at that moment."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import slicer
from dicom_series import write_series
from PySide6.QtWidgets import QApplication
from slicer_panel import draw_segments, errors, label_map, press, write_segments
from test_mrml_dicom_source import Database, uid_of

from CovidLungQuantLib.ct import read_ct, read_ct_and_files
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import cell
from CovidLungQuantLib.labels import DISCLAIMER, GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.mrml.dicom_source import INSTANCE_UIDS_ATTRIBUTE
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node, segmentation_to_node
from CovidLungQuantLib.mrml.table import measurements_to_node, record_from_node, table_text
from CovidLungQuantLib.mrml.volumes import ct_from_node, ct_to_node
from CovidLungQuantLib.pipeline import measure

pytest.importorskip("highdicom", reason="highdicom is not installed")


def section(widget: Any) -> Any:
    return next(item for item in widget._sections if type(item).__name__ == "ReportsSection")


@pytest.fixture
def reports(panel: Any, chest: Any, tmp_path: Path) -> Any:
    """The section after Segment, with a folder chosen."""
    press(panel.ui.segmentButton)
    found = section(panel)
    found._widget.collapsed = False
    found.ui.reportPathLineEdit.currentPath = str(tmp_path)
    return found


def chosen_nodes(widget: Any) -> tuple[Any, Any, Any]:
    chosen = widget.logic.getParameterNode()
    return chosen.inputVolume, chosen.outputSegmentation, chosen.outputTable


def change_a_voxel(volume_node: Any, segmentation_node: Any) -> None:
    """A stroke that nobody has told the panel of."""
    labels = label_map(segmentation_node, volume_node)
    labels[18:22, 29:34, 18:22] = HIGH_OPACITY.value
    write_segments(segmentation_node, volume_node, labels)


def read_labels(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def labels_of_frames(segmentation: pydicom.Dataset, files: list[Path]) -> np.ndarray:
    """The label map of a DICOM segmentation, each frame on the slice that it refers to."""
    z_of = {uid_of(file): z for z, file in enumerate(files)}
    frames = segmentation.pixel_array
    labels = np.zeros((len(files), *frames.shape[1:]), np.uint8)
    for frame, item in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        value = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[z_of[source]][frame > 0] = value
    return labels


def test_nothing_can_be_saved_before_there_is_a_result(panel: Any) -> None:
    found = section(panel)
    assert not found.ui.saveReportButton.enabled
    assert not found.ui.copyTableButton.enabled
    assert found.ui.saveReportButton.toolTip == "Segment a volume first."


def test_the_report_folder_is_asked_for_and_remembered(
    panel: Any,
    chest: Any,
    tmp_path: Path,
) -> None:
    press(panel.ui.segmentButton)
    found = section(panel)
    found._widget.collapsed = False
    found.ui.reportPathLineEdit.currentPath = ""
    assert found.ui.saveReportButton.toolTip == "Choose a folder for reports first."
    found.ui.reportPathLineEdit.currentPath = str(tmp_path)
    assert found.ui.saveReportButton.enabled
    panel.onReload()
    again = section(slicer.modules.CovidLungQuantWidget)
    assert again.ui.reportPathLineEdit.currentPath == str(tmp_path)


def test_a_report_holds_the_segments_and_the_numbers_of_the_table(
    panel: Any,
    reports: Any,
    tmp_path: Path,
    stand_in: Any,
) -> None:
    volume_node, segmentation_node, table_node = chosen_nodes(panel)
    press(reports.ui.saveReportButton)
    assert errors(stand_in) == []
    (folder,) = tmp_path.iterdir()
    assert folder.name == "Synthetic chest report"
    assert sorted(file.name for file in folder.iterdir()) == [
        "lesions.csv",
        "lobes.seg.nrrd",
        "measurements.csv",
        "probability.nrrd",
        "report.html",
        "result.json",
        "segmentation.seg.nrrd",
    ]
    np.testing.assert_array_equal(
        read_labels(folder / "segmentation.seg.nrrd"), label_map(segmentation_node, volume_node)
    )
    record = record_from_node(table_node)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert result["measurements"][0]["ggo_ml"] == record.measurements.regions[0].ggo_ml
    assert result["provenance"]["model_sha256"] == record.provenance["model_sha256"]
    with (folder / "measurements.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["lesion_ml"] for row in rows] == [
        str(cell(region.lesion_ml)) for region in record.measurements.regions
    ]
    from CovidLungQuantPanel.widgets import MAY_BREAK

    shown = reports.ui.writtenLabel.text.replace(MAY_BREAK, "")
    assert shown == f"Written to {folder}"

    press(reports.ui.saveReportButton)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "Synthetic chest report",
        "Synthetic chest report 2",
    ]


def test_a_report_is_of_the_segments_as_they_are_now(
    panel: Any,
    reports: Any,
    tmp_path: Path,
    stand_in: Any,
) -> None:
    volume_node, segmentation_node, table_node = chosen_nodes(panel)
    old_ml = record_from_node(table_node).measurements.regions[0].high_opacity_ml
    change_a_voxel(volume_node, segmentation_node)
    press(reports.ui.saveReportButton)
    assert errors(stand_in) == []
    labels = label_map(segmentation_node, volume_node)
    folder = tmp_path / "Synthetic chest report"
    np.testing.assert_array_equal(read_labels(folder / "segmentation.seg.nrrd"), labels)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    voxel_ml = ct_from_node(volume_node).geometry.voxel_volume_ml
    new_ml = np.count_nonzero(labels == HIGH_OPACITY.value) * voxel_ml
    assert result["measurements"][0]["high_opacity_ml"] == pytest.approx(new_ml) != old_ml
    assert result["provenance"]["options"]["changed_voxels"] > 0
    assert "Corrected by hand" in (folder / "report.html").read_text(encoding="utf-8")
    header = sitk.ReadImage(str(folder / "segmentation.seg.nrrd"))
    tags = " ".join(
        header.GetMetaData(key) for key in header.GetMetaDataKeys() if key.endswith("_Tags")
    )
    assert "SegmentAlgorithmType:SEMIAUTOMATIC" in tags


def test_the_copied_table_is_the_text_of_the_table(
    panel: Any,
    reports: Any,
) -> None:
    volume_node, segmentation_node, table_node = chosen_nodes(panel)
    change_a_voxel(volume_node, segmentation_node)
    press(reports.ui.copyTableButton)
    text = QApplication.clipboard().text()
    assert text == table_text(table_node)
    lines = text.split("\n")
    both = record_from_node(table_node).measurements.regions[0]
    cells = dict(zip(lines[0].split("\t"), lines[1].split("\t"), strict=True))
    assert cells["High opacity (mL)"] == repr(both.high_opacity_ml)
    assert lines[-2] == DISCLAIMER
    assert panel.ui.statusLabel.text.startswith("The table is on the clipboard")


def test_a_volume_that_is_not_from_dicom_says_so(
    panel: Any,
    reports: Any,
    tmp_path: Path,
) -> None:
    assert not reports.ui.dicomCheckBox.enabled
    assert "not loaded from DICOM" in reports.ui.dicomCheckBox.toolTip
    with pytest.raises(BadInputError, match="not loaded from DICOM"):
        panel.logic.saveReport(*chosen_nodes(panel), tmp_path / "report", dicom=True)
    assert list(tmp_path.iterdir()) == []


def test_dicom_results_refer_to_the_slices_of_the_source(
    panel: Any,
    chest: Any,
    tmp_path: Path,
    stand_in: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = write_series(tmp_path / "series", ct_from_node(chest).hu, spacing_mm=(6.0, 6.0, 7.0))
    slicer.mrmlScene.RemoveNode(chest)
    volume_node = ct_to_node(slicer.mrmlScene, read_ct(files[0].parent))
    uids = " ".join(uid_of(file) for file in sorted(files))
    volume_node.SetAttribute(INSTANCE_UIDS_ATTRIBUTE, uids)
    database = Database(files)

    class DicomDatabase:
        """The one method of `ctkDICOMDatabase` that is called."""

        def fileForInstance(self, uid: str) -> str:
            return database.file_of(uid)

    monkeypatch.setattr(slicer, "dicomDatabase", DicomDatabase(), raising=False)
    press(panel.ui.segmentButton)
    volume_node, segmentation_node, _table_node = chosen_nodes(panel)
    change_a_voxel(volume_node, segmentation_node)
    found = section(panel)
    found._widget.collapsed = False
    found.ui.reportPathLineEdit.currentPath = str(tmp_path)
    assert found.ui.dicomCheckBox.enabled
    found.ui.dicomCheckBox.checked = True
    press(found.ui.saveReportButton)
    assert errors(stand_in) == []
    (folder,) = tmp_path.glob("* report")
    segmentation = pydicom.dcmread(folder / "segmentation.dcm")
    assert {item.SegmentAlgorithmType for item in segmentation.SegmentSequence} == {"SEMIAUTOMATIC"}
    referenced = {
        item.ReferencedSOPInstanceUID
        for item in segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == {uid_of(file) for file in files}
    labels, _ = segmentation_from_node(segmentation_node, volume_node)
    np.testing.assert_array_equal(labels_of_frames(segmentation, files), labels)
    assert pydicom.dcmread(folder / "measurements.dcm").Modality == "SR"


def test_a_missing_package_is_asked_for_before_anything_is_written(
    panel: Any,
    reports: Any,
    tmp_path: Path,
    stand_in: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from CovidLungQuantPanel import install as install_module
    from CovidLungQuantPanel import reports as reports_module

    monkeypatch.setattr(reports_module, "PDF_PACKAGE", "no_such_package")
    monkeypatch.setitem(install_module.REQUIREMENTS, "no_such_package", "no_such_package>=1")
    stand_in.confirm_answer = False
    reports.ui.pdfCheckBox.checked = True
    press(reports.ui.saveReportButton)
    asked = [text for kind, text in stand_in.messages if kind == "confirm"]
    assert len(asked) == 1 and "no_such_package" in asked[0] and "No data leave" in asked[0]
    assert list(tmp_path.iterdir()) == []


def test_measurements_of_a_hand_drawn_segmentation_are_saved_as_such(
    panel: Any,
    chest: Any,
    tmp_path: Path,
) -> None:
    logic = panel.logic
    segmentation_node, table_node = logic.segment(chest, model=panel._parameterNode.model)
    drawn = draw_segments(segmentation_node, chest)
    files = logic.saveReport(chest, segmentation_node, table_node, tmp_path / "out")
    assert {file.name for file in files} >= {"report.html", "segmentation.seg.nrrd"}
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "segmentation.seg.nrrd"), drawn)


def test_dicom_of_a_real_series_lies_on_its_slices(
    panel: Any,
    tmp_path: Path,
    test_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six slices from the middle of a real series; the label map is a threshold, not a result."""
    _, files = read_ct_and_files(test_data / "dicom" / "covid_P001")
    middle = files[len(files) // 2 - 3 : len(files) // 2 + 3]
    (tmp_path / "series").mkdir()
    copies = [
        Path(shutil.copy(file, tmp_path / "series" / f"{index}.dcm"))
        for index, file in enumerate(middle)
    ]
    ct = read_ct(tmp_path / "series")
    labels = np.zeros(ct.hu.shape, np.uint8)
    labels[:, 150:350, 80:430] = np.where(ct.hu[:, 150:350, 80:430] < -700, NORMAL_LUNG.value, 0)
    labels[2:4, 240:260, 120:150] = GGO.value
    run = measure(ct, labels)
    scene = slicer.mrmlScene
    volume_node = ct_to_node(scene, ct)
    uids = " ".join(uid_of(file) for file in reversed(copies))
    volume_node.SetAttribute(INSTANCE_UIDS_ATTRIBUTE, uids)
    segmentation_node = segmentation_to_node(scene, run, volume_node)
    table_node = measurements_to_node(scene, run, volume_node)
    database = SimpleNamespace(fileForInstance=Database(copies).file_of)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)

    written = panel.logic.saveDICOM(volume_node, segmentation_node, table_node, tmp_path / "out")

    assert [file.name for file in written] == ["segmentation.dcm", "measurements.dcm"]
    segmentation = pydicom.dcmread(written[0])
    source = pydicom.dcmread(copies[0], stop_before_pixels=True)
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID
    np.testing.assert_array_equal(labels_of_frames(segmentation, copies), labels)
