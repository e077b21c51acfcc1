"""CSV and JSON: exact numbers, and nothing where a number is not known."""

from __future__ import annotations

import json
import math

from CovidLungQuantLib.files.tables import (
    none_for_nan,
    replace_text,
    write_csv,
    write_json,
    write_study_json,
)
from CovidLungQuantLib.labels import DISCLAIMER


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
