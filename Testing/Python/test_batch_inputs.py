"""Which scans an input holds: DICOM sorted by headers, image files, lists."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from dicom_series import chest_hu, write_series
from sentences import is_one_sentence

from CovidLungQuantLib.batch.folder_input import scans_in_folder
from CovidLungQuantLib.batch.identifiers import Identifiers
from CovidLungQuantLib.batch.list_input import scans_in_list
from CovidLungQuantLib.batch.plan import make_plan
from CovidLungQuantLib.batch.tables import taken_columns
from CovidLungQuantLib.ct.dicom import read_dicom_files
from CovidLungQuantLib.errors import BadInputError

IDENTIFIERS = Identifiers(bytes(32))


def write_study(folder: Path, patient: str, study: str, day: str, seed: int = 0) -> np.ndarray:
    hu = chest_hu((12, 60, 60), seed)
    write_series(
        folder,
        hu,
        uid=f"{study}.9",
        prefix=f"{study}-",
        spacing_mm=(5.0, 5.0, 5.0),
        PatientID=patient,
        PatientName=f"{patient}^Given",
        StudyInstanceUID=study,
        StudyDate=day,
        FrameOfReferenceUID=f"{study}.8",
    )
    return hu


def test_dicom_files_of_one_folder_are_sorted_into_studies_and_patients(tmp_path: Path):
    # All in one folder, as an archive leaves them; the third study is of the first patient.
    first = write_study(tmp_path, "Adam", "1.2.3.1", "20200310", 1)
    write_study(tmp_path, "Bert", "1.2.3.2", "20200301", 2)
    third = write_study(tmp_path, "Adam", "1.2.3.3", "20200331", 3)
    (tmp_path / "notes.txt").write_text("No image.", encoding="utf-8")
    found = scans_in_folder(tmp_path)
    assert found.notes == ()
    by_study = {scan.identity: scan for scan in found.scans}
    assert set(by_study) == {"1.2.3.1", "1.2.3.2", "1.2.3.3"}
    assert [by_study[f"1.2.3.{n}"].patient for n in (1, 2, 3)] == ["Adam", "Bert", "Adam"]
    assert by_study["1.2.3.3"].study_date == date(2020, 3, 31)
    assert {"Adam", "Adam^Given", "1.2.3.1", "20200310"} <= set(by_study["1.2.3.1"].names)
    for study, hu in (("1.2.3.1", first), ("1.2.3.3", third)):
        ct, files = read_dicom_files(by_study[study].files, "x")
        assert (ct.hu == hu).all() and ct.name == "x" and len(files) == 12

    plan = make_plan(found.scans, IDENTIFIERS, {}).plan
    days = {scan.scan_id: scan.days_from_first_scan for scan in plan.scans}
    ids = {study: IDENTIFIERS.scan_id(study) for study in by_study}
    assert [days[ids[f"1.2.3.{n}"]] for n in (1, 2, 3)] == ["0", "0", "21"]
    assert all(scan.study_date == "" for scan in plan.scans)


def test_the_order_of_the_tables_does_not_tell_that_of_the_names(tmp_path: Path):
    for number in range(8):
        write_study(tmp_path, f"Name{number}", f"1.2.3.{number}", "20200301", number)
    plan = make_plan(scans_in_folder(tmp_path).scans, IDENTIFIERS, {}).plan
    patients = [scan.patient_id for scan in plan.scans]
    assert patients == sorted(patients)
    assert patients != [IDENTIFIERS.patient_id(f"Name{number}") for number in range(8)]


def test_a_damaged_slice_is_told_with_its_study_and_a_damaged_folder_is_not_lost(tmp_path: Path):
    write_study(tmp_path / "a", "Adam", "1.2.3.1", "20200310")
    (tmp_path / "a" / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0")
    first, second = scans_in_folder(tmp_path).scans
    for scan in (first, second):
        with pytest.raises(BadInputError, match=r"can(not)? be read"):
            read_dicom_files(scan.files, "x")


def test_images_of_a_tree_are_scans_but_for_what_was_made_of_them(tmp_path: Path):
    for name in (
        "scan.nrrd",
        "deep/other.nii.gz",
        "deep/other.seg.nrrd",
        "case/ct.nrrd",
        "case/labels.nrrd",
        "result/lobes.seg.nrrd",
        "result/probability.nrrd",
        "result/result.json",
        "out/scans/1/enhanced.nrrd",
        ".hidden.nrrd",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = scans_in_folder(tmp_path, left_out=tmp_path / "out")
    assert {scan.identity for scan in found.scans} == {
        "scan.nrrd",
        "deep/other.nii.gz",
        "case/ct.nrrd",
    }
    (note,) = found.notes
    assert is_one_sentence(note) and "3 scans" in note


def test_an_input_without_scans_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("No image.", encoding="utf-8")
    with pytest.raises(BadInputError) as refusal:
        scans_in_folder(tmp_path)
    assert is_one_sentence(str(refusal.value))


def written(folder: Path, text: str) -> Path:
    file = folder / "list.csv"
    file.write_text(text, encoding="utf-8-sig")
    return file


def test_a_list_carries_its_columns_along_unchanged(tmp_path: Path):
    file = written(
        tmp_path,
        "path;patient;study_date;onset_date;group;code\n"
        "a.nrrd;Adam;2020-03-10;2020-03-01;ICU;007\n"
        "sub/b.nrrd;Adam;20200331;;ward; x \n",
    )
    found = scans_in_list(file, taken_columns())
    first, second = found.scans
    assert first.path == tmp_path / "a.nrrd" and second.path == tmp_path / "sub" / "b.nrrd"
    # Dates stay behind; what is counted from them does not.
    assert first.carried == {"group": "ICU", "code": "007", "days_from_onset": "9"}
    assert second.carried == {"group": "ward", "code": " x ", "days_from_onset": ""}
    plan = make_plan(found.scans, IDENTIFIERS, {}).plan
    assert [scan.days_from_first_scan for scan in plan.scans] == ["0", "21"]
    assert len({scan.patient_id for scan in plan.scans}) == 1
    kept = make_plan(found.scans, IDENTIFIERS, {}, keep_identifiers=True).plan
    assert [scan.study_date for scan in kept.scans] == ["2020-03-10", "2020-03-31"]
    assert {scan.patient_id for scan in kept.scans} == {"Adam"}


def test_an_identifier_column_goes_into_all_output(tmp_path: Path):
    file = written(tmp_path, "path,patient,study_number\na.nrrd,Adam,S-01\nb.nrrd,Bert,S-02\n")
    found = scans_in_list(file, taken_columns(), id_column="study_number")
    plan = make_plan(found.scans, IDENTIFIERS, {}, chosen_patients=True).plan
    assert [scan.patient_id for scan in plan.scans] == ["S-01", "S-02"]
    assert all(scan.scan_id.startswith(scan.patient_id) for scan in plan.scans)
    # The name that another column holds goes nowhere.
    assert "Adam" not in str(plan)


def test_columns_by_which_somebody_could_be_known_stay_behind_unless_asked_for(tmp_path: Path):
    file = written(
        tmp_path,
        "path,Patient Name,date-of-birth,source,age\n"
        "a.nrrd,Adam Smith,1950-01-01,1.2.840.113619.2.1,70\n",
    )
    found = scans_in_list(file, taken_columns())
    assert found.scans[0].carried == {"age": "70"}
    assert len(found.notes) == 3 and all(map(is_one_sentence, found.notes))
    kept = scans_in_list(file, taken_columns(), keep_identifiers=True).scans[0].carried
    assert set(kept) == {"Patient Name", "date-of-birth", "source", "age"}


def test_a_dicom_folder_of_a_list_says_whose_it_is_and_when(tmp_path: Path):
    write_study(tmp_path / "study", "Adam", "1.2.3.1", "20200310")
    file = written(tmp_path, "path,group\nstudy,ICU\n")
    (scan,) = scans_in_list(file, taken_columns()).scans
    assert (scan.patient, scan.study_date) == ("Adam", date(2020, 3, 10))
    assert "Adam^Given" in scan.names


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("file\na.nrrd\n", "no column path"),
        ("path\n", "lists no scan"),
        ("path,group\n,ICU\n", "Line 2"),
        ("path\na.nrrd\nb.nrrd\na.nrrd\n", "Lines 2 and 4"),
        ("path,lesion_percent\na.nrrd,1\n", "lesion_percent"),
        ("path,study_date\na.nrrd,yesterday\n", "is no date"),
        ("path,onset_date\na.nrrd,2020-02-31\n", "is no date"),
        ("path,days_from_first_scan\na.nrrd,soon\n", "is no number"),
        ("path,path\na.nrrd,b.nrrd\n", "of one name"),
        ("path,patient\na.nrrd,\n", "lacks the patient"),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused(text: str, part: str, tmp_path: Path):
    with pytest.raises(BadInputError, match=part) as refusal:
        scans_in_list(written(tmp_path, text), taken_columns())
    assert is_one_sentence(str(refusal.value))
