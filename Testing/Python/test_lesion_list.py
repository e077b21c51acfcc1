"""The lesions one by one in the files of a result: table and report."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_chest import a_ct, a_label_map, a_quantification

from CovidLungQuantLib.labels import GGO
from CovidLungQuantLib.outputs.lesion_list import COLUMNS, write_lesions_csv
from CovidLungQuantLib.outputs.report import report_html
from CovidLungQuantLib.outputs.table import write_result_json
from CovidLungQuantLib.quantification import Quantification


def with_larger_lesions() -> Quantification:
    """One lesion of 4 × 8 × 6 voxels of GGO, in the lung at low x, of probability 204 of 255."""
    labels = a_label_map()
    labels[labels > GGO.value] = 1
    labels[3:7, 5:13, 4:10] = GGO.value
    probability = np.where(labels == GGO.value, np.uint8(204), np.uint8(0))
    return replace(a_quantification(labels=labels, lobes=True), lesion_probability=probability)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_lesion_has_a_row_with_its_place_in_voxels_and_millimetres(tmp_path: Path):
    quantification = with_larger_lesions()
    write_lesions_csv(tmp_path / "lesions.csv", quantification)
    (row,) = rows_of(tmp_path / "lesions.csv")
    assert tuple(row) == COLUMNS
    geometry = a_ct().geometry
    assert (row["number"], row["side"], row["kind"]) == ("1", "left", "GGO")
    assert row["lobe"] in ("LUL", "LLL")
    assert float(row["volume_ml"]) == pytest.approx(192 * geometry.voxel_volume_ml)
    assert float(row["ggo_ml"]) == float(row["volume_ml"])
    assert float(row["high_opacity_ml"]) == 0.0
    inside = quantification.labels == GGO.value
    assert float(row["mean_hu"]) == pytest.approx(quantification.ct.hu[inside].mean())
    assert float(row["confidence"]) == pytest.approx(0.8)
    place = tuple(int(row[f"voxel_{axis}"]) for axis in "zyx")
    assert quantification.labels[place] == GGO.value
    expected_mm = geometry.ijk_to_lps @ [*place[::-1], 1.0]
    assert [float(row[name]) for name in ("l_mm", "p_mm", "s_mm")] == pytest.approx(expected_mm[:3])


def test_without_probability_confidence_is_empty_and_without_lesion_there_is_no_row(
    tmp_path: Path,
):
    write_lesions_csv(tmp_path / "a.csv", replace(with_larger_lesions(), lesion_probability=None))
    assert [row["confidence"] for row in rows_of(tmp_path / "a.csv")] == [""]
    healthy = np.minimum(a_label_map(), 1).astype(np.uint8)
    write_lesions_csv(tmp_path / "b.csv", a_quantification(labels=healthy))
    assert rows_of(tmp_path / "b.csv") == []


def test_the_report_lists_lesions_and_says_what_the_reader_did(tmp_path: Path):
    quantification = with_larger_lesions()
    page = report_html(quantification)
    assert "<h2>Lesions</h2>" in page
    assert "<td>80</td>" in page
    assert "1 connected lesions" not in page
    assert "Sensitivity" not in page
    record = [{"decision": "rejected", "reason": "vessel"}]
    assert quantification.provenance is not None
    provenance = replace(quantification.provenance, lesion_margin=0.25, review=record)
    reviewed = replace(quantification, provenance=provenance)
    page = report_html(reviewed)
    assert "more than 0.25 times as probable" in page and "the default is 0.4" in page
    assert "Lesions reviewed: 1 rejected (vessel 1)." in page
    write_result_json(tmp_path / "result.json", reviewed)
    stored = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["provenance"]
    assert (stored["lesion_margin"], stored["review"]) == (0.25, record)
