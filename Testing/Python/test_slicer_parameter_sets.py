"""Several parameter sets in one scene, in the stand-in with the real MRML scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from slicer_panel import draw_lobes, draw_segments, label_map, press, section, use_small_model
from small_model import small_model

from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.mrml.layout import LAYOUT_ID
from CovidLungQuantLib.mrml.table import is_stale, record_from_node

REGIONS, MEASURES = 3, 10


@pytest.fixture
def selector(panel: Any) -> Any:
    """The list of parameter sets in the section "Settings"."""
    (settings,) = (part for part in panel._sections if type(part).__name__ == "SettingsSection")
    return settings.ui.parameterSetSelector


@pytest.fixture
def looking(panel: Any) -> Any:
    (found,) = (part for part in panel._sections if type(part).__name__ == "LookingSection")
    return found


@pytest.fixture
def two_sets(panel: Any, chest: Any, selector: Any, module: Any, model_path: str) -> list[Any]:
    """Two segmented scans, each in a set of its own; the second is chosen."""
    chest.SetName("January")
    segment(panel)
    first = selector.currentNode()
    second_volume = module.makeSyntheticChest()
    second_volume.SetName("March")
    slicer.util.arrayFromVolume(second_volume)[20:26, 24:30, 16:24] = -850
    slicer.util.arrayFromVolume(second_volume)[10:30, 50:60, 10:50] = -850
    slicer.util.arrayFromVolumeModified(second_volume)
    selector.addNode()
    use_small_model(panel, model_path)
    panel._parameterNode.kinds = "thresholds"
    segment(panel)
    return [first, selector.currentNode()]


def segment(panel: Any) -> None:
    """Press the button, with lobes that need not be looked for: that takes longest."""
    panel._parameterNode.lobes, _lobes = draw_lobes(panel._parameterNode.inputVolume)
    press(panel.ui.segmentButton)


def shown(panel: Any) -> list[str]:
    table = panel.ui.resultsTable
    return [table.item(row, column).text() for row in range(MEASURES) for column in range(REGIONS)]


def volume_name(panel: Any) -> str:
    return panel.ui.inputVolumeSelector.currentNode().GetName()


def set_names(panel: Any) -> list[str]:
    return [node.GetName() for node in panel.logic.getAllParameterNodes()]


def backgrounds() -> set[str]:
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return {
        slicer.mrmlScene.GetNodeByID(node.GetBackgroundVolumeID()).GetName() for node in composites
    }


def test_switching_shows_the_other_scan_its_numbers_and_its_options(
    panel: Any, selector: Any, two_sets: list[Any]
) -> None:
    first, second = two_sets
    of_second = shown(panel)
    assert (volume_name(panel), panel.ui.kindsComboBox.currentData) == ("March", "thresholds")
    selector.setCurrentNode(first)
    of_first = shown(panel)
    assert of_first != of_second
    assert (volume_name(panel), panel.ui.kindsComboBox.currentData) == ("January", "density")
    assert panel.logic.getParameterNode().inputVolume.GetName() == "January"
    selector.setCurrentNode(second)
    assert shown(panel) == of_second
    assert (volume_name(panel), panel.ui.kindsComboBox.currentData) == ("March", "thresholds")
    # Each set keeps what it had.
    sets = panel.logic.parameterSets()
    assert [part.outputTable.GetName() for part in sets] == [
        "January measurements",
        "March measurements",
    ]


def test_the_views_follow_the_chosen_set(
    panel: Any, selector: Any, looking: Any, two_sets: list[Any]
) -> None:
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red")
    looking.onReadingLayout()
    first, second = (part.outputSegmentation for part in panel.logic.parameterSets())
    assert second.GetDisplayVisibility()
    looking.ui.densityCheckBox.click()
    assert looking.ui.densityCheckBox.checked
    selector.setCurrentNode(two_sets[0])
    assert backgrounds() == {"January"}
    assert first.GetDisplayVisibility()
    assert not second.GetDisplayVisibility()
    assert not looking.ui.densityCheckBox.checked
    (view,) = slicer.util.getNodesByClass("vtkMRMLTableViewNode")
    assert view.GetTableNode().GetName() == "January measurements"
    assert (
        slicer.app.layoutManager().layoutLogic().GetLayoutNode().GetViewArrangement() == LAYOUT_ID
    )


def test_a_visited_lesion_of_one_set_is_not_named_in_the_other(
    panel: Any, selector: Any, two_sets: list[Any]
) -> None:
    ui = section(panel, "LesionsSection").ui
    draw_segments(panel._parameterNode.outputSegmentation, panel._parameterNode.inputVolume)
    press(ui.largestLesionButton)
    assert ui.leftLabel.text == "2 of 2 left to look at"
    assert ui.lesionTable.currentRow() == 0
    selector.setCurrentNode(two_sets[0])
    assert panel._parameterNode.shownLesion == 0
    assert not ui.acceptButton.enabled


def test_one_scan_in_two_sets_has_two_results_that_do_not_touch_each_other(
    panel: Any, chest: Any, selector: Any, tmp_path: Path, model_path: str
) -> None:
    segment(panel)
    first = panel.logic.getParameterNode()
    numbers, labels = shown(panel), label_map(first.outputSegmentation, chest)
    other_model = tmp_path / "other.pt"
    save_model(other_model, small_model(3).network)
    selector.addNode()
    # Another set has this scan, so that it is not put in unasked.
    assert panel._parameterNode.inputVolume is None
    assert shown(panel) == [""] * (REGIONS * MEASURES)
    panel._parameterNode.inputVolume = chest
    assert panel._parameterNode.outputSegmentation is None
    assert shown(panel) == [""] * (REGIONS * MEASURES)
    use_small_model(panel, str(other_model))
    segment(panel)
    second = panel.logic.getParameterNode()
    assert second.outputSegmentation is not first.outputSegmentation
    assert second.outputTable is not first.outputTable
    assert not np.array_equal(label_map(second.outputSegmentation, chest), labels)
    assert np.array_equal(label_map(first.outputSegmentation, chest), labels)
    # Neither result was corrected: each is compared with what its own network made of the scan.
    for part in (first, second):
        panel.logic.measure(chest, part.outputSegmentation, part.outputTable, lobesNode=part.lobes)
        assert panel.logic.correctionOf(part.outputTable).changed_voxels == 0
    assert record_from_node(first.outputTable).provenance["model_name"] == "small"
    assert record_from_node(second.outputTable).provenance["model_name"] == "other"
    selector.setCurrentNode(panel.logic.getAllParameterNodes()[0])
    assert shown(panel) == numbers


def test_a_correction_in_another_set_marks_its_numbers_as_out_of_date(
    panel: Any, selector: Any, two_sets: list[Any]
) -> None:
    first, second = panel.logic.parameterSets()
    of_second = shown(panel)
    draw_segments(first.outputSegmentation, first.inputVolume)
    assert is_stale(first.outputTable)
    assert not is_stale(second.outputTable)
    assert shown(panel) == of_second
    assert panel.ui.staleLabel.text == ""
    selector.setCurrentNode(two_sets[0])
    assert panel.ui.staleLabel.text == "Numbers out of date; press Measure again."
    press(panel.ui.measureButton)
    assert panel.ui.staleLabel.text == ""
    assert not is_stale(first.outputTable)


def test_a_run_ends_in_the_set_it_was_started_in(
    panel: Any, two_sets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = panel.logic.parameterSets()
    slicer.mrmlScene.RemoveNode(second.outputTable)
    segment = panel.logic.segment

    def switch_meanwhile(*arguments: Any, **options: Any) -> Any:
        nodes = segment(*arguments, **options)
        panel.chooseParameterSet(two_sets[0])
        return nodes

    monkeypatch.setattr(panel.logic, "segment", switch_meanwhile)
    before = first.outputTable
    press(panel.ui.segmentButton)
    assert second.outputTable.GetName().startswith("March")
    assert first.outputTable is before
    assert volume_name(panel) == "January"


def test_sets_and_choice_come_back_with_the_scene_and_go_with_it(
    panel: Any, selector: Any, two_sets: list[Any], tmp_path: Path
) -> None:
    two_sets[0].SetName("Before treatment")
    names, of_second = set_names(panel), shown(panel)
    selector.setCurrentNode(two_sets[0])
    of_first = shown(panel)
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear(0)
    # One set, and nothing in it.
    assert len(set_names(panel)) == selector.nodeCount() == 1
    assert selector.currentNode() is panel.logic.chosenParameterSet()
    assert shown(panel) == [""] * (REGIONS * MEASURES)
    assert slicer.mrmlScene.ReadFromMRB(path)
    assert set_names(panel) == names
    assert selector.currentNode().GetName() == "Before treatment"
    assert (volume_name(panel), shown(panel)) == ("January", of_first)
    selector.setCurrentNode(panel.logic.getAllParameterNodes()[1])
    assert (volume_name(panel), shown(panel)) == ("March", of_second)


def test_a_scene_added_to_another_keeps_the_choice(
    panel: Any, selector: Any, two_sets: list[Any], tmp_path: Path
) -> None:
    of_second = shown(panel)
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    assert slicer.mrmlScene.ReadFromMRB(path)
    assert selector.nodeCount() == 4
    assert selector.currentNode() is two_sets[1]
    assert shown(panel) == of_second
    chosen = [
        part.GetAttribute("CovidLungQuant.chosen") for part in panel.logic.getAllParameterNodes()
    ]
    assert chosen == [None, "1", None, None]


def test_deleting_the_shown_set_shows_another_and_keeps_its_results(
    panel: Any, selector: Any, two_sets: list[Any]
) -> None:
    table_node = panel._parameterNode.outputTable
    selector.removeCurrentNode()
    assert (selector.nodeCount(), volume_name(panel)) == (1, "January")
    assert slicer.mrmlScene.IsNodePresent(table_node)
    selector.removeCurrentNode()
    # There is always one; it offers the first scan with the results it has.
    assert (selector.nodeCount(), volume_name(panel)) == (1, "January")
    assert panel._parameterNode.outputTable.GetName() == "January measurements"
    panel._parameterNode.inputVolume = table_node.GetNodeReference("CovidLungQuant.volume")
    assert panel._parameterNode.outputTable is table_node


def test_the_list_holds_the_sets_of_this_module_only(panel: Any, selector: Any) -> None:
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Segment Statistics")
    other.SetAttribute("ModuleName", "SegmentStatistics")
    assert (selector.nodeCount(), selector.currentNode()) == (1, panel.logic.chosenParameterSet())
    assert selector.currentNode().GetHideFromEditors()


def test_the_logic_has_its_sets_without_the_panel(module: Any, stand_in: Any) -> None:
    slicer.mrmlScene.Clear(0)
    logic = module.CovidLungQuantLogic()
    first = logic.getParameterNode()
    first.model = "one"
    node = slicer.mrmlScene.AddNode(logic.createParameterNode())
    assert logic.getParameterNode().model == "one"
    logic.chooseParameterSet(node)
    assert logic.getParameterNode().model == ""
    assert module.CovidLungQuantLogic().getParameterNode().parameterNode is node
    assert len(logic.parameterSets()) == 2
    slicer.mrmlScene.Clear(0)
    assert len(logic.getAllParameterNodes()) == 0
