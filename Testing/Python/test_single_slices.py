"""Cases of a single slice in a training: made from arrays, drawn as often as asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from small_model import SMALL_CONFIG
from test_train_command import a_config_file, a_dataset
from test_training import scan_with_lesion, small_training

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.training.batches import CaseVariants
from CovidLungQuantLib.training.config import CONFIG_FILE_NAME
from CovidLungQuantLib.training.data import AnnotatedScan, read_case
from research.slice_cases import write_slice_cases


def a_slice(name: str) -> AnnotatedScan:
    scan = scan_with_lesion()
    middle = slice(len(scan.hu) // 2, len(scan.hu) // 2 + 1)
    return AnnotatedScan(name, scan.hu[middle], scan.labels[middle], scan.spacing_mm)


def names_drawn(cases: CaseVariants, count: int) -> list[str]:
    random = np.random.default_rng(0)
    return [cases.draw(random).name for _ in range(count)]


def test_many_single_slices_together_are_drawn_as_often_as_asked_for():
    scans = [scan_with_lesion(), *(a_slice(f"slice {number}") for number in range(30))]
    drawn = names_drawn(CaseVariants(scans, SMALL_CONFIG, single_slice_share=0.25), 2000)
    shares = [name.startswith("slice") for name in drawn]
    assert np.mean(shares) == pytest.approx(0.25, abs=0.03)
    assert len(set(drawn)) == 31


def test_with_none_or_nothing_but_single_slices_all_are_drawn():
    only = CaseVariants([a_slice("slice")], SMALL_CONFIG, single_slice_share=0.25)
    assert set(names_drawn(only, 20)) == {"slice"}
    scan = scan_with_lesion()
    assert set(names_drawn(CaseVariants([scan], SMALL_CONFIG), 20)) == {scan.name}


def test_slices_become_cases_with_soft_tissue_of_unknown_place_around_them(tmp_path):
    hu = np.arange(20 * 40, dtype=np.int16).reshape(20, 40) - 900
    labels = (np.arange(20 * 40) % 4).astype(np.uint8).reshape(20, 40)
    (tmp_path / "slices").mkdir()
    np.savez_compressed(tmp_path / "slices" / "one.npz", hu=hu, labels=labels)
    assert write_slice_cases(tmp_path / "slices", tmp_path / "cases") == 1
    case = read_case(tmp_path / "cases", "one")
    assert case.hu.shape == (1, 20 + 2 * 3, 40 + 2 * 6)
    np.testing.assert_array_equal(case.hu[0, 3:-3, 6:-6], hu)
    np.testing.assert_array_equal(case.labels[0, 3:-3, 6:-6], labels)
    assert set(case.labels[0, :3].ravel()) == {255} and set(case.hu[0, :, -6:].ravel()) == {30}
    with pytest.raises(BadInputError, match="No slices"):
        write_slice_cases(tmp_path / "cases", tmp_path / "more")


def test_cases_of_another_training_set_are_never_left_out(tmp_path):
    dataset = a_dataset(tmp_path / "data")
    other = a_dataset(tmp_path / "other", ("four", "five"))
    config = a_config_file(tmp_path, replace(small_training(1), steps_per_epoch=1))
    run = tmp_path / "run"
    command = ["train", str(dataset), "-o", str(run), "--config", str(config)]
    assert main([*command, "--also", str(other), "--fold", "0", "--device", "cpu"]) == 0
    scans = json.loads((run / CONFIG_FILE_NAME).read_text(encoding="utf-8"))["scans"]
    assert scans["cases"] == ["three", "two", "five", "four"]


def test_another_training_set_without_cases_is_refused(tmp_path, capsys):
    dataset = a_dataset(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    run = tmp_path / "run"
    command = ["train", str(dataset), "-o", str(run), "--also", str(tmp_path / "empty")]
    assert main(command) == 2
    assert "No case" in capsys.readouterr().err
    assert not run.exists()
