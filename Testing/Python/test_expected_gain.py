"""Which case to correct next: the ranking, where its figures come from, and when they are kept."""

from __future__ import annotations

import copy
import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentences import is_one_sentence
from small_chest import VOXEL_ML, a_ct, a_label_map, a_quantification
from small_model import small_model
from test_disagreement import another_label_map
from test_odd_json import ODD_VALUES, changed, places

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.ct import CTVolume, Geometry
from CovidLungQuantLib.errors import BadInputError, Cancelled
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.measures.disagreement import Disagreement, disagreement_of
from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.pipeline import quantify
from CovidLungQuantLib.quantification import Options
from CovidLungQuantLib.training import disagreement_cache
from CovidLungQuantLib.training.candidates import scans_in
from CovidLungQuantLib.training.dataset import LAYOUTS, voxels_sha256
from CovidLungQuantLib.training.disagreement_cache import CACHE_FILE_NAME, DisagreementCache
from CovidLungQuantLib.training.expected_gain import (
    CANDIDATE,
    CORRECTED,
    GIVEN,
    NOT_COMPARED,
    NOT_CORRECTED,
    RankedCase,
    ranked,
    ranked_by_what_is_known,
    training_set_cases,
)
from CovidLungQuantLib.training.export import MANIFEST_FILE_NAME, export_training_case
from CovidLungQuantLib.training.model_disagreement import find_disagreements, rank_training_set

PROVENANCE = a_quantification().provenance


def of_ml(disputed_ml: float) -> Disagreement:
    return Disagreement(0.9, 0.8, 0.7, 50.0, 60.0, 100.0, disputed_ml, 7)


def shifted(ct: CTVolume, hu: int) -> CTVolume:
    return CTVolume(ct.hu + np.int16(hu), ct.geometry)


# The ranking


def test_cases_are_ranked_by_what_is_disputed_and_not_yet_changed():
    cases = [
        RankedCase("corrected, settled", CORRECTED, 40.0, 30.0),
        RankedCase("given", GIVEN),
        RankedCase("open, little", NOT_CORRECTED, 0.0, 0.0),
        RankedCase("corrected, hardly", CORRECTED, 5.0, 3.0),
        RankedCase("a scan", CANDIDATE),
        RankedCase("unreadable", NOT_CORRECTED),
        RankedCase("b open, as much", NOT_CORRECTED, 0.0, 0.0),
    ]
    found = {
        "corrected, settled": of_ml(30.0),
        "given": of_ml(99.0),
        "open, little": of_ml(0.0),
        "corrected, hardly": of_ml(25.0),
        "a scan": of_ml(12.0),
        "unreadable": "The scan cannot be read; export it again.",
        "b open, as much": of_ml(12.0),
    }
    rows = ranked(cases, found)
    assert [(row.name, row.expected_gain_ml) for row in rows[:5]] == [
        ("corrected, hardly", 20.0),
        ("a scan", 12.0),
        ("b open, as much", 12.0),
        ("corrected, settled", 0.0),
        ("open, little", 0.0),
    ]
    assert [row.name for row in rows[5:]] == ["given", "unreadable"]
    assert all(math.isnan(row.expected_gain_ml) for row in rows[5:])
    assert {row.name: row.next_step for row in rows} == {
        "corrected, hardly": "Look again, most of it in axial slice 7: little was changed where "
        "the models disagree.",
        "a scan": "Segment, correct and add this one next, most of it in axial slice 7.",
        "b open, as much": "Correct it.",
        "corrected, settled": "Done.",
        "open, little": "The models agree; others teach more.",
        "given": "Nothing: its labels count as a reader's.",
        "unreadable": "The scan cannot be read; export it again.",
    }


def test_a_case_that_was_not_compared_says_so():
    (row,) = ranked([RankedCase("case", NOT_CORRECTED)], {})
    assert row.next_step == NOT_COMPARED and math.isnan(row.disputed_ml)


# What was changed


def test_what_the_reader_changed_is_worked_out_from_any_manifest(tmp_path: Path):
    ct, machine, corrected = a_ct(), a_label_map(), another_label_map()
    export_training_case(tmp_path, ct, corrected, machine, PROVENANCE)
    export_training_case(tmp_path, shifted(ct, 1), machine, machine, PROVENANCE)
    export_training_case(tmp_path, shifted(ct, 2), machine, None, PROVENANCE)
    export_training_case(tmp_path, shifted(ct, 3), corrected)
    cases = training_set_cases(tmp_path)
    assert [case.state for case in cases] == [CORRECTED, NOT_CORRECTED, NOT_CORRECTED, GIVEN]
    assert cases[0].changed_ml == pytest.approx(30 * VOXEL_ML, rel=1e-9)
    assert cases[0].changed_percent == pytest.approx(100 * 30 / 90, rel=1e-9)
    assert cases[1].changed_ml == cases[1].changed_percent == 0.0
    assert all(math.isnan(case.changed_ml) for case in cases[2:])

    # A set of an earlier version, which did not ask for patients, and one without a manifest.
    file = tmp_path / MANIFEST_FILE_NAME
    rows = list(csv.DictReader(file.open(newline="", encoding="utf-8")))
    columns = [name for name in rows[0] if name != "patient_group"]
    with file.open("w", newline="", encoding="utf-8") as content:
        writer = csv.DictWriter(content, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert training_set_cases(tmp_path)[0] == cases[0]
    file.unlink()
    assert [case.state for case in training_set_cases(tmp_path)] == [GIVEN] * 4


def test_the_newest_version_of_a_case_counts(tmp_path: Path):
    ct, machine = a_ct(), a_label_map()
    export_training_case(tmp_path, ct, machine, machine)
    export_training_case(tmp_path, ct, another_label_map(), machine, new_version=True)
    (case,) = training_set_cases(tmp_path)
    assert case.state == CORRECTED and case.changed_ml > 0


@pytest.mark.parametrize(
    ("cell", "value"), [("changed_voxels", "many"), ("lesion_dice", "x"), ("ggo_ml", "")]
)
def test_a_manifest_of_others_is_refused_in_one_sentence(tmp_path: Path, cell: str, value: str):
    export_training_case(tmp_path, a_ct(), another_label_map(), a_label_map())
    file = tmp_path / MANIFEST_FILE_NAME
    (row,) = csv.DictReader(file.open(newline="", encoding="utf-8"))
    row[cell] = value
    with file.open("w", newline="", encoding="utf-8") as content:
        writer = csv.DictWriter(content, list(row))
        writer.writeheader()
        writer.writerow(row)
    with pytest.raises(BadInputError, match=r"manifest\.csv") as raised:
        training_set_cases(tmp_path)
    assert is_one_sentence(str(raised.value))


def test_a_folder_without_cases_is_refused_in_one_sentence(tmp_path: Path, capsys: Any):
    for folder in (tmp_path, tmp_path / "nothing"):
        assert main(["training-set", str(folder), "--no-models"]) == 2
        sentence = capsys.readouterr().err.removeprefix("covidlungquant: ").strip()
        assert sentence.startswith("No case") and is_one_sentence(sentence)
    assert list(tmp_path.iterdir()) == []


# Running the models, and keeping what they find


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of three small networks with weights of their own."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(("one", "two", "three")):
        save_model(folder / f"{name}.pt", small_model(seed).network)
    return [str(folder / f"{name}.pt") for name in ("one", "two", "three")]


SHAPE, SPACING_MM = (20, 48, 58), (7.0, 7.0, 15.0)


def a_chest(hu: int = 0) -> CTVolume:
    """The phantom's chest on a coarse grid; `hu` makes another scan of it."""
    return shifted(chest_phantom(SHAPE, SPACING_MM).ct, hu)


@pytest.fixture(scope="module")
def new_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases, the first of them corrected; no model has run on them."""
    folder = tmp_path_factory.mktemp("new") / "set"
    labels = chest_phantom(SHAPE, SPACING_MM).labels
    machine = np.where(labels == GGO.value, NORMAL_LUNG.value, labels).astype(np.uint8)
    export_training_case(folder, a_chest(), labels, machine, PROVENANCE)
    export_training_case(folder, a_chest(1), labels, labels, PROVENANCE)
    return folder


@pytest.fixture(scope="module")
def compared_set(
    new_set: Path, models: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same, after the first two models have run."""
    folder = tmp_path_factory.mktemp("compared") / "set"
    shutil.copytree(new_set, folder)
    rank_training_set(folder, (), "cpu", models=models[:2])
    return folder


@pytest.fixture
def training_set(compared_set: Path, tmp_path: Path) -> Path:
    """A copy of it for one test; copies keep the files' times."""
    return Path(shutil.copytree(compared_set, tmp_path / "set"))


def case_files(dataset: Path) -> list[Path]:
    return [dataset / name / "ct.nrrd" for name in ("case_0001", "case_0002")]


def runs_of(dataset: Path, scans: list[Path], models: list[str]) -> set[str]:
    """Of which scans ("Scan 1", …) the networks are run, for the figures are not known."""
    said: list[str] = []
    find_disagreements(dataset, scans, "cpu", lambda _, message: said.append(message), models)
    return {text.partition(" of ")[0] for text in said if "segmenting slice" in text}


def test_the_models_are_compared_as_a_reader_would_see_them(training_set: Path, models: list[str]):
    known = DisagreementCache(training_set, models[:2]).known(case_files(training_set)[0])
    ct = a_chest()
    first, second = (
        quantify(ct, Options(device="cpu", model=model, lobes="none")).labels
        for model in models[:2]
    )
    assert known == disagreement_of(first, second, ct.geometry.voxel_volume_ml)
    assert known.disputed_ml > 0


def test_figures_are_kept_for_the_same_scan_and_weights_only(
    training_set: Path, models: list[str], tmp_path: Path
):
    scans = case_files(training_set)
    assert runs_of(training_set, scans, models[:2]) == set()

    # The same voxels in another file and orientation are the same scan …
    ct = a_chest()
    copied = tmp_path / "elsewhere.nrrd"
    turned = Geometry(SHAPE, SPACING_MM, (0.0, 0.0, 0.0), np.diag([-1.0, -1.0, 1.0]))
    write_image(copied, ct.hu[:, ::-1, ::-1], turned)
    assert runs_of(training_set, [copied], models[:2]) == set()
    # … another voxel, another voxel size and other weights are not.
    cache, scan_sha256 = DisagreementCache(training_set, models[:2]), voxels_sha256(ct.hu)
    assert cache.of_scan(scan_sha256, SPACING_MM) == cache.known(scans[0]) is not None
    assert cache.of_scan(scan_sha256, (7.0, 7.0, 14.0)) is None
    assert DisagreementCache(training_set, models[1:]).of_scan(scan_sha256, SPACING_MM) is None
    assert DisagreementCache(training_set, models[1::-1]).known(scans[0]) is None
    other = ct.hu.copy()
    other[10, 20, 20] += 1
    write_image(scans[0], other, ct.geometry)
    assert DisagreementCache(training_set, models[:2]).known(scans[0]) is None
    assert runs_of(training_set, scans, models[:2]) == {"Scan 1"}


def test_what_another_version_found_is_not_used(
    training_set: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
):
    scan = case_files(training_set)[0]
    assert DisagreementCache(training_set, models[:2]).known(scan) is not None
    monkeypatch.setattr(disagreement_cache, "__version__", "99.0")
    assert DisagreementCache(training_set, models[:2]).known(scan) is None


def test_cancelling_keeps_what_is_done(new_set: Path, models: list[str], tmp_path: Path):
    def cancel_in_the_second(fraction: float, message: str) -> None:
        if message.startswith("Scan 2") and not message.endswith("reading"):
            raise Cancelled("Cancelled.")

    dataset = shutil.copytree(new_set, tmp_path / "set")
    with pytest.raises(Cancelled):
        rank_training_set(dataset, (), "cpu", cancel_in_the_second, models[:2])
    known = ranked_by_what_is_known(dataset, models[:2])
    assert {case.name: case.disagreement is not None for case in known} == {
        "case_0001": True,
        "case_0002": False,
    }


def test_candidates_are_ranked_by_number_and_known_cases_left_out(
    training_set: Path, models: list[str], tmp_path: Path, monkeypatch: Any, capsys: Any
):
    monkeypatch.setattr(disagreement_cache, "COMPARED_MODELS", tuple(models[:2]))
    monkeypatch.setenv(USER_MODELS_VARIABLE, str(tmp_path / "models"))
    folder = tmp_path / "Doe^Jane"
    folder.mkdir()
    ct = a_chest()
    # The first is case_0001 already.
    write_image(folder / "a.nrrd", ct.hu, ct.geometry)
    write_image(folder / "b.nrrd", a_chest(7).hu, ct.geometry)
    (folder / "c.nrrd").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not looked at", encoding="utf-8")

    line = ["training-set", str(training_set), "--candidates", str(folder), "--device", "cpu"]
    assert main([*line, "--no-models"]) == 2
    assert main(line) == 0

    printed = capsys.readouterr().out
    assert "scan 2 is b.nrrd" in printed and "this one next" in printed
    assert "scan 1" not in printed and "scan 3 is c.nrrd" in printed
    # It needs no model any more.
    rows = rank_training_set(training_set, scans_in(folder), "cpu", models=models[:2])
    by_name = {row.name: row for row in rows}
    assert set(by_name) == {"case_0001", "case_0002", "scan 2", "scan 3"}
    assert by_name["scan 2"].state == CANDIDATE
    assert by_name["scan 2"].expected_gain_ml == by_name["scan 2"].disputed_ml > 0
    assert by_name["scan 3"].disagreement is None and "c.nrrd" in by_name["scan 3"].next_step
    gains = [row.expected_gain_ml for row in rows[:-1]]
    assert gains == sorted(gains, reverse=True)

    page = (training_set / "training-set.html").read_text(encoding="utf-8")
    kept = (training_set / CACHE_FILE_NAME).read_text(encoding="utf-8")
    assert "scan 2" in page
    for secret in ("Doe", "b.nrrd", "c.nrrd", str(tmp_path)):
        assert secret not in kept and secret not in page


def test_the_scans_of_a_folder(tmp_path: Path):
    with pytest.raises(BadInputError, match="is empty"):
        scans_in(tmp_path)
    with pytest.raises(BadInputError, match="cannot be looked into"):
        scans_in(tmp_path / "nothing")
    (tmp_path / "slice1").write_bytes(b"")
    assert scans_in(tmp_path) == [tmp_path]
    (tmp_path / "case" / ".hidden").mkdir(parents=True)
    (tmp_path / "case" / "ct.nrrd").write_bytes(b"")
    (tmp_path / "dicom").mkdir()
    (tmp_path / "labels.seg.nrrd").write_bytes(b"")
    assert scans_in(tmp_path) == [tmp_path / "case" / "ct.nrrd", tmp_path / "dicom"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_known_is_ranked_without_a_model(
    compared_set: Path, tmp_path: Path, models: list[str], layout: str
):
    labels = chest_phantom(SHAPE, SPACING_MM).labels
    export_training_case(tmp_path, a_chest(1), labels, labels, PROVENANCE, layout=layout)
    (before,) = ranked_by_what_is_known(tmp_path, models[:2])
    assert before.disagreement is None and before.next_step == NOT_COMPARED
    shutil.copy(compared_set / CACHE_FILE_NAME, tmp_path)
    (ranking,) = rank_training_set(tmp_path, (), "cpu", models=models[:2])
    assert ranked_by_what_is_known(tmp_path, models[:2]) == [ranking]
    assert ranking.expected_gain_ml == ranking.disputed_ml > 0


def test_a_damaged_cache_is_refused_in_one_sentence(training_set: Path, models: list[str]):
    scan = case_files(training_set)[0]
    file = training_set / CACHE_FILE_NAME
    content = json.loads(file.read_text(encoding="utf-8"))
    refusals = 0
    for path in places(content):
        for value in ODD_VALUES:
            odd = changed(copy.deepcopy(content), path, value)
            file.write_text(json.dumps(odd), encoding="utf-8")
            try:
                found = DisagreementCache(training_set, models[:2]).known(scan)
            except BadInputError as error:
                assert is_one_sentence(str(error)) and "delete it" in str(error)
                refusals += 1
            else:
                assert found is None or isinstance(found, Disagreement)
    assert refusals > 50
