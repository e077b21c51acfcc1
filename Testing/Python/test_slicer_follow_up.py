"""The section "Follow-up" of the panel, run in the stand-in on Slicer's real scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6.QtCore import Qt
from slicer_panel import errors, press
from test_mrml_follow_up import place_in_study

from CovidLungQuantLib.errors import BadInputError, CovidLungQuantError
from CovidLungQuantLib.mrml.follow_up import change_tables, changes_from_node
from CovidLungQuantLib.mrml.table import measurements_to_node, set_stale
from CovidLungQuantLib.mrml.time_points import measured_tables, set_followed
from CovidLungQuantLib.mrml.volumes import ct_to_node
from Testing.Python.small_chest import a_ct, a_quantification, labels_at

SCAN, DAY, LESION = range(3)


@pytest.fixture
def section(panel: Any) -> Any:
    return next(s for s in panel._sections if type(s).__name__ == "FollowUpSection")


@pytest.fixture
def tables(section: Any) -> list[Any]:
    """Three measured scans in the scene of the open panel."""
    return [a_measured_scan(index) for index in range(3)]


def a_measured_scan(time_point: int, lobes: bool = True) -> Any:
    volume_node = ct_to_node(slicer.mrmlScene, a_ct(name=f"scan {time_point}"))
    run = a_quantification(labels=labels_at(time_point), lobes=lobes)
    return measurements_to_node(slicer.mrmlScene, run, volume_node)


def texts(table: Any, column: int) -> list[str]:
    return [table.item(row, column).text() for row in range(table.rowCount)]


def type_day(section: Any, row: int, text: str) -> None:
    section.ui.timePointsTable.item(row, DAY).setText(text)


def test_nothing_to_compare_takes_little_room(section: Any) -> None:
    assert not section.ui.compareButton.enabled
    assert not section.ui.timePointsTable.visible
    assert not section.ui.changesTable.visible
    assert section.ui.followUpHintLabel.visible is not None


def test_measured_scans_are_listed_and_ticked(section: Any, tables: list[Any]) -> None:
    assert texts(section.ui.timePointsTable, SCAN) == ["scan 0", "scan 1", "scan 2"]
    assert texts(section.ui.timePointsTable, DAY) == ["", "", ""]
    shown = float(section.ui.timePointsTable.item(0, LESION).text())
    assert shown == pytest.approx(100 * (48 + 36) / (2 * 8 * 12 * 8), abs=0.05)
    assert section.ui.compareButton.enabled
    for row in (1, 2):
        section.ui.timePointsTable.item(row, SCAN).setCheckState(Qt.CheckState.Unchecked)
    assert not section.ui.compareButton.enabled


def test_typed_days_order_the_scans_and_compare_shows_the_changes(
    section: Any,
    tables: list[Any],
    stand_in: Any,
) -> None:
    type_day(section, 0, "21")
    type_day(section, 1, "7,5")
    type_day(section, 2, "0")
    assert texts(section.ui.timePointsTable, SCAN) == ["scan 2", "scan 1", "scan 0"]
    press(section.ui.compareButton)
    assert errors(stand_in) == []
    (change_node,) = change_tables(slicer.mrmlScene)
    assert section.ui.changeTitleLabel.text == ("Change from scan 2 (day 0) to scan 0 (day 21):")
    ggo = next(
        item.from_first
        for item in changes_from_node(change_node).changes
        if (item.region, item.measure) == ("both lungs", "ggo_ml")
    )
    assert ggo > 0
    assert section.ui.changesTable.item(0, 2).text() == f"{ggo:+.1f}".replace("+0.0", "0.0")
    assert not section.ui.changesTable.isRowHidden(7)


def test_what_is_not_a_day_is_refused_and_forgotten(
    section: Any,
    tables: list[Any],
    stand_in: Any,
) -> None:
    type_day(section, 0, "soon")
    assert errors(stand_in) == ["“soon” is no number of days; type a number, such as 7."]
    assert texts(section.ui.timePointsTable, DAY) == ["", "", ""]
    type_day(section, 0, "3")
    type_day(section, 0, "")
    assert texts(section.ui.timePointsTable, DAY) == ["", "", ""]


def test_study_dates_are_shown_as_days_and_other_patients_warned_of(
    section: Any, tables: list[Any]
) -> None:
    for table, patient, date in zip(
        tables, ("P1", "P1", "P2"), ("20200301", "20200309", "20200401"), strict=True
    ):
        place_in_study(slicer.mrmlScene, table, patient, date)
    type_day(section, 2, "30")
    assert texts(section.ui.timePointsTable, DAY) == ["0", "8", "30"]
    press(section.ui.compareButton)
    assert "different patients" in section.ui.followUpWarningsLabel.text


def test_numbers_out_of_date_are_refused_and_said(
    section: Any,
    tables: list[Any],
    stand_in: Any,
) -> None:
    press(section.ui.compareButton)
    assert section.ui.followUpStaleLabel.text == ""
    set_stale(tables[1], True)
    assert "compare again" in section.ui.followUpStaleLabel.text
    press(section.ui.compareButton)
    assert "out of date" in errors(stand_in)[-1]
    set_stale(tables[1], False)
    press(section.ui.compareButton)
    assert section.ui.followUpStaleLabel.text == ""
    assert len(change_tables(slicer.mrmlScene)) == 1


def test_each_choice_of_scans_has_its_comparison(section: Any, tables: list[Any]) -> None:
    press(section.ui.compareButton)
    section.ui.timePointsTable.item(2, SCAN).setCheckState(Qt.CheckState.Unchecked)
    assert not section.ui.changesTable.visible
    press(section.ui.compareButton)
    assert len(change_tables(slicer.mrmlScene)) == 2
    section.ui.timePointsTable.item(2, SCAN).setCheckState(Qt.CheckState.Checked)
    assert section.ui.changeTitleLabel.text == "Change from scan 0 to scan 2:"


def test_a_curve_is_shown_in_a_layout_with_a_plot(section: Any, tables: list[Any]) -> None:
    press(section.ui.compareButton)
    layout_node = slicer.mrmlScene.GetSingletonNode("vtkMRMLLayoutNode", "vtkMRMLLayoutNode")
    if layout_node is None:
        layout_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout_node.SetViewArrangement(layout_node.SlicerLayoutFourUpView)
    for button in (
        section.ui.curveInPercentButton,
        section.ui.curveInMlButton,
        section.ui.curveOfLobesButton,
    ):
        assert button.enabled
        press(button)
    assert layout_node.GetViewArrangement() == layout_node.SlicerLayoutFourUpPlotView


def test_without_lobes_their_rows_and_curve_are_left_out(section: Any) -> None:
    for index in range(2):
        a_measured_scan(index, lobes=False)
    press(section.ui.compareButton)
    hidden = [section.ui.changesTable.isRowHidden(row) for row in range(8)]
    assert hidden == [False] * 3 + [True] * 5
    assert not section.ui.curveOfLobesButton.enabled


def test_all_is_shown_again_after_the_scene_was_saved_and_loaded(
    section: Any, tables: list[Any], tmp_path: Path
) -> None:
    type_day(section, 0, "0")
    type_day(section, 1, "4")
    set_followed(tables[2], False)
    press(section.ui.compareButton)
    title = section.ui.changeTitleLabel.text
    cells = [texts(section.ui.changesTable, column) for column in range(4)]
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert section.ui.changeTitleLabel.text == title
    assert [texts(section.ui.changesTable, column) for column in range(4)] == cells
    assert section.ui.followUpStaleLabel.text == ""


def test_a_script_compares_without_the_panel(
    stand_in: Any,
    module: Any,
) -> None:
    slicer.mrmlScene.Clear(0)
    logic = module.CovidLungQuantLogic()
    tables = [a_measured_scan(index) for index in range(2)]
    change_node = logic.followUp(tables, days=[3, 9])
    assert changes_from_node(change_node).days == (3.0, 9.0)
    assert logic.followUp(reversed(tables)) is change_node
    with pytest.raises(CovidLungQuantError, match="one day for each"):
        logic.followUp(tables, days=[1])
    with pytest.raises(BadInputError, match="at least two"):
        logic.followUp(tables[:1])
    assert measured_tables(slicer.mrmlScene) == tables
    slicer.mrmlScene.Clear(0)
