"""Ablation tables: every model on the same left-out cases, under the name of what was left out."""

from __future__ import annotations

import csv

import pytest
from small_model import small_model
from test_train_command import a_dataset

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.training.data import read_case
from research import ablation
from research.robustness import lesion_dice


def test_the_table_holds_each_models_dice_on_the_fold(tmp_path, monkeypatch):
    dataset = a_dataset(tmp_path / "data", ("one", "two", "three"))
    for seed in (0, 1):
        save_model(tmp_path / f"{seed}.pt", small_model(seed).network)
    arguments = ["ablation", str(dataset), "--fold", "1", "-o", str(tmp_path / "table.csv")]
    arguments += [f"everything={tmp_path / '0.pt'}", f"the rest={tmp_path / '1.pt'}"]
    monkeypatch.setattr("sys.argv", arguments)
    ablation.main()
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # Of one, three and two the second in order of name.
    assert [row["case"] for row in rows] == ["three"]
    scan = read_case(dataset, "three")
    for name, seed in (("everything", 0), ("the rest", 1)):
        expected = lesion_dice(scan, load_model(str(tmp_path / f"{seed}.pt")))
        assert float(rows[0][name]) == expected


def test_cases_of_one_patient_are_left_out_together(tmp_path, monkeypatch):
    dataset = a_dataset(tmp_path / "data", ("one", "two", "three"))
    (dataset / "manifest.csv").write_text(
        "case,patient_group\none,one\nthree,one\ntwo,two\n", encoding="utf-8"
    )
    save_model(tmp_path / "model.pt", small_model().network)
    arguments = ["ablation", str(dataset), "--fold", "0", "--folds", "2"]
    arguments += ["-o", str(tmp_path / "table.csv"), f"everything={tmp_path / 'model.pt'}"]
    monkeypatch.setattr("sys.argv", arguments)
    ablation.main()
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["one", "three"]


def test_without_the_whole_recipe_nothing_is_written(tmp_path, monkeypatch):
    dataset = a_dataset(tmp_path / "data", ("one", "two", "three"))
    arguments = ["ablation", str(dataset), "--fold", "1", "-o", str(tmp_path / "table.csv")]
    monkeypatch.setattr("sys.argv", [*arguments, "the rest=x.pt"])
    with pytest.raises(BadInputError, match="everything"):
        ablation.main()
    assert not (tmp_path / "table.csv").exists()
