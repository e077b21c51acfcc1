"""A scene is closed, read and added in every order while the module is open or left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer
from slicer_panel import draw_lobes, press, section

CELLS = 30


@pytest.fixture
def saved(panel: Any, chest: Any, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A scene file with a segmented scan, and what the panel showed of it."""
    chest.SetName("January")
    panel._parameterNode.kinds = "thresholds"
    # Lobes need not be looked for, which takes longest.
    panel._parameterNode.lobes, _lobes = draw_lobes(chest)
    press(panel.ui.segmentButton)
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    return path, shown(panel)


def shown(panel: Any) -> dict[str, Any]:
    """What the panel shows: lists, numbers, choices, what can be pressed."""
    ui, table = panel.ui, panel.ui.resultsTable
    lists = (ui.inputVolumeSelector, ui.segmentationSelector, ui.tableSelector)
    names = [None if box.currentNode() is None else box.currentNode().GetName() for box in lists]
    cells = [table.item(index // 3, index % 3).text() for index in range(CELLS)]
    return {
        "nodes": names,
        "cells": cells,
        "kinds": ui.kindsComboBox.currentData,
        "buttons": [ui.segmentButton.enabled, ui.measureButton.enabled],
    }


def read(path: str, clear: bool = False) -> None:
    assert slicer.mrmlScene.ReadFromMRB(path, clear)


def open_module() -> None:
    slicer.modules.covidlungquant.widgetRepresentation().enter()


def leave_module() -> None:
    slicer.util.selectModule("Data")


def close() -> None:
    slicer.mrmlScene.Clear(0)


def test_what_is_saved_is_no_empty_panel(saved: tuple[str, dict[str, Any]]) -> None:
    state = saved[1]
    assert state["nodes"] == ["January", "January segmentation", "January measurements"]
    assert all(state["cells"])
    assert state["buttons"] == [True, True]


ORDERS: dict[str, Callable[[str], list[Any]]] = {
    "close, load": lambda path: [close(), read(path)],
    "close twice, load": lambda path: [close(), close(), read(path)],
    "load in the place of what is there": lambda path: [read(path, clear=True)],
    "that again": lambda path: [read(path, clear=True), read(path, clear=True)],
    "close, leave, load, open": lambda path: [close(), leave_module(), read(path), open_module()],
    "close, leave, open, load": lambda path: [close(), leave_module(), open_module(), read(path)],
    "leave, close, load, open": lambda path: [leave_module(), close(), read(path), open_module()],
    "leave, load in its place, open": lambda path: [
        leave_module(),
        read(path, clear=True),
        open_module(),
    ],
    "leave, open, close, load": lambda path: [leave_module(), open_module(), close(), read(path)],
    "load beside what is there": lambda path: [read(path)],
    "close, load, close, load": lambda path: [close(), read(path), close(), read(path)],
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_scene_comes_back_whole(
    panel: Any, saved: tuple[str, dict[str, Any]], order: str
) -> None:
    path, before = saved
    ORDERS[order](path)
    assert shown(panel) == before
    chosen = panel.logic.getParameterNode()
    assert chosen.outputTable is panel.ui.tableSelector.currentNode()
    marks = [node.GetAttribute("CovidLungQuant.chosen") for node in sets(panel)]
    assert marks.count("1") == 1
    assert len(marks) == (2 if order == "load beside what is there" else 1)
    # And goes on: a change in the panel reaches the set that is shown, and no other.
    panel.ui.inputVolumeSelector.setCurrentNode(None)
    assert chosen.inputVolume is None
    assert shown(panel)["cells"] == [""] * CELLS


def sets(panel: Any) -> list[Any]:
    return panel.logic.getAllParameterNodes()


def test_a_scene_that_is_added_to_a_scan_takes_nothing_from_it(
    panel: Any, saved: tuple[str, dict[str, Any]], module: Any
) -> None:
    path, before = saved
    close()
    module.makeSyntheticChest().SetName("March")
    assert panel._parameterNode.inputVolume.GetName() == "March"
    read(path)
    # The choice of before stays; the scene's own set is one click away.
    assert shown(panel)["nodes"] == ["March", None, None]
    first, second = panel.logic.parameterSets()
    assert second.inputVolume.GetName() == "January"
    assert second.outputTable.GetName() == "January measurements"
    settings = section(panel, "SettingsSection")
    settings.ui.parameterSetSelector.setCurrentNode(second.parameterNode)
    assert shown(panel) == before
    assert first.inputVolume.GetName() == "March"


def test_two_sets_come_back_in_every_order(
    panel: Any, saved: tuple[str, dict[str, Any]], module: Any, tmp_path: Path
) -> None:
    _path, first_shown = saved
    settings = section(panel, "SettingsSection")
    settings.ui.parameterSetSelector.addNode()
    module.makeSyntheticChest().SetName("March")
    second_shown = shown(panel)
    assert second_shown["nodes"] == ["March", None, None]
    path = str(tmp_path / "two.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    for order in ("close, load", "that again", "close, leave, load, open"):
        ORDERS[order](path)
        assert shown(panel) == second_shown
        first, second = sets(panel)
        settings.ui.parameterSetSelector.setCurrentNode(first)
        assert shown(panel) == first_shown
        settings.ui.parameterSetSelector.setCurrentNode(second)
        assert shown(panel) == second_shown


def test_a_set_that_was_let_go_of_is_not_written_into(
    panel: Any, saved: tuple[str, dict[str, Any]]
) -> None:
    old = panel._parameterNode
    leave_module()
    open_module()
    other = slicer.mrmlScene.AddNode(panel.logic.createParameterNode())
    panel.chooseParameterSet(other)
    panel.ui.inputVolumeSelector.setCurrentNode(None)
    assert old.inputVolume.GetName() == "January"
    assert old.outputTable.GetName() == "January measurements"


def test_nodes_added_at_once_are_offered_when_all_are_there(panel: Any, module: Any) -> None:
    scene = slicer.mrmlScene
    scene.StartState(scene.BatchProcessState)
    module.makeSyntheticChest().SetName("January")
    assert panel._parameterNode.inputVolume is None
    scene.EndState(scene.BatchProcessState)
    assert shown(panel)["nodes"] == ["January", None, None]
