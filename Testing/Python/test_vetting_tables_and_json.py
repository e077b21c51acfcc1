"""Tables and JSON from outside: limits, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from CovidLungQuantLib.cohort.evaluation import forget_inferred_classes
from CovidLungQuantLib.cohort.follow_up import read_time_point
from CovidLungQuantLib.cohort.reader_tables import read_reader_tables
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.training.dataset import patient_groups
from CovidLungQuantLib.training.export_list import read_list
from CovidLungQuantLib.training.fine_tuning_runs import cancel_fine_tuning, status_lines
from CovidLungQuantLib.training.nnunet import nnunet_case
from CovidLungQuantLib.vetting import (
    parse_csv_rows,
    parse_json,
    read_csv_dicts,
    read_csv_rows,
    read_json,
)

WRONG_JSON = {
    "deep lists": "[" * 100_000,
    "deep objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "NaN": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "a key twice": '{"a": 1, "a": 2}',
    "a list": "[1, 2]",
    "a number": "3",
    "nothing": "",
    "half": '{"a": 1',
    "digits": '{"a": ' + "9" * 5000 + "}",
    "more": "{} {}",
}


@pytest.mark.parametrize("text", WRONG_JSON.values(), ids=WRONG_JSON)
def test_json_that_is_not_sound_is_refused_at_each_door(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError, match="JSON"):
        parse_json(text, "a.json")
    for name in ("result.json", "dataset.json", "case.json"):
        (tmp_path / name).write_text(text)
    for read in (
        lambda: read_time_point(tmp_path),
        lambda: nnunet_case(tmp_path, "a"),
        lambda: forget_inferred_classes(None, tmp_path / "labels.nrrd"),
    ):
        with pytest.raises(BadInputError) as refused:
            read()
        assert "\n" not in str(refused.value)


def test_sound_json_is_read_as_it_stands(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, "{[{[", 'a"\\"[[', None, True], "b": {"c": {}}, "ä": "µ"}
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_json(tmp_path / "a.json") == content
    assert parse_json('{"a": NaN}', "a", nan_allowed=True)["a"] != 0
    deepest = '{"a":' * 64 + "1" + "}" * 64
    assert parse_json(deepest, "a")
    with pytest.raises(BadInputError, match="64 levels"):
        parse_json(f'{{"a":{deepest}}}', "a")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("measurements", [{"region": "both lungs", "volume_ml": "4000"}]),
        ("measurements", [{"region": 3}]),
        ("measurements", "none"),
        ("provenance", "none"),
        ("provenance", {"options": "none"}),
        ("warnings", ["none"]),
        ("warnings", 3),
    ],
)
def test_a_result_of_wrong_types_is_refused(tmp_path: Path, key: str, value: object) -> None:
    result = {"measurements": [], "provenance": {}, "warnings": []} | {key: value}
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(BadInputError, match="holds no result of this software"):
        read_time_point(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["background"]},
        {"labels": {"GGO": [2]}},
        {"labels": {"GGO": "two"}},
        {"labels": 3},
        {"file_ending": 3},
        {"file_ending": ["a"]},
        {"file_ending": "/../secret"},
    ],
)
def test_an_odd_nnunet_description_is_refused(tmp_path: Path, change: dict) -> None:
    information = {"labels": {"background": 0, "GGO": 2}, "file_ending": ".nii.gz"} | change
    (tmp_path / "dataset.json").write_text(json.dumps(information))
    with pytest.raises(BadInputError):
        nnunet_case(tmp_path, "a")


@pytest.mark.parametrize("slices", [["a"], [1.5], [True], [[1]], [10**30], 3, {"a": 1}])
def test_odd_slices_of_a_case_are_refused(tmp_path: Path, slices: object) -> None:
    (tmp_path / "case.json").write_text(json.dumps({"class_inferred_slices": slices}))
    with pytest.raises(BadInputError, match="does not list slices"):
        forget_inferred_classes(None, tmp_path / "labels.nrrd")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", "{"),
        ("plan.json", "{}"),
        ("plan.json", json.dumps({"name": 3})),
        ("state.json", "[]"),
        ("state.json", '{"state": "asleep", "message": "", "exit_code": 0}'),
        ("state.json", '{"state": "failed", "message": 3, "exit_code": "x"}'),
        ("training/training.jsonl", '{"loss": "x"}\n'),
        ("training/training.jsonl", "[[[\n"),
    ],
)
def test_one_damaged_run_does_not_hide_the_others(
    tmp_path: Path, monkeypatch, name: str, content: str
) -> None:
    from CovidLungQuantLib.training import fine_tuning_runs

    monkeypatch.setattr(fine_tuning_runs, "user_models_folder", lambda: tmp_path)
    plan = {
        "dataset": "", "start_from": "", "models_folder": str(tmp_path), "device": "cpu",
        "held_back": [], "trained_on": [], "same_patient": [], "epochs": 2,
    }  # fmt: skip
    for run in ("good", "wrong"):
        folder = tmp_path / "fine-tuning" / run
        (folder / "training").mkdir(parents=True)
        (folder / "plan.json").write_text(json.dumps(plan | {"name": run}))
    (folder / name).write_text(content)
    good, wrong = status_lines()
    assert good.startswith("good") and "0 %" in good
    assert wrong.startswith("wrong") and "cannot be read" in wrong
    with pytest.raises(BadInputError, match="is running"):
        cancel_fine_tuning("none")


WRONG_TABLES = {
    "wide": "case,automatic,reader1\n" + "A" * 200_000 + ",1,2\n",
    "long cells": "case,automatic,reader1\n" + "A" * 100_000 + ",1,2\n",
    "null": "case,automatic,reader1\na\0,1,2\n",
    "control": "case,automatic,reader1\na\x1b[2J,1,2\n",
    "open quote": 'case,automatic,reader1\n"' + "a,1,2\n" * 40_000,
    "columns": "case," * 20_000 + "\n",
}


@pytest.mark.parametrize("text", WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_tables_that_are_none_are_refused_at_each_door(tmp_path: Path, text: str) -> None:
    for name in ("readers.csv", "manifest.csv", "list.csv"):
        (tmp_path / name).write_text(text)
    for read in (
        lambda: read_reader_tables(tmp_path / "readers.csv"),
        lambda: patient_groups(tmp_path),
        lambda: read_list(tmp_path / "list.csv"),
        lambda: read_csv_rows(tmp_path / "readers.csv"),
    ):
        with pytest.raises(BadInputError) as refused:
            read()
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_table_is_read_by_lines_and_by_names(tmp_path: Path) -> None:
    text = 'a,b,c\r\n1,"two\nlines",\n\n3\n4,5,6,7\r'
    (tmp_path / "a.csv").write_text(text, newline="")
    assert parse_csv_rows(text, "a.csv") == [
        (1, ["a", "b", "c"]),
        (3, ["1", "two\nlines", ""]),
        (5, ["3"]),
        (6, ["4", "5", "6", "7"]),
    ]
    assert read_csv_dicts(tmp_path / "a.csv") == [
        {"a": "1", "b": "two\nlines", "c": ""},
        {"a": "3", "b": "", "c": ""},
        {"a": "4", "b": "5", "c": "6"},
    ]
    (tmp_path / "a.csv").write_text("")
    assert read_csv_dicts(tmp_path / "a.csv") == read_csv_rows(tmp_path / "a.csv") == []
