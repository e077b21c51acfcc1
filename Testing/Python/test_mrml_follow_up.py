"""Scans over time in Slicer's real scene: order, exact changes, curves, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.mrml.follow_up import (
    change_table_of,
    change_tables,
    changes_from_node,
    compare_tables,
    follow_up_to_node,
    is_out_of_date,
)
from CovidLungQuantLib.mrml.follow_up_curves import CHARTS, curves_of
from CovidLungQuantLib.mrml.nodes import hierarchy_item, results_of
from CovidLungQuantLib.mrml.table import measurements_to_node, set_stale
from CovidLungQuantLib.mrml.time_points import (
    day_of,
    is_followed,
    measured_tables,
    patient_id,
    set_day,
    set_followed,
)
from CovidLungQuantLib.mrml.volumes import ct_to_node
from Testing.Python.small_chest import LUNG_VOXELS, VOXEL_ML, a_ct, a_quantification, labels_at


def a_scan(scene: Any, time_point: int, lobes: bool = True, **provenance: Any) -> Any:
    """A measured scan; return its table."""
    volume_node = ct_to_node(scene, a_ct(name=f"scan {time_point}"))
    run = a_quantification(labels=labels_at(time_point), lobes=lobes)
    run = replace(run, provenance=replace(run.provenance, **provenance))
    return measurements_to_node(scene, run, volume_node)


@pytest.fixture
def tables(scene: Any) -> list[Any]:
    return [a_scan(scene, time_point) for time_point in range(3)]


def volume_of(table_node: Any) -> Any:
    return table_node.GetNodeReference("CovidLungQuant.volume")


def place_in_study(scene: Any, table_node: Any, patient: str, date: str) -> None:
    """As Slicer's DICOM module does it."""
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
    hierarchy.SetItemAttribute(item, "DICOM.PatientID", patient)
    study = hierarchy.CreateStudyItem(item, date)
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", date)
    hierarchy.SetItemParent(hierarchy_item(scene, volume_of(table_node)), study)


def column(table_node: Any, name: str) -> list[str]:
    cells = table_node.GetTable().GetColumnByName(name)
    return [cells.GetVariantValue(row).ToString() for row in range(table_node.GetNumberOfRows())]


def row_of(table_node: Any, region: str, measure: str, unit: str) -> int:
    keys = zip(*(column(table_node, name) for name in ("region", "measure", "unit")), strict=True)
    return list(keys).index((region, measure, unit))


def number(table_node: Any, row: int, name: str) -> float:
    return table_node.GetTable().GetColumnByName(name).GetVariantValue(row).ToDouble()


def change_of(record: Any, region: str, measure: str) -> Any:
    return next(i for i in record.changes if (i.region, i.measure) == (region, measure))


def test_the_table_holds_later_minus_earlier_in_order_of_days(
    scene: Any, tables: list[Any]
) -> None:
    for table, day in zip(tables, (0, 7, 21), strict=True):
        set_day(table, day)
    change_node = follow_up_to_node(scene, [tables[2], tables[0], tables[1]])

    ml = row_of(change_node, "both lungs", "GGO", "mL")
    assert number(change_node, ml, "time_point_2") == pytest.approx(96 * VOXEL_ML)
    assert number(change_node, ml, "change_1_to_2") == pytest.approx(48 * VOXEL_ML)
    assert number(change_node, ml, "change_2_to_3") == pytest.approx(-84 * VOXEL_ML)
    assert number(change_node, ml, "change_first_to_last") == pytest.approx(-36 * VOXEL_ML)
    percent = row_of(change_node, "both lungs", "GGO", "%")
    assert number(change_node, percent, "change_1_to_2") == pytest.approx(100 * 48 / LUNG_VOXELS)
    assert column(change_node, "change_unit")[percent] == "percentage points"
    assert change_node.GetColumnTitle("time_point_3") == "scan 2 (day 21)"
    assert DISCLAIMER in change_node.GetDescription()
    lobes = {name for name in column(change_node, "region") if name.endswith("lobe")}
    assert len(lobes) == 5


def test_what_is_read_is_what_the_library_computes(scene: Any, tables: list[Any]) -> None:
    change_node = follow_up_to_node(scene, tables)
    found = compare_tables(scene, tables)
    record = changes_from_node(change_node)
    assert record.changes == found.changes
    assert record.warnings == found.warnings
    assert record.names == ("scan 0", "scan 1", "scan 2")
    assert change_tables(scene) == [change_node]
    assert measured_tables(scene) == tables
    assert results_of(scene, volume_of(tables[0])) == (None, tables[0])
    with pytest.raises(BadInputError, match="compare the scans first"):
        changes_from_node(tables[0])


def test_days_are_counted_from_the_first_study_date_of_the_patient(
    scene: Any, tables: list[Any]
) -> None:
    place_in_study(scene, tables[0], "P1", "20200228")
    place_in_study(scene, tables[1], "P1", "2020-03-01")
    assert [day_of(scene, table) for table in tables] == [0.0, 2.0, None]
    assert patient_id(scene, tables[1]) == "P1"
    place_in_study(scene, tables[2], "P2", "20210101")
    assert day_of(scene, tables[2]) == 0.0
    set_day(tables[2], 12.5)
    assert day_of(scene, tables[2]) == 12.5
    set_day(tables[2], None)
    assert day_of(scene, tables[2]) == 0.0


def test_different_patients_are_warned_of(scene: Any, tables: list[Any]) -> None:
    place_in_study(scene, tables[0], "P1", "20200228")
    place_in_study(scene, tables[1], "P1", "20200229")
    record = changes_from_node(follow_up_to_node(scene, tables[:2]))
    assert not any("patients" in text for text in record.warnings)
    place_in_study(scene, tables[2], "P2", "20210101")
    set_day(tables[2], 9)
    change_node = follow_up_to_node(scene, tables)
    warning = changes_from_node(change_node).warnings[0]
    assert "different patients (scan 0: P1, scan 1: P1, scan 2: P2)" in warning
    assert f"Warning: {warning}" in change_node.GetDescription()


def test_other_models_are_said_and_other_rules_refused(scene: Any) -> None:
    first = a_scan(scene, 0, options={"kinds": "density"})
    other_model = a_scan(
        scene, 1, options={"kinds": "density"}, model_name="other", model_sha256="cd" * 32
    )
    found = compare_tables(scene, [first, other_model])
    assert any("Different models" in text and "other" in text for text in found.warnings)
    other_rule = a_scan(scene, 2, options={"kinds": "thresholds"})
    count = scene.GetNumberOfNodes()
    with pytest.raises(BadInputError, match=r"by different rules.*compare anyway"):
        follow_up_to_node(scene, [first, other_rule])
    assert scene.GetNumberOfNodes() == count
    record = changes_from_node(follow_up_to_node(scene, [first, other_rule], anyway=True))
    assert any("mean little" in text for text in record.warnings)


def test_what_cannot_be_compared_is_refused(scene: Any, tables: list[Any]) -> None:
    with pytest.raises(BadInputError, match="at least two"):
        compare_tables(scene, tables[:1])
    with pytest.raises(BadInputError, match="of the same scan"):
        again = measurements_to_node(scene, a_quantification(), volume_of(tables[0]))
        compare_tables(scene, [tables[0], again])
    set_day(tables[0], 3)
    with pytest.raises(BadInputError, match="some have none"):
        compare_tables(scene, tables)
    set_day(tables[1], 3)
    with pytest.raises(BadInputError, match="same day"):
        compare_tables(scene, tables[:2])
    set_day(tables[1], 4)
    set_stale(tables[1], True)
    with pytest.raises(BadInputError, match='"scan 1" are out of date'):
        compare_tables(scene, tables[:2])
    set_stale(tables[1], False)
    tables[1].GetTable().GetColumnByName("ggo_ml").SetValue(0, 1.0)
    with pytest.raises(BadInputError, match="edited"):
        compare_tables(scene, tables[:2])


def test_the_table_says_when_it_is_out_of_date(scene: Any, tables: list[Any]) -> None:
    change_node = follow_up_to_node(scene, tables)
    assert not is_out_of_date(scene, change_node)
    measurements_to_node(scene, a_quantification(lobes=True), volume_of(tables[1]), tables[1])
    assert is_out_of_date(scene, change_node)
    assert follow_up_to_node(scene, tables, change_node=change_node) is change_node
    assert not is_out_of_date(scene, change_node)
    set_day(tables[0], 1)
    assert is_out_of_date(scene, change_node)
    set_day(tables[0], None)
    set_stale(tables[2], True)
    assert is_out_of_date(scene, change_node)
    set_stale(tables[2], False)
    scene.RemoveNode(tables[2])
    assert is_out_of_date(scene, change_node)


def test_curves_show_the_values_against_the_days(scene: Any, tables: list[Any]) -> None:
    for table, day in zip(tables, (0, 7, 21), strict=True):
        set_day(table, day)
    change_node = follow_up_to_node(scene, tables)
    charts = curves_of(scene, change_node)
    assert list(charts) == list(CHARTS)
    assert charts["ml"].GetXAxisTitle() == "Day"
    series = {
        charts["ml"].GetNthPlotSeriesNode(i).GetName(): charts["ml"].GetNthPlotSeriesNode(i)
        for i in range(charts["ml"].GetNumberOfPlotSeriesNodes())
    }
    ggo = series["GGO (mL)"]
    points = ggo.GetTableNode()
    xs, ys = (
        [number(points, row, name) for row in range(3)]
        for name in (ggo.GetXColumnName(), ggo.GetYColumnName())
    )
    assert xs == [0, 7, 21]
    assert ys == pytest.approx([48 * VOXEL_ML, 96 * VOXEL_ML, 12 * VOXEL_ML])
    assert ggo.GetPlotType() == ggo.PlotTypeScatter


def test_renewing_leaves_no_nodes_behind_and_drops_lobes_that_one_scan_lacks(scene: Any) -> None:
    with_lobes = [a_scan(scene, index) for index in range(2)]
    change_node = follow_up_to_node(scene, with_lobes)
    count = scene.GetNumberOfNodes()
    follow_up_to_node(scene, with_lobes, change_node=change_node)
    assert scene.GetNumberOfNodes() == count
    without = a_scan(scene, 2, lobes=False)
    count = scene.GetNumberOfNodes()
    follow_up_to_node(scene, [with_lobes[0], without], change_node=change_node)
    assert list(curves_of(scene, change_node)) == ["percent", "ml"]
    assert scene.GetNumberOfNodes() == count - 1 - len(CHARTS["lobes"].curves)
    assert {item.region for item in changes_from_node(change_node).changes} == {
        "both lungs",
        "right lung",
        "left lung",
    }


def test_a_comparison_is_found_by_its_scans(scene: Any, tables: list[Any]) -> None:
    two = follow_up_to_node(scene, tables[:2])
    three = follow_up_to_node(scene, tables)
    assert change_table_of(scene, [tables[1], tables[0]]) is two
    assert change_table_of(scene, tables) is three
    assert change_table_of(scene, tables[1:]) is None


def test_scans_of_one_name_are_told_apart(scene: Any, tables: list[Any]) -> None:
    volume_of(tables[1]).SetName("scan 0")
    record = changes_from_node(follow_up_to_node(scene, tables))
    assert record.names == ("scan 0 (1)", "scan 0 (2)", "scan 2")


def test_a_saved_scene_comes_back_as_it_was(scene: Any, tables: list[Any], tmp_path: Path) -> None:
    set_followed(tables[2], False)
    set_day(tables[0], 0)
    set_day(tables[1], 7.5)
    change_node = follow_up_to_node(scene, [node for node in tables if is_followed(node)])
    record = changes_from_node(change_node)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))

    (again,) = change_tables(scene)
    assert changes_from_node(again) == record
    assert not is_out_of_date(scene, again)
    assert [is_followed(node) for node in measured_tables(scene)] == [True, True, False]
    charts = curves_of(scene, again)
    assert list(charts) == list(CHARTS)
    series_node = charts["percent"].GetNthPlotSeriesNode(0)
    assert series_node.GetTableNode().GetColumnName(0) == "time"
    row = row_of(again, "left lung", "Lesion", "mL")
    lesion = change_of(record, "left lung", "lesion_ml")
    assert number(again, row, "change_first_to_last") == pytest.approx(lesion.from_first, rel=1e-5)
