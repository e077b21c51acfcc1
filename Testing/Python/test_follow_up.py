"""Changes from scan to scan: exact numbers, and what does not compare."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_chest import LUNG_VOXELS, VOXEL_ML, a_quantification, labels_at

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.cohort.follow_up import follow_up
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.measures.change import FOLLOWED_REGIONS, changes
from CovidLungQuantLib.measures.columns import followed_columns
from CovidLungQuantLib.outputs.folder import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three results with lobes, beside each other."""
    folder = tmp_path_factory.mktemp("results")
    for index, name in enumerate(("first", "second", "third")):
        write_results(folder / name, a_quantification(labels=labels_at(index), lobes=True))
    return folder


def changed_result(results: Path, target: Path, **provenance: Any) -> Path:
    """A copy of the first result that something else made."""
    result = json.loads((results / "first" / "result.json").read_text(encoding="utf-8"))
    result["provenance"] |= provenance
    target.mkdir()
    (target / "result.json").write_text(json.dumps(result))
    return target


def test_changes_are_later_minus_earlier_in_ml_and_percentage_points(results: Path):
    found = follow_up([results / name for name in ("first", "second", "third")], [0, 7, 21])

    ggo = found.change("both lungs", "ggo_ml")
    assert ggo.values == pytest.approx([48 * VOXEL_ML, 96 * VOXEL_ML, 12 * VOXEL_ML])
    assert ggo.from_previous == pytest.approx([48 * VOXEL_ML, -84 * VOXEL_ML])
    assert ggo.from_first == pytest.approx(-36 * VOXEL_ML)
    assert (ggo.unit, ggo.change_unit) == ("mL", "mL")
    extent = found.change("both lungs", "ggo_percent")
    assert extent.from_previous[0] == pytest.approx(100 * 48 / LUNG_VOXELS)
    assert extent.change_unit == "percentage points"
    assert found.change("both lungs", "volume_ml").from_previous == (0.0, 0.0)
    assert found.regions == FOLLOWED_REGIONS
    assert len(found.changes) == len(followed_columns()) * len(FOLLOWED_REGIONS)
    lobes = [found.change(region, "ggo_ml") for region in FOLLOWED_REGIONS[3:]]
    assert sum(lobe.from_first for lobe in lobes) == pytest.approx(ggo.from_first)


def test_what_is_undefined_stays_so():
    rows = a_quantification().measurements.regions
    empty = [replace(row, lesion_percent=math.nan) for row in rows]
    item = next(item for item in changes([rows, empty, rows]) if item.measure == "lesion_percent")
    assert math.isnan(item.from_previous[0]) and math.isnan(item.from_previous[1])
    assert item.from_first == 0.0


def test_the_same_rules_give_no_warning_of_differences(results: Path):
    found = follow_up([results / "first", results / "second"])
    assert not [text for text in found.warnings if "ifferent" in text]


def test_other_kinds_are_refused_and_warned_of_where_compared_anyway(results: Path, tmp_path: Path):
    density = changed_result(results, tmp_path / "a", options={"kinds": "density"})
    network = changed_result(results, tmp_path / "b", options={"kinds": "network"})
    with pytest.raises(BadInputError, match=r"a by density, b by network.*--anyway"):
        follow_up([density, network])
    assert "mean little" in follow_up([density, network], anyway=True).warnings[0]


@pytest.mark.parametrize(
    ("provenance", "says"),
    [
        ({"model_sha256": "cd" * 32, "model_name": "other"}, "Different models"),
        ({"model_sha256": None, "model_name": None}, "given by a person"),
        ({"software_version": "99"}, "Different software versions"),
        ({"options": {"vessels": "remove"}}, "The option vessels differs"),
        ({"lesion_margin": 0.25}, "The sensitivity to lesions differs (margins 0.4, 0.25)"),
        ({"options": {"changed_voxels": 47}}, "Corrected by hand: other, but not the others"),
    ],
)
def test_whatever_else_differs_is_warned_of(
    results: Path, tmp_path: Path, provenance: dict[str, Any], says: str
):
    other = changed_result(results, tmp_path / "other", **provenance)
    assert any(says in text for text in follow_up([results / "first", other]).warnings)


def test_another_depth_of_inspiration_is_warned_of(results: Path, tmp_path: Path):
    result = json.loads((results / "first" / "result.json").read_text(encoding="utf-8"))
    result["measurements"][0]["volume_ml"] *= 1.3
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "result.json").write_text(json.dumps(result))
    (warning,) = [
        text
        for text in follow_up([results / "first", tmp_path / "deep"]).warnings
        if "inspiration" in text
    ]
    assert "+30 % from first to deep" in warning


def test_a_result_without_lobes_compares_by_lung(results: Path, tmp_path: Path):
    write_results(tmp_path / "plain", a_quantification())
    found = follow_up([results / "first", tmp_path / "plain"])
    assert found.regions == FOLLOWED_REGIONS[:3]
    assert any("plain has no lobes" in text for text in found.warnings)


def test_what_cannot_be_compared_is_refused(results: Path, tmp_path: Path):
    first, second = results / "first", results / "second"
    for arguments, says in (
        (([first],), "at least two"),
        (([first, tmp_path],), "holds no result"),
        (([first, second], [0]), "one day for each"),
        (([first, second], [3, 3]), "do not rise"),
    ):
        with pytest.raises(BadInputError, match=says):
            follow_up(*arguments)


def test_the_command_writes_table_and_page(results: Path, tmp_path: Path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folders = [str(results / name) for name in ("first", "second", "third")]
    out = tmp_path / "change"
    assert main(["compare", *folders, "--days", "0,7,21", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "both lungs" in shown and "right upper lobe" in shown and DISCLAIMER in shown
    with (out / "change.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (row,) = [r for r in rows if (r["region"], r["measure"]) == ("both lungs", "ggo_ml")]
    assert float(row["change_2_to_3"]) == pytest.approx(-84 * VOXEL_ML)
    assert float(row["change_first_to_last"]) == pytest.approx(-36 * VOXEL_ML)
    page = (out / "change.html").read_text(encoding="utf-8")
    assert DISCLAIMER in page and "data:image/svg+xml" in page
    assert 'src="http' not in page and 'href="http' not in page
    assert main(["compare", *folders, "-o", str(tmp_path / "plain"), "--no-figures"]) == 0
    assert "data:image" not in (tmp_path / "plain" / "change.html").read_text(encoding="utf-8")


def test_days_that_are_none_are_refused(results: Path, tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(results / "first"), "--days", "a,b", "-o", str(tmp_path / "x")])
    assert stop.value.code == 2 and "--days" in capsys.readouterr().err
