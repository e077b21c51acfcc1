"""The table as CSV and JSON."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from small_chest import MODEL_NAME, a_label_map, a_quantification

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.measures.columns import column_keys
from CovidLungQuantLib.measures.measurements import table_rows
from CovidLungQuantLib.outputs.table import result_dict, write_measurements_csv, write_result_json

AGREED_COLUMNS = (
    "region,volume_ml,normal_ml,ggo_ml,high_opacity_ml,lesion_ml,"
    "ggo_percent,high_opacity_percent,lesion_percent,mean_hu,sd_hu"
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_columns_begin_as_agreed_and_end_in_warnings(tmp_path: Path):
    write_measurements_csv(tmp_path / "m.csv", a_quantification())

    header = (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()[0]

    assert header.startswith(AGREED_COLUMNS + ",")
    assert header == ",".join(column_keys()) + ",warnings"


def test_every_number_is_read_back_bit_for_bit(tmp_path: Path):
    quantification = a_quantification()
    write_measurements_csv(tmp_path / "m.csv", quantification)

    rows = rows_of(tmp_path / "m.csv")

    assert [row["region"] for row in rows] == ["both lungs", "right lung", "left lung"]
    compared = 0
    for row, measured in zip(rows, table_rows(quantification.measurements), strict=True):
        for column in column_keys()[1:]:
            value = measured[column]
            if not math.isnan(value):
                assert float(row[column]) == value
                compared += 1
    assert compared > 40


def test_nan_is_an_empty_cell_and_null(tmp_path: Path):
    no_lesion = np.minimum(a_label_map(), 1).astype(np.uint8)
    quantification = a_quantification(labels=no_lesion)
    write_measurements_csv(tmp_path / "m.csv", quantification)

    both = rows_of(tmp_path / "m.csv")[0]

    assert (both["ggo_mean_hu"], both["ggo_percent"]) == ("", "0.0")
    measured = result_dict(quantification)["measurements"][0]
    assert measured["ggo_mean_hu"] is None
    assert measured["ggo_percent"] == 0.0


def test_warnings_reach_every_row_once(tmp_path: Path):
    warnings = (ScanWarning("a", "A."), ScanWarning("b", "B."), ScanWarning("a", "A again."))
    quantification = replace(a_quantification(), warnings=warnings)
    write_measurements_csv(tmp_path / "m.csv", quantification)

    assert [row["warnings"] for row in rows_of(tmp_path / "m.csv")] == ["a;b"] * 3


def test_json_says_what_made_the_numbers(tmp_path: Path):
    quantification = a_quantification()
    write_result_json(tmp_path / "r.json", quantification)

    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))

    assert result["scan"] == "small chest"
    assert result["disclaimer"] == DISCLAIMER
    assert result["provenance"]["model_name"] == MODEL_NAME
    assert result["provenance"]["model_sha256"] == "ab" * 32
    assert result["provenance"]["timings_s"] == {"all": 1.5}
    assert result["warnings"][0]["code"] == "thick_slices"
    assert set(result["versions"]) >= {"covidlungquant", "python", "numpy", "SimpleITK", "torch"}
    assert result["geometry"]["size_xyz"] == [24, 20, 12]
    assert result["geometry"]["origin_mm_lps"] == [10.3, -20.7, 1000 / 3]
    both = quantification.measurements.regions[0]
    assert result["measurements"][0]["lesion_percent"] == both.lesion_percent
    assert result["notes"] == list(quantification.measurements.notes)


def test_json_holds_no_path_of_the_model():
    quantification = a_quantification()
    options = {"device": "cpu", "model": "/home/someone/models/own.pt"}
    provenance = replace(quantification.provenance, options=options)

    result = result_dict(replace(quantification, provenance=provenance))

    assert result["provenance"]["options"]["model"] == "own.pt"
    assert options["model"].startswith("/home")
    assert "/home" not in json.dumps(result)


def test_the_same_quantification_gives_the_same_bytes(tmp_path: Path):
    for name in ("1", "2"):
        write_measurements_csv(tmp_path / f"{name}.csv", a_quantification())
        write_result_json(tmp_path / f"{name}.json", a_quantification())

    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
