"""CSV and JSON: exact numbers, and nothing where a number is not known."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
from small_chest import a_quantification

from CovidLungQuantLib.files.cohort_tables import read_delimited
from CovidLungQuantLib.files.tables import (
    cell_text,
    none_for_nan,
    replace_text,
    write_csv,
    write_json,
    write_study_json,
)
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.training.export import export_training_case


def test_a_table_holds_exact_numbers_and_empty_cells(tmp_path):
    write_csv(tmp_path / "a.csv", [{"name": "é", "ml": 0.1 + 0.2}, {"name": "b", "ml": math.nan}])
    text = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    assert text == "name,ml\né,0.30000000000000004\nb,\n"


def test_a_table_without_rows_has_its_columns(tmp_path):
    write_csv(tmp_path / "a.csv", [], ["case", "dice"])
    assert (tmp_path / "a.csv").read_text() == "case,dice\n"


def test_json_has_null_for_what_is_not_known(tmp_path):
    content = {"a": math.nan, "b": [1.5, (math.nan, "é")]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == none_for_nan(content) == {"a": None, "b": [1.5, [None, "é"]]}
    assert "é" in text and text.endswith("}\n")


def test_a_study_says_what_it_is_and_what_made_it(tmp_path):
    write_study_json(tmp_path / "a.json", {"cases": []})
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert list(content) == ["disclaimer", "cases", "versions"]
    assert content["disclaimer"] == DISCLAIMER


def test_text_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "a.json").write_text("old")
    replace_text(tmp_path / "a.json", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "new"


RUN_BY_A_SPREADSHEET = [
    '=HYPERLINK("http://x","y")',
    "=1+1",
    "+SUM(1)",
    "-cmd|'/c calc'!A0",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "'=1+1",
    "''=1+1",
    "-",
    "+1_0",
    "-1.5 mL",
]
LEFT_AS_THEY_ARE = ["", "a=b", "'quoted'", "case-1", "-650.5", "+3", "-1e-5", "-.5", " =1", "é"]


def test_a_text_is_never_a_formula_and_comes_back(tmp_path):
    texts = [*RUN_BY_A_SPREADSHEET, *LEFT_AS_THEY_ARE]
    write_csv(tmp_path / "a.csv", [{"text": text, "=name": 1} for text in texts])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["text", "'=name"]
    assert [cell_text(name) for name in header] == ["text", "=name"]
    stored = [row[0] for row in rows]
    assert [cell_text(text) for text in stored] == texts
    assert stored[: len(RUN_BY_A_SPREADSHEET)] == [f"'{text}" for text in RUN_BY_A_SPREADSHEET]
    assert stored[len(RUN_BY_A_SPREADSHEET) :] == LEFT_AS_THEY_ARE


def test_numbers_below_zero_stay_numbers(tmp_path):
    write_csv(tmp_path / "a.csv", [{"mean_hu": -812.5, "count": -3, "share": np.float32(-0.5)}])
    assert (tmp_path / "a.csv").read_text() == "mean_hu,count,share\n-812.5,-3,-0.5\n"


def test_a_readers_name_in_a_manifest_is_no_formula(tmp_path):
    quantification = a_quantification()
    export_training_case(
        tmp_path / "set", quantification.ct, quantification.labels, reader="=cmd()"
    )
    with (tmp_path / "set" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["reader"] == "'=cmd()" and cell_text(row["reader"]) == "=cmd()"
    record = json.loads((tmp_path / "set" / "case_0001" / "case.json").read_text())
    assert record["reader"] == "=cmd()"


def test_a_table_of_this_software_is_read_with_its_own_texts(tmp_path):
    write_csv(
        tmp_path / "a.csv", [{"case": "=a", "software": -1.5}, {"case": "'=b", "software": 2}]
    )
    _, rows = read_delimited(tmp_path / "a.csv")
    assert [row["case"] for _, row in rows] == ["=a", "'=b"]
