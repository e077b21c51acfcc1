"""The result as DICOM, read back: voxels, numbers, codes, and what they refer to."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import write_series
from small_chest import a_label_map, a_quantification

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.ct import read_ct, read_ct_and_files
from CovidLungQuantLib.ct.dicom import reading
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.names import DICOM_MEASUREMENTS_FILE, DICOM_SEGMENTATION_FILE
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LABELS, LESION
from CovidLungQuantLib.measures.columns import EXTENT
from CovidLungQuantLib.outputs.dicom_files import check_source, write_dicom
from CovidLungQuantLib.quantification import Quantification

hd = pytest.importorskip("highdicom", reason="highdicom is not installed")
pydicom = pytest.importorskip("pydicom")

TILTED = np.linalg.qr(np.eye(3) + 0.1 * np.random.default_rng(3).normal(size=(3, 3)))[0]
TILTED = TILTED * np.sign(np.diag(TILTED))
VOLUME_CODE = "118565006"
VALIDATOR = shutil.which("dciodvfy")
# What dciodvfy says of a sound file: its kind; that a scheme is private, as "99…" means; and that
# no DICOMDIR can be built where the source series itself lacks what that needs.
SOUND = ("Segmentation", "Comprehensive3DSR", "<99CLQ>", "needed to build DICOMDIR")
JAPANESE = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"}


def a_series(folder: Path, **tags: Any) -> tuple[Quantification, list[Path]]:
    """A series of the small chest, and its result as if the network had run."""
    hu = a_quantification().ct.hu
    paths = write_series(folder, hu, direction=TILTED, **tags)
    return a_quantification(read_ct(folder), lobes=True), paths


def result_of(folder: Path, quantification: Quantification, files: list[Path]) -> tuple[Any, Any]:
    folder.mkdir()
    write_dicom(folder, quantification, files)
    segmentation = hd.seg.segread(folder / DICOM_SEGMENTATION_FILE)
    return segmentation, hd.sr.srread(folder / DICOM_MEASUREMENTS_FILE)


def numbers(group: Any) -> dict[str, float]:
    """Values of a measurement group by the code of their name."""
    return {str(item.name.value): float(item.value) for item in group.get_measurements()}


def groups_by_name(report: Any) -> dict[str, Any]:
    """The report's measurement groups, each under what it is tracked by."""
    groups = [
        *report.content.get_image_measurement_groups(),
        *report.content.get_volumetric_roi_measurement_groups(),
    ]
    names = [group.tracking_identifier for group in groups]
    assert len(set(names)) == len(names)
    return dict(zip(names, groups, strict=True))


def test_slices_are_listed_in_the_order_of_the_array(tmp_path: Path):
    _, paths = a_series(tmp_path / "scan")
    ct, files = read_ct_and_files(tmp_path / "scan")
    assert list(files) == [path.resolve() for path in paths]
    for plane, file in zip(ct.hu, files, strict=True):
        dataset = pydicom.dcmread(file)
        assert np.array_equal(dataset.pixel_array + int(dataset.RescaleIntercept), plane)


def test_the_segmentation_holds_every_voxel_with_codes_and_model(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan", PatientName="Person^Some")
    segmentation, _ = result_of(tmp_path / "out", quantification, files)

    uids = [pydicom.dcmread(file).SOPInstanceUID for file in files]
    stacked = segmentation.get_pixels_by_source_instance(
        uids, combine_segments=True, relabel=False, ignore_spatial_locations=True
    )
    assert np.array_equal(stacked, quantification.labels)
    volume = segmentation.get_volume(combine_segments=True)
    assert volume.spacing == pytest.approx(quantification.ct.geometry.spacing_mm[::-1])
    assert segmentation.PatientName == "Person^Some"
    assert segmentation.StudyInstanceUID == "1.2.3"
    assert segmentation.FrameOfReferenceUID == "1.2.3.9"
    for label in LABELS:
        segment = segmentation.get_segment_description(label.value)
        assert segment.segment_label == label.name
        assert segment.algorithm_type.value == "AUTOMATIC"
        assert segment.algorithm_identification.name == "a model"
        assert segment.algorithm_identification.parameters == {"model SHA-256": "ab" * 32}
        for coded, code in (
            (segment.segmented_property_category, label.category),
            (segment.segmented_property_type, label.type),
        ):
            assert (coded.scheme_designator, coded.value) == (code.scheme, code.value)


def test_the_report_holds_the_numbers_of_the_table(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    segmentation, report = result_of(tmp_path / "out", quantification, files)

    groups = groups_by_name(report)
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"  # Comprehensive 3D SR
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    for row in (*quantification.measurements.lungs, *quantification.measurements.lobes):
        lung = numbers(groups[f"Lung, {row.region}"])
        assert lung[VOLUME_CODE] == pytest.approx(row.volume_ml, rel=1e-6)
        for name, volume_ml, percent in (
            ("GGO", row.ggo_ml, row.ggo_percent),
            ("High opacity", row.high_opacity_ml, row.high_opacity_percent),
            ("Lesion", row.lesion_ml, row.lesion_percent),
        ):
            found = numbers(groups[f"{name}, {row.region}"])
            assert found[VOLUME_CODE] == pytest.approx(volume_ml, rel=1e-6)
            assert found[EXTENT.concept.value] == pytest.approx(percent, rel=1e-6)
    group = groups["GGO, right lung"]
    assert group.finding_type.value == GGO.type.value
    assert group.finding_sites[0].laterality.meaning == "Right"
    assert groups["Lesion, left lung"].finding_type.value == LESION.value
    lobe = groups["Lesion, left upper lobe"].finding_sites[0]
    assert (lobe.value.value, lobe.laterality.meaning) == ("45653009", "Left")
    ggo = groups["GGO, both lungs"]
    assert ggo.referenced_segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID


def test_both_refer_to_every_slice_of_the_series(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    segmentation, report = result_of(tmp_path / "out", quantification, files)
    uids = {pydicom.dcmread(file).SOPInstanceUID for file in files}

    (series,) = segmentation.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3.4.5"
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == uids
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert evidence == uids | {segmentation.SOPInstanceUID}


def test_a_corrected_result_is_semiautomatic(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    provenance = replace(quantification.provenance, model_name=None, model_sha256=None)
    segmentation, _ = result_of(
        tmp_path / "out", replace(quantification, provenance=provenance), files
    )
    segment = segmentation.get_segment_description(HIGH_OPACITY.value)
    assert segment.algorithm_type.value == "SEMIAUTOMATIC"


def test_the_network_that_told_the_lungs_is_named_too(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    provenance = replace(
        quantification.provenance, lung_model_name="lungs", lung_model_sha256="cd" * 32
    )
    segmentation, report = result_of(
        tmp_path / "out", replace(quantification, provenance=provenance), files
    )
    for label in LABELS:
        segment = segmentation.get_segment_description(label.value)
        assert segment.algorithm_identification.parameters == {
            "model SHA-256": "ab" * 32,
            "lung model": "lungs",
            "lung model SHA-256": "cd" * 32,
        }
    # pydicom shortens long texts when it prints.
    assert "lung model SHA-256: " + "cd" * 32 in report.to_json()


def test_lungs_without_lesions_have_empty_segments_and_no_invented_numbers(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    labels = np.minimum(a_label_map(), 1)
    healthy = a_quantification(quantification.ct, labels)
    segmentation, report = result_of(tmp_path / "out", healthy, files)
    assert segmentation.number_of_segments == 3
    found = numbers(groups_by_name(report)["GGO, both lungs"])
    assert found == {VOLUME_CODE: 0.0, EXTENT.concept.value: 0.0}


def test_the_command_writes_both_beside_the_other_results(tmp_path: Path, capsys):
    quantification, _ = a_series(
        tmp_path / "scan", PatientName="M\u00fcller^J\u00fcrgen", SpecificCharacterSet="ISO_IR 100"
    )
    labels = tmp_path / "labels.seg.nrrd"
    write_segmentation(labels, quantification.labels, quantification.ct.geometry)
    arguments = ["measure", str(tmp_path / "scan"), str(labels), "-o", str(tmp_path / "out")]

    code = main([*arguments, "--dicom", "--lobes", "none"])

    assert code == 0, capsys.readouterr().err
    written = hd.seg.segread(tmp_path / "out" / DICOM_SEGMENTATION_FILE)
    assert written.PatientName == "M\u00fcller^J\u00fcrgen"
    assert (tmp_path / "out" / DICOM_MEASUREMENTS_FILE).exists()
    # An earlier result with DICOM in it may be replaced like any other.
    assert main([*arguments, "--lobes", "none", "--overwrite"]) == 0
    assert not (tmp_path / "out" / DICOM_SEGMENTATION_FILE).exists()


def test_the_command_scans_the_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    quantification, _ = a_series(tmp_path / "scan")
    labels = tmp_path / "labels.seg.nrrd"
    write_segmentation(labels, quantification.labels, quantification.ct.geometry)
    scanned = []
    read = reading.read_folder
    monkeypatch.setattr(reading, "read_folder", lambda path: scanned.append(path) or read(path))
    arguments = ["measure", str(tmp_path / "scan"), str(labels), "-o", str(tmp_path / "out")]

    assert main([*arguments, "--dicom", "--lobes", "none"]) == 0, capsys.readouterr().err

    assert scanned == [tmp_path / "scan"]


def test_an_image_file_has_no_series_to_refer_to(tmp_path: Path, capsys):
    ct = a_quantification().ct
    write_image(tmp_path / "ct.nrrd", ct.hu, ct.geometry)
    assert read_ct_and_files(tmp_path / "ct.nrrd")[1] == ()
    code = main(["segment", str(tmp_path / "ct.nrrd"), "-o", str(tmp_path / "out"), "--dicom"])
    assert code == 2 and not (tmp_path / "out").exists()
    assert "refer to a DICOM series, and ct.nrrd is none" in capsys.readouterr().err


@pytest.mark.skipif(VALIDATOR is None, reason="dciodvfy (Debian package dicom3tools) is missing")
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"PatientName": None, "PatientID": None, "SeriesNumber": None},
        {"StudyDate": "20200305", "StudyTime": "145500.5", "PatientSex": "F", "StudyID": "1"},
        JAPANESE,
    ],
    ids=["plain", "nameless", "complete", "japanese"],
)
@pytest.mark.parametrize("lesions", [True, False], ids=["lesions", "healthy"])
def test_an_outside_validator_finds_nothing_wrong(
    tmp_path: Path, tags: dict[str, Any], lesions: bool
):
    quantification, files = a_series(tmp_path / "scan", **tags)
    if not lesions:
        quantification = a_quantification(quantification.ct, np.minimum(a_label_map(), 1))
    result_of(tmp_path / "out", quantification, files)
    for name in (DICOM_SEGMENTATION_FILE, DICOM_MEASUREMENTS_FILE):
        done = subprocess.run(
            [VALIDATOR, "-new", str(tmp_path / "out" / name)], capture_output=True, encoding="utf-8"
        )
        said = [line for line in done.stderr.splitlines() if line]
        assert done.returncode == 0 and said
        assert [line for line in said if not any(part in line for part in SOUND)] == []


def what_the_validator_says(folder: Path) -> list[str]:
    """What dciodvfy finds wrong with both results."""
    if VALIDATOR is None:
        return []
    wrong = []
    for name in (DICOM_SEGMENTATION_FILE, DICOM_MEASUREMENTS_FILE):
        done = subprocess.run(
            [VALIDATOR, "-new", str(folder / name)], capture_output=True, encoding="utf-8"
        )
        said = [line for line in done.stderr.splitlines() if line]
        wrong += [line for line in said if not any(part in line for part in SOUND)]
    return wrong


THICKNESS, FRAME = "dicom_slice_thickness", "dicom_frame_of_reference"
REPAIRED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no thickness": ({"SliceThickness": None}, [THICKNESS]),
    "thickness 0": ({"SliceThickness": "0"}, [THICKNESS]),
    "empty thickness": ({"SliceThickness": ""}, [THICKNESS]),
    "thickness below 0": ({"SliceThickness": "-2.5"}, [THICKNESS]),
    "no frame": ({"FrameOfReferenceUID": None}, [FRAME]),
    "empty frame": ({"FrameOfReferenceUID": ""}, [FRAME]),
    "both": ({"FrameOfReferenceUID": "", "SliceThickness": None}, [THICKNESS, FRAME]),
    "no patient": ({"PatientName": None, "PatientID": None}, []),
    "another sex": ({"PatientSex": "MALE"}, ["dicom_patient_and_study"]),
}


@pytest.mark.parametrize(("tags", "codes"), REPAIRED.values(), ids=REPAIRED.keys())
def test_what_the_headers_lack_is_filled_in_with_a_word(
    tmp_path: Path, tags: dict[str, Any], codes: list[str]
):
    quantification, files = a_series(tmp_path / "scan", **tags)
    warnings = check_source(quantification.ct, files)
    assert [warning.code for warning in warnings] == codes
    segmentation, report = result_of(tmp_path / "out", quantification, files)
    spacing_mm = quantification.ct.geometry.spacing_mm
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(spacing_mm[2], rel=1e-5)
    assert segmentation.FrameOfReferenceUID.is_valid
    assert what_the_validator_says(tmp_path / "out") == []
    # The two results, and those of the next run, must lie in one frame.
    again, _ = result_of(tmp_path / "again", quantification, files)
    assert again.FrameOfReferenceUID == segmentation.FrameOfReferenceUID
    assert report.StudyInstanceUID == segmentation.StudyInstanceUID


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "empty study": ({"StudyInstanceUID": ""}, "no StudyInstanceUID"),
    "no study": ({"StudyInstanceUID": None}, "no StudyInstanceUID"),
    "no study UID but text": ({"StudyInstanceUID": "study 7"}, "invalid StudyInstanceUID"),
    "one slice UID": ({"SOPInstanceUID": "1.2.3.4.5.6"}, "12 slices share 1 SOPInstanceUID"),
    "empty slice UID": ({"SOPInstanceUID": ""}, "no SOPInstanceUID"),
}


@pytest.mark.parametrize(("tags", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_identifies_the_scan_is_never_made_up(
    tmp_path: Path, tags: dict[str, Any], sentence: str
):
    quantification, files = a_series(tmp_path / "scan")
    for file in files:
        dataset = pydicom.dcmread(file)
        for name, value in tags.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(file)
    with pytest.raises(BadInputError, match=sentence):
        check_source(quantification.ct, files)


def test_a_series_with_a_frame_of_reference_here_and_there_is_refused(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    dataset = pydicom.dcmread(files[3])
    dataset.FrameOfReferenceUID = ""
    dataset.save_as(files[3])
    with pytest.raises(BadInputError, match="1 of 12 slices name no frame of reference"):
        check_source(quantification.ct, files)


def test_fewer_files_than_slices_are_refused(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    with pytest.raises(BadInputError, match="12 slices and 11 DICOM files"):
        check_source(quantification.ct, files[:-1])


@pytest.mark.parametrize("command", ["segment", "measure"])
def test_the_command_refuses_odd_headers_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
):
    quantification, _ = a_series(tmp_path / "scan", StudyInstanceUID="")
    arguments = [command, str(tmp_path / "scan")]
    if command == "measure":
        labels = tmp_path / "labels.seg.nrrd"
        write_segmentation(labels, quantification.labels, quantification.ct.geometry)
        arguments.append(str(labels))
    code = main([*arguments, "-o", str(tmp_path / "out"), "--dicom"])
    said = capsys.readouterr().err
    assert code == 2 and not (tmp_path / "out").exists()
    assert "no StudyInstanceUID" in said
    assert "Loading the model" not in said and "Measuring" not in said


def test_the_command_says_what_it_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    quantification, _ = a_series(tmp_path / "scan", SliceThickness=None)
    labels = tmp_path / "labels.seg.nrrd"
    write_segmentation(labels, quantification.labels, quantification.ct.geometry)
    arguments = ["measure", str(tmp_path / "scan"), str(labels), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--dicom", "--lobes", "none"]) == 0
    assert "Warning: The headers of the series state no slice thickness" in capsys.readouterr().out
    assert THICKNESS in (tmp_path / "out" / "measurements.csv").read_text()


def test_results_that_are_not_read_back_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    quantification, files = a_series(tmp_path / "scan")
    save = pydicom.Dataset.save_as

    def cut(dataset: Any, file: Path, *rest: Any, **options: Any) -> None:
        save(dataset, file, *rest, **options)
        with Path(file).open("r+b") as opened:
            opened.truncate(Path(file).stat().st_size - 100)

    monkeypatch.setattr(pydicom.Dataset, "save_as", cut)
    with pytest.raises(BadInputError, match="cannot be read back"):
        result_of(tmp_path / "out", quantification, files)


def test_every_frame_lies_where_the_label_map_says(tmp_path: Path):
    """Read without highdicom: only the frames' own positions, directions and spacings count."""
    quantification, files = a_series(tmp_path / "scan")
    result_of(tmp_path / "out", quantification, files)
    segmentation = pydicom.dcmread(tmp_path / "out" / DICOM_SEGMENTATION_FILE)
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    pixel_mm = [float(part) for part in shared.PixelMeasuresSequence[0].PixelSpacing]
    geometry = quantification.ct.geometry
    grid = sitk.Image([int(size) for size in quantification.labels.shape[::-1]], sitk.sitkUInt8)
    grid.SetSpacing([float(part) for part in geometry.spacing_mm])
    grid.SetOrigin([float(part) for part in geometry.origin_mm])
    grid.SetDirection(np.asarray(geometry.direction).ravel().tolist())

    found = np.zeros_like(quantification.labels)
    frames = segmentation.PerFrameFunctionalGroupsSequence
    for frame, mask in zip(frames, segmentation.pixel_array, strict=True):
        first_mm = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        last_mm = first_mm + row * pixel_mm[1] * (mask.shape[1] - 1)
        last_mm = last_mm + column * pixel_mm[0] * (mask.shape[0] - 1)
        start = grid.TransformPhysicalPointToContinuousIndex(first_mm.tolist())
        end = grid.TransformPhysicalPointToContinuousIndex(last_mm.tolist())
        z = round(start[2])
        assert start == pytest.approx((0, 0, z), abs=1e-3)
        assert end == pytest.approx((mask.shape[1] - 1, mask.shape[0] - 1, z), abs=1e-3)
        value = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert not found[z][mask > 0].any()
        found[z][mask > 0] = value
    assert np.array_equal(found, quantification.labels)


def test_segments_and_their_numbers_are_tracked_by_the_same_identifiers(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    segmentation, report = result_of(tmp_path / "out", quantification, files)
    groups = groups_by_name(report)
    for label in LABELS:
        segment = segmentation.get_segment_description(label.value)
        assert segment.tracking_id == f"{label.name}, both lungs"
        assert groups[segment.tracking_id].tracking_uid == segment.tracking_uid
    uids = {group.tracking_uid for group in groups.values()}
    assert len(uids) == len(groups)


def test_the_report_names_who_answers_for_the_private_codes(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan")
    _, report = result_of(tmp_path / "out", quantification, files)
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == EXTENT.concept.scheme == "99CLQ"
    assert scheme.CodingSchemeResponsibleOrganization == "CovidLungQuant"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_names_in_several_character_sets_stay_as_they_are(tmp_path: Path):
    quantification, files = a_series(tmp_path / "scan", **JAPANESE)
    segmentation, report = result_of(tmp_path / "out", quantification, files)
    for result in (segmentation, report):
        assert result.SpecificCharacterSet == "ISO_IR 192"
        assert str(result.PatientName) == JAPANESE["PatientName"]
