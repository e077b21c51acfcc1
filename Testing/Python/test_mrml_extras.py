"""Airways, vessels, sub-visual lesions and the enhanced scan in Slicer's real scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk")

from CovidLungQuantLib.labels import (  # noqa: E402
    AIRLESS_LUNG,
    AIRWAYS_AND_VESSELS,
    LEFT_OUT,
    SUB_VISUAL_LESION,
    SUSPECTED_LUNG,
)
from CovidLungQuantLib.mrml.extras import (  # noqa: E402
    airways_and_vessels_from_node,
    airways_and_vessels_of,
    airways_and_vessels_to_node,
    enhanced_of,
    enhanced_to_node,
    extras_to_nodes,
    lung_decisions_of,
    lung_decisions_to_node,
    sub_visual_of,
    sub_visual_to_node,
)
from CovidLungQuantLib.mrml.nodes import is_made_from_a_scan, results_of  # noqa: E402
from CovidLungQuantLib.mrml.scene_file import write_scene  # noqa: E402
from CovidLungQuantLib.mrml.segmentation import segmentation_to_node  # noqa: E402
from CovidLungQuantLib.mrml.segments import segment_mask  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_to_node, geometry_of, voxels  # noqa: E402
from CovidLungQuantLib.pipeline import Quantification  # noqa: E402
from CovidLungQuantLib.terminology import terminology_entry  # noqa: E402
from Testing.Python.small_airways_and_vessels import an_enhanced_quantification  # noqa: E402


@pytest.fixture(scope="module")
def run() -> Quantification:
    found = an_enhanced_quantification()
    sub_visual = np.zeros(found.labels.shape, bool)
    sub_visual[20:25, 20:25, 20:25] = True
    return replace(found, enhancement=replace(found.enhancement, sub_visual=sub_visual))


@pytest.fixture
def volume_node(scene, run):
    return ct_to_node(scene, run.ct)


def test_airways_and_vessels_are_a_hidden_node_of_two_segments(scene, volume_node, run):
    node = airways_and_vessels_to_node(scene, run, volume_node)

    assert not node.GetDisplayVisibility()
    assert airways_and_vessels_of(scene, volume_node) is node
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 2
    for label in AIRWAYS_AND_VESSELS:
        mask = segment_mask(node, label.segment_id, volume_node, [])
        assert np.array_equal(mask, run.airways_and_vessels == label.value)
        value = vtk.reference("")
        assert segmentation.GetSegment(label.segment_id).GetTag("TerminologyEntry", value)
        assert str(value) == terminology_entry(label)


def test_a_node_is_updated_in_place_and_keeps_what_the_user_drew(scene, volume_node, run):
    node = airways_and_vessels_to_node(scene, run, volume_node)
    node.GetSegmentation().AddEmptySegment("Nodule", "Nodule")
    node.SetDisplayVisibility(True)

    assert airways_and_vessels_to_node(scene, run, volume_node, node) is node
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    assert node.GetDisplayVisibility()


def test_sub_visual_lesions_are_off_until_someone_shows_them(scene, volume_node, run):
    node = sub_visual_to_node(scene, run, volume_node)

    assert not node.GetDisplayVisibility()
    assert sub_visual_of(scene, volume_node) is node
    mask = segment_mask(node, SUB_VISUAL_LESION.segment_id, volume_node, [])
    assert np.array_equal(mask, run.enhancement.sub_visual)


def test_the_enhanced_scan_is_shown_in_its_optimal_window(scene, volume_node, run):
    node = enhanced_to_node(scene, run, volume_node)

    assert np.array_equal(voxels(node.GetImageData()), run.enhancement.enhanced_hu)
    assert geometry_of(node).spacing_mm == run.ct.geometry.spacing_mm
    np.testing.assert_array_equal(geometry_of(node).ijk_to_lps, run.ct.geometry.ijk_to_lps)
    display = node.GetDisplayNode()
    assert display.GetLevel() == 0.0
    assert display.GetWindow() == pytest.approx(run.enhancement.window_width_hu)
    assert enhanced_of(scene, volume_node) is node
    assert enhanced_to_node(scene, run, volume_node, node) is node


def test_nothing_is_written_where_nothing_was_looked_for(scene, volume_node, run):
    plain = replace(run, airways_and_vessels=None, enhancement=None)
    before = scene.GetNumberOfNodes()
    for write in (airways_and_vessels_to_node, sub_visual_to_node, enhanced_to_node):
        assert write(scene, plain, volume_node) is None
    assert scene.GetNumberOfNodes() == before


def test_they_are_in_the_scene_file_and_not_taken_for_the_result(scene, run, tmp_path):
    write_scene(tmp_path / "scene.mrb", run)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))

    volume_node = scene.GetFirstNodeByName(run.ct.name)
    airways_and_vessels_node = airways_and_vessels_of(scene, volume_node)
    assert not airways_and_vessels_node.GetDisplayVisibility()
    assert not sub_visual_of(scene, volume_node).GetDisplayVisibility()
    enhanced = enhanced_of(scene, volume_node)
    assert np.array_equal(voxels(enhanced.GetImageData()), run.enhancement.enhanced_hu)
    assert enhanced.GetDisplayNode().GetWindow() == pytest.approx(
        run.enhancement.window_width_hu, rel=1e-5
    )
    # The slice views go on showing the scan itself.
    composite = scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == volume_node.GetID()
    assert results_of(scene, volume_node)[0] not in (None, airways_and_vessels_node)


def test_updating_the_result_leaves_them_alone(scene, volume_node, run):
    node = airways_and_vessels_to_node(scene, run, volume_node)
    segmentation_to_node(scene, run, volume_node)
    assert node.GetSegmentation().GetNumberOfSegments() == 2


def test_a_second_run_renews_the_nodes_of_the_first(scene, volume_node, run):
    extras_to_nodes(scene, run, volume_node)
    nodes = [find(scene, volume_node) for find in (airways_and_vessels_of, sub_visual_of)]
    count = scene.GetNumberOfNodes()
    extras_to_nodes(scene, run, volume_node)
    assert scene.GetNumberOfNodes() == count
    assert [find(scene, volume_node) for find in (airways_and_vessels_of, sub_visual_of)] == nodes


def test_a_run_without_them_sets_those_of_the_first_aside(scene, volume_node, run):
    """They stay in the scene, but hidden, named as what they are, and part of no result."""
    finds = (airways_and_vessels_of, sub_visual_of, enhanced_of)
    plain = replace(run, airways_and_vessels=None, enhancement=None)
    extras_to_nodes(scene, run, volume_node)
    first = [find(scene, volume_node) for find in finds]
    for node in first:
        node.CreateDefaultDisplayNodes()
        node.SetDisplayVisibility(True)
    described = first[0].GetDescription()
    extras_to_nodes(scene, plain, volume_node)
    assert [find(scene, volume_node) for find in finds] == [None, None, None]
    for node in first:
        assert scene.IsNodePresent(node)
        assert node.GetName().endswith(" (earlier run)")
        assert node.GetDescription().startswith("Of an earlier run")
        assert not node.GetDisplayVisibility()
    assert first[0].GetDescription().endswith(described)
    assert is_made_from_a_scan(first[2])
    assert not is_made_from_a_scan(volume_node)

    # What is found next is new, and takes the place of the old when it is set aside itself.
    extras_to_nodes(scene, run, volume_node)
    second = [find(scene, volume_node) for find in finds]
    assert not set(first) & set(second)
    extras_to_nodes(scene, plain, volume_node)
    assert not any(scene.IsNodePresent(node) for node in first)
    assert all(scene.IsNodePresent(node) for node in second)


def test_a_run_leaves_those_of_another_result_of_the_scan_alone(scene, volume_node, run):
    plain = replace(run, airways_and_vessels=None, enhancement=None)
    mine, others = (segmentation_to_node(scene, run, volume_node) for _ in range(2))
    extras_to_nodes(scene, run, volume_node, mine)
    node = airways_and_vessels_of(scene, volume_node, mine)
    extras_to_nodes(scene, plain, volume_node, others)
    assert airways_and_vessels_of(scene, volume_node, mine) is node
    assert airways_and_vessels_of(scene, volume_node, others) is None
    assert airways_and_vessels_of(scene, volume_node) is node


def test_airways_and_vessels_are_read_back_as_they_are(scene, volume_node, run):
    node = airways_and_vessels_to_node(scene, run, volume_node)
    labels, warnings = airways_and_vessels_from_node(node, volume_node)
    np.testing.assert_array_equal(labels, run.airways_and_vessels)
    assert warnings == ()
    node.GetSegmentation().RemoveSegment("Vessels")
    labels, _ = airways_and_vessels_from_node(node, volume_node)
    np.testing.assert_array_equal(labels, np.where(run.airways_and_vessels == 1, 1, 0))


def test_the_nodes_say_what_was_measured(scene, volume_node, run):
    airways_and_vessels = airways_and_vessels_to_node(scene, run, volume_node).GetDescription()
    # 18 × 4 × 4 and 26 × 4 × 40 voxels of 1 mm³.
    assert airways_and_vessels.startswith("Airways: 0.3 mL")
    assert "Vessels: 4.2 mL" in airways_and_vessels
    lines = enhanced_to_node(scene, run, volume_node).GetDescription().splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        "baseline",
        "scan-level bias",
        "optimal window",
    ]
    assert len(lines) == 3 + len(run.enhancement.severities)


def test_where_the_lung_network_differs_is_a_hidden_node_of_what_there_is(scene, volume_node, run):
    decisions = np.zeros(run.labels.shape, np.uint8)
    decisions[5:15, 10:20, 10:20] = AIRLESS_LUNG.value
    decisions[20:25, 10:20, 10:20] = SUSPECTED_LUNG.value
    decided = replace(run, lung_decisions=decisions)
    assert lung_decisions_to_node(scene, run, volume_node) is None

    node = lung_decisions_to_node(scene, decided, volume_node)
    assert not node.GetDisplayVisibility()
    assert lung_decisions_of(scene, volume_node) is node
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    for label in (AIRLESS_LUNG, SUSPECTED_LUNG):
        mask = segment_mask(node, label.segment_id, volume_node, [])
        assert np.array_equal(mask, decisions == label.value)
    voxel_ml = run.ct.geometry.voxel_volume_ml
    assert node.GetDescription().split("\n") == [
        f"Lung without air, counted: {1000 * voxel_ml:.0f} mL",
        f"Perhaps lung without air, not counted: {500 * voxel_ml:.0f} mL",
    ]

    # A run that decides otherwise leaves nothing of the one before.
    other = np.where(decisions == AIRLESS_LUNG.value, LEFT_OUT.value, 0).astype(np.uint8)
    lung_decisions_to_node(scene, replace(run, lung_decisions=other), volume_node, node)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert np.array_equal(segment_mask(node, LEFT_OUT.segment_id, volume_node, []), other > 0)
