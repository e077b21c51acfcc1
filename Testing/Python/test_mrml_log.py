"""A run leaves no error in Slicer's log: neither VTK's nor those of the subject hierarchy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import vtk

from CovidLungQuantLib.mrml.scene_result import SceneResult, newest_result, write_result
from CovidLungQuantLib.mrml.volumes import ct_to_node
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.pipeline import Quantification, measure
from Testing.slicer_stand_in.subject_hierarchy import SubjectHierarchyPlugins


@pytest.fixture(scope="module")
def quantification() -> Quantification:
    phantom = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5))
    return measure(phantom.ct, phantom.labels, lobe_option="automatic")


@pytest.fixture
def log(scene: Any) -> Iterator[list[str]]:
    """What Slicer would log of the scene; empty at the end."""
    errors = SubjectHierarchyPlugins(scene).errors
    window = vtk.vtkOutputWindow.GetInstance()

    @vtk.calldata_type(vtk.VTK_STRING)
    def note(_caller: Any, _event: str, text: str) -> None:
        errors.append(text)

    tags = [window.AddObserver(event, note) for event in ("ErrorEvent", "WarningEvent")]
    yield errors
    for tag in tags:
        window.RemoveObserver(tag)


@pytest.fixture
def result(scene: Any, log: list[str], quantification: Quantification) -> SceneResult:
    return write_result(SceneResult(scene, ct_to_node(scene, quantification.ct)), quantification)


def segmentations(scene: Any) -> list[Any]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    return [scene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode") for n in range(count)]


def test_a_first_run_and_a_second_log_nothing(
    log: list[str], scene: Any, result: SceneResult, quantification: Quantification
) -> None:
    nodes = segmentations(scene)
    assert len(nodes) == 3
    write_result(newest_result(scene, result.volume), quantification)
    assert segmentations(scene) == nodes
    assert log == []


def test_a_run_over_nodes_that_have_lost_their_item_logs_nothing(
    log: list[str], scene: Any, result: SceneResult, quantification: Quantification
) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    for node in segmentations(scene):
        hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)
    write_result(newest_result(scene, result.volume), quantification)
    assert log == []
    assert all(hierarchy.GetItemByDataNode(node) for node in segmentations(scene))


def test_a_run_without_what_the_one_before_had_logs_nothing(
    log: list[str], scene: Any, result: SceneResult, quantification: Quantification
) -> None:
    without_lobes = measure(quantification.ct, quantification.labels)
    # The second set of lobes that is set aside takes the place of the first.
    for run in (without_lobes, quantification, without_lobes):
        write_result(newest_result(scene, result.volume), run)
    assert log == []


def test_what_slicer_logs_is_seen(log: list[str], scene: Any, result: SceneResult) -> None:
    lobes = segmentations(scene)[-1]
    hierarchy = scene.GetSubjectHierarchyNode()
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(lobes), False, False)
    segmentation = lobes.GetSegmentation()
    segmentation.GetNthSegment(0).SetName("Another")
    assert [text for text in log if "Unable to find subject hierarchy item" in text]
    vtk.vtkOutputWindow.GetInstance().DisplayErrorText("an error of VTK")
    assert "an error of VTK" in log[-1]
