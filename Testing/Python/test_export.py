"""Adding corrected scans to a training set: what is written, and what never is."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import chest_hu, write_series
from small_chest import a_ct, a_label_map, a_quantification

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.ct import CTVolume, lps_oriented
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.training import export
from CovidLungQuantLib.training.data import read_case
from CovidLungQuantLib.training.dataset import (
    COVIDLUNGQUANT_LAYOUT,
    LAYOUTS,
    NNUNET_LAYOUT,
    case_names,
    patient_count,
    patient_groups,
)
from CovidLungQuantLib.training.export import MANIFEST_FILE_NAME, export_training_case

PROVENANCE = a_quantification().provenance
IDENTITY = {
    "PatientName": "Grepable^Person",
    "PatientID": "HOSP-778899",
    "PatientBirthDate": "19510923",
    "StudyDate": "20200315",
    "SeriesDate": "20200316",
    "AccessionNumber": "ACC-5544332",
    "StudyInstanceUID": "1.2.826.0.1.99887766",
    "FrameOfReferenceUID": "1.2.826.0.1.55443322",
    "InstitutionName": "Saint Grep Hospital",
}
SERIES_UID = "1.2.826.0.1.44332211"


def other_ct() -> CTVolume:
    ct = a_ct(name="another")
    return CTVolume(ct.hu + np.int16(1), ct.geometry, ct.name)


def manifest(dataset: Path) -> list[dict[str, str]]:
    with (dataset / MANIFEST_FILE_NAME).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_reads_back_what_was_exported(tmp_path: Path, layout: str):
    ct, labels = a_ct(np.eye(3)), a_label_map()

    assert export_training_case(tmp_path / "set", ct, labels, layout=layout) == "case_0001"
    assert export_training_case(tmp_path / "set", other_ct(), labels, layout=layout) == "case_0002"

    assert case_names(tmp_path / "set") == ["case_0001", "case_0002"]
    scan = read_case(tmp_path / "set", "case_0001")
    upright = lps_oriented(ct)[0]
    assert np.array_equal(scan.hu, upright.hu)
    assert np.array_equal(scan.labels, labels)
    assert scan.spacing_mm == pytest.approx(ct.geometry.spacing_mm, rel=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_oblique_scan_keeps_its_voxels(tmp_path: Path, layout: str):
    ct = a_ct()
    name = export_training_case(tmp_path, ct, a_label_map(), layout=layout)
    assert np.array_equal(read_case(tmp_path, name).hu, lps_oriented(ct)[0].hu)


def test_nnunet_is_told_channels_labels_and_the_number_of_cases(tmp_path: Path):
    export_training_case(tmp_path, a_ct(), a_label_map(), layout=NNUNET_LAYOUT)
    export_training_case(tmp_path, other_ct(), a_label_map())

    assert json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8")) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "Normal lung": 1, "GGO": 2, "High opacity": 3},
        "file_ending": ".nii.gz",
        "numTraining": 2,
    }
    assert sorted(file.name for file in (tmp_path / "imagesTr").iterdir()) == [
        "case_0001_0000.nii.gz",
        "case_0002_0000.nii.gz",
    ]


def test_the_manifest_says_who_which_model_and_what_was_changed(tmp_path: Path):
    ct, machine = a_ct(), a_label_map()
    corrected = machine.copy()
    corrected[3:6, 5:9, 4:6] = 1  # half of the 48 voxels of GGO
    corrected[9, 4:16, 13:21] = 3  # 96 voxels of normal lung

    export_training_case(tmp_path, ct, corrected, machine, PROVENANCE, " AB ")

    (row,) = manifest(tmp_path)
    voxel_ml = ct.geometry.voxel_volume_ml
    assert (row["case"], row["version"], row["reader"]) == ("case_0001", "1", "AB")
    assert row["exported_at"].endswith("+00:00")
    assert row["model_name"] == "a model" and row["model_sha256"] == "ab" * 32
    assert int(row["changed_voxels"]) == 24 + 96
    assert float(row["changed_ml"]) == pytest.approx(120 * voxel_ml, rel=1e-12)
    assert float(row["ggo_machine_ml"]) == pytest.approx(48 * voxel_ml, rel=1e-12)
    assert float(row["ggo_ml"]) == pytest.approx(24 * voxel_ml, rel=1e-12)
    assert float(row["ggo_dice"]) == pytest.approx(2 * 24 / (24 + 48))
    assert float(row["high_opacity_dice"]) == pytest.approx(2 * 36 / (36 + 132))
    assert float(row["lung_dice"]) == 1.0
    for kind in ("ct", "labels"):
        written = (tmp_path / row[f"{kind}_file"]).read_bytes()
        assert hashlib.sha256(written).hexdigest() == row[f"{kind}_file_sha256"]
    record = json.loads((tmp_path / "case_0001" / "case.json").read_text(encoding="utf-8"))
    assert record["class_inferred_slices"] == []
    assert {key: str(value) for key, value in record.items() if key in row} == row


def test_without_the_machines_labels_the_changes_are_blank_and_not_zero(tmp_path: Path):
    export_training_case(tmp_path, a_ct(), a_label_map())
    (row,) = manifest(tmp_path)
    assert row["changed_voxels"] == row["ggo_machine_ml"] == row["lesion_dice"] == ""
    assert float(row["ggo_ml"]) > 0 and row["model_name"] == row["reader"] == ""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_scan_that_is_there_is_refused_or_becomes_a_new_version(tmp_path: Path, layout: str):
    first, second = a_label_map(), a_label_map()
    second[3, 5:9, 4:8] = 1
    export_training_case(tmp_path, a_ct(), first, layout=layout)
    before = contents(tmp_path)

    with pytest.raises(BadInputError, match="already, as case_0001"):
        # Another name and orientation of the file are no other scan.
        export_training_case(tmp_path, a_ct(name="renamed"), second)
    assert contents(tmp_path) == before

    assert export_training_case(tmp_path, a_ct(), second, new_version=True) == "case_0001"
    assert case_names(tmp_path) == ["case_0001"]
    assert np.array_equal(read_case(tmp_path, "case_0001").labels == 2, upright(second == 2))
    kept = contents(tmp_path / "earlier" / "case_0001_version_1")
    assert set(kept.values()) <= set(before.values()) and len(kept) == 3
    assert [row["version"] for row in manifest(tmp_path)] == ["1", "2"]


def upright(mask: np.ndarray) -> np.ndarray:
    turned = lps_oriented(CTVolume(mask.astype(np.int16), a_ct().geometry))[0]
    return turned.hu == 1


def test_numbers_of_removed_cases_are_not_given_again(tmp_path: Path):
    export_training_case(tmp_path, a_ct(), a_label_map())
    for file in (tmp_path / "case_0001").iterdir():
        file.unlink()
    (tmp_path / "case_0001").rmdir()
    (tmp_path / "case_0041").mkdir()
    (tmp_path / "case_0041" / "notes.txt").write_text("mine")

    assert export_training_case(tmp_path, a_ct(), a_label_map()) == "case_0042"
    assert (tmp_path / "case_0041" / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("new_version", [False, True])
def test_a_failure_half_way_leaves_the_dataset_as_it_was(
    tmp_path: Path, layout: str, new_version: bool, monkeypatch: pytest.MonkeyPatch
):
    export_training_case(tmp_path, a_ct(), a_label_map(), layout=layout)
    before = contents(tmp_path)

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_append_to_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        export_training_case(
            tmp_path,
            a_ct() if new_version else other_ct(),
            a_label_map(),
            new_version=new_version,
        )
    assert contents(tmp_path) == before
    assert not [folder.name for folder in tmp_path.iterdir() if folder.name.startswith(".")]
    assert not (tmp_path / "case_0002").exists() and not (tmp_path / "earlier").exists()


def test_what_cannot_be_a_case_is_refused(tmp_path: Path):
    labels = a_label_map()
    with pytest.raises(BadInputError, match="empty"):
        export_training_case(tmp_path, a_ct(), np.zeros_like(labels))
    with pytest.raises(BadInputError, match="belongs to this scan"):
        export_training_case(tmp_path, a_ct(), labels[1:])
    with pytest.raises(BadInputError, match="no layout"):
        export_training_case(tmp_path, a_ct(), labels, layout="other")
    export_training_case(tmp_path, a_ct(), labels)
    with pytest.raises(BadInputError, match=f"layout {COVIDLUNGQUANT_LAYOUT}"):
        export_training_case(tmp_path, other_ct(), labels, layout=NNUNET_LAYOUT)
    (tmp_path / MANIFEST_FILE_NAME).write_text("case,ct_voxels_sha256\n")
    before = contents(tmp_path)
    with pytest.raises(BadInputError, match="other columns"):
        export_training_case(tmp_path, other_ct(), labels)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_of_the_patient_comes_along(tmp_path: Path, layout: str, capsys):
    """Every byte that is written, unpacked too, is searched for what the headers say."""
    hu = chest_hu()
    scans = tmp_path / "Grepable Person 1951"
    write_series(scans, hu, uid=SERIES_UID, **IDENTITY)
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, 4:-4, 4:-4] = 1
    labels[3:6, 5:8, 5:8] = 2
    from CovidLungQuantLib.ct import read_ct

    geometry = read_ct(scans).geometry
    result = tmp_path / "HOSP-778899.seg.nrrd"
    write_segmentation(result, labels, geometry)
    dataset = tmp_path / "set"

    options = ["--layout", layout, "--machine", str(result), "--reader", "AB"]
    code = main(["export", str(scans), str(result), "-o", str(dataset), *options])

    assert code == 0, capsys.readouterr().err
    written = contents(dataset)
    assert len(written) == 4 + (layout == NNUNET_LAYOUT)
    secrets = [*IDENTITY.values(), SERIES_UID, "Grepable", "Person", str(tmp_path)]
    for name, content in written.items():
        unpacked = [name.encode(), content]
        if content[:2] == b"\x1f\x8b":
            unpacked.append(gzip.decompress(content))
        if content[:4] == b"NRRD":
            header, _, voxels = content.partition(b"\n\n")
            unpacked += [header, gzip.decompress(voxels)]
        for text in unpacked:
            found = [secret for secret in secrets if secret.encode() in text]
            assert found == [], name


def test_a_list_goes_on_after_a_scan_that_cannot_be_read(tmp_path: Path, capsys):
    ct = a_ct(np.eye(3))
    write_image(tmp_path / "a.nrrd", ct.hu, ct.geometry)
    write_image(tmp_path / "b.nrrd", other_ct().hu, ct.geometry)
    write_results(tmp_path / "result", a_quantification(ct))
    corrected = a_label_map()
    corrected[3, 5:9, 4:8] = 1
    write_segmentation(tmp_path / "corrected.seg.nrrd", corrected, ct.geometry)
    (tmp_path / "cases.csv").write_text(
        "ct,segmentation,machine,reader\n"
        "a.nrrd,corrected.seg.nrrd,result,AB\n"
        "missing.nrrd,corrected.seg.nrrd,,AB\n"
        "b.nrrd,result,,\n"
    )

    listed = ["--list", str(tmp_path / "cases.csv"), "--reader", "CD"]
    code = main(["export", *listed, "-o", str(tmp_path / "set")])

    shown = capsys.readouterr()
    assert code == 2
    assert "Left out: missing.nrrd" in shown.out and "1 of 3 scans were left out" in shown.err
    first, second = manifest(tmp_path / "set")
    assert (first["reader"], second["reader"]) == ("AB", "CD")
    assert first["model_name"] == second["model_name"] == "a model"
    assert (first["changed_voxels"], second["changed_voxels"]) == ("16", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Give CT and SEGMENTATION"),
        (["cases.csv", "--list", "cases.csv"], "stand in the list"),
        (["--list", "cases.csv"], "needs the columns ct and segmentation"),
        (["--list", "nothing.csv"], "cannot be read"),
    ],
)
def test_a_command_that_cannot_be_followed_is_explained(
    tmp_path: Path, arguments: list[str], says: str, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("cases.csv").write_text("scan,segmentation\na,b\n", encoding="utf-8")
    assert main(["export", *arguments, "-o", "set"]) == 2
    assert says in capsys.readouterr().err


# Scans of one patient


def a_scan(number: int) -> CTVolume:
    ct = a_ct()
    return CTVolume(ct.hu + np.int16(number), ct.geometry)


def add(dataset: Path, number: int, **options: Any) -> str:
    return export_training_case(dataset, a_scan(number), a_label_map(), **options)


def groups_in(dataset: Path) -> list[str]:
    return [row["patient_group"] for row in manifest(dataset)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cases_of_one_patient_share_the_name_of_a_case(tmp_path: Path, layout: str):
    add(tmp_path, 0, layout=layout)
    add(tmp_path, 1)
    assert patient_groups(tmp_path) == []
    add(tmp_path, 2, same_patient_as="case_0001")
    add(tmp_path, 3, same_patient_as="case_0003")
    assert groups_in(tmp_path) == ["case_0001", "case_0002", "case_0001", "case_0001"]
    assert patient_groups(tmp_path) == [["case_0001", "case_0003", "case_0004"]]
    assert patient_count(tmp_path) == 2


def test_a_new_version_stays_with_its_patient_unless_it_is_said_otherwise(tmp_path: Path):
    for number in range(3):
        add(tmp_path, number, same_patient_as="case_0001" if number == 1 else None)
    add(tmp_path, 1, new_version=True)
    assert patient_groups(tmp_path) == [["case_0001", "case_0002"]]
    add(tmp_path, 1, new_version=True, same_patient_as="case_0003")
    assert patient_groups(tmp_path) == [["case_0002", "case_0003"]]
    assert patient_count(tmp_path) == 2


def test_a_patient_of_a_case_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(BadInputError, match="it holds no case yet"):
        add(tmp_path / "set", 0, same_patient_as="case_0001")
    assert not (tmp_path / "set").exists()
    add(tmp_path / "set", 0)
    before = contents(tmp_path / "set")
    with pytest.raises(BadInputError, match="no case Doe in set; give one of case_0001"):
        add(tmp_path / "set", 1, same_patient_as="Doe")
    assert contents(tmp_path / "set") == before


def test_groups_that_share_a_case_are_one_patient(tmp_path: Path):
    for number in range(4):
        add(tmp_path, number, same_patient_as="case_0001" if number == 1 else None)
    told = [["case_0002", "case_0003"], ["case_0004"]]
    assert patient_groups(tmp_path, told) == [["case_0001", "case_0002", "case_0003"]]
    assert patient_groups(tmp_path / "elsewhere", told) == [["case_0002", "case_0003"]]


def test_a_manifest_of_an_earlier_version_goes_on(tmp_path: Path):
    add(tmp_path, 0)
    add(tmp_path, 1)
    file = tmp_path / MANIFEST_FILE_NAME
    with file.open(newline="", encoding="utf-8") as content:
        rows = [row[:2] + row[3:] for row in csv.reader(content)]
    assert "patient_group" not in rows[0]
    file.write_text("\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")
    assert patient_groups(tmp_path) == []
    add(tmp_path, 2, same_patient_as="case_0002")
    assert groups_in(tmp_path) == ["case_0001", "case_0002", "case_0002"]
    assert [row["version"] for row in manifest(tmp_path)] == ["1", "1", "1"]
    assert all(len(row["labels_file_sha256"]) == 64 for row in manifest(tmp_path))


def test_the_command_line_names_a_case_and_a_list_any_word(tmp_path: Path, capsys):
    for number in range(4):
        scan = a_scan(number)
        write_image(tmp_path / f"{number}.nrrd", scan.hu, scan.geometry)
    write_segmentation(tmp_path / "corrected.seg.nrrd", a_label_map(), a_ct().geometry)
    corrected, dataset = str(tmp_path / "corrected.seg.nrrd"), str(tmp_path / "set")
    assert main(["export", str(tmp_path / "0.nrrd"), corrected, "-o", dataset]) == 0
    options = ["-o", dataset, "--same-patient-as", "case_0001"]
    assert main(["export", str(tmp_path / "1.nrrd"), corrected, *options]) == 0
    (tmp_path / "cases.csv").write_text(
        "ct,segmentation,patient\n2.nrrd,corrected.seg.nrrd,Doe\n3.nrrd,corrected.seg.nrrd,Doe\n",
        encoding="utf-8",
    )
    listed = ["export", "--list", str(tmp_path / "cases.csv")]
    assert main([*listed, *options]) == 2
    assert "patients stand in the list" in capsys.readouterr().err
    assert main([*listed, "-o", dataset]) == 0
    assert groups_in(tmp_path / "set") == ["case_0001", "case_0001", "case_0003", "case_0003"]
    assert b"Doe" not in (tmp_path / "set" / MANIFEST_FILE_NAME).read_bytes()
