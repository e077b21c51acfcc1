"""Lobes and their chart in Slicer's real scene."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk")

from CovidLungQuantLib.ct import CTVolume, Geometry  # noqa: E402
from CovidLungQuantLib.errors import BadInputError  # noqa: E402
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LOBES  # noqa: E402
from CovidLungQuantLib.mrml.chart import lobe_chart_of, lobe_chart_to_node, name_axis  # noqa: E402
from CovidLungQuantLib.mrml.lobes import (  # noqa: E402
    lobes_from_node,
    lobes_of,
    lobes_to_node,
)
from CovidLungQuantLib.mrml.nodes import results_of  # noqa: E402
from CovidLungQuantLib.mrml.scene_file import write_scene  # noqa: E402
from CovidLungQuantLib.mrml.segmentation import segmentation_to_node  # noqa: E402
from CovidLungQuantLib.mrml.table import measurements_to_node, record_from_node  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_to_node, fill_image  # noqa: E402
from CovidLungQuantLib.pipeline import Quantification, measure  # noqa: E402
from CovidLungQuantLib.terminology import terminology_entry  # noqa: E402
from Testing.Python.small_lobes import SHAPE, SPACING_MM, small_lobes  # noqa: E402
from Testing.slicer_stand_in.plot_view import PlotView  # noqa: E402

FLIPPED = np.diag([-1.0, 1.0, -1.0])


def a_measured_scan(direction: np.ndarray | None = None) -> Quantification:
    """A scan of five lobes with lesion in two of them, as it is stored in some direction."""
    lobes = small_lobes()
    hu = np.where(lobes > 0, -850, 40).astype(np.int16)
    labels = (lobes > 0).astype(np.uint8)
    labels[8:14][lobes[8:14] == 3] = 2
    labels[8:12][lobes[8:12] == 5] = 3
    if direction is not None:
        flips = tuple(slice(None, None, int(sign)) for sign in np.diag(direction)[::-1])
        hu, labels, lobes = (np.ascontiguousarray(array[flips]) for array in (hu, labels, lobes))
    geometry = Geometry(
        SHAPE, SPACING_MM, (1.0, 2.0, 3.0), np.eye(3) if direction is None else direction
    )
    return measure(CTVolume(hu, geometry, "five lobes"), labels, lobes=lobes)


@pytest.fixture(scope="module")
def run() -> Quantification:
    return a_measured_scan()


@pytest.fixture
def volume_node(scene, run):
    return ct_to_node(scene, run.ct)


def test_lobes_come_back_exactly(scene, volume_node, run):
    node = lobes_to_node(scene, run, volume_node)

    lobes, warnings = lobes_from_node(node, volume_node)

    np.testing.assert_array_equal(lobes, run.lobes)
    assert lobes.dtype == np.uint8
    assert warnings == ()


def test_lobes_of_a_flipped_scan_come_back_exactly(scene):
    run = a_measured_scan(FLIPPED)
    volume_node = ct_to_node(scene, run.ct)

    lobes, _ = lobes_from_node(lobes_to_node(scene, run, volume_node), volume_node)

    np.testing.assert_array_equal(lobes, run.lobes)


def test_measuring_with_the_node_gives_the_same_numbers(scene, volume_node, run):
    lobes, _ = lobes_from_node(lobes_to_node(scene, run, volume_node), volume_node)

    again = measure(run.ct, run.labels, lobes=lobes)

    assert again.measurements == run.measurements


def test_segments_have_names_colours_and_codes(scene, volume_node, run):
    segmentation = lobes_to_node(scene, run, volume_node).GetSegmentation()

    assert segmentation.GetNumberOfSegments() == 5
    assert segmentation.GetNumberOfLayers() == 1
    for lobe in LOBES:
        segment = segmentation.GetSegment(lobe.segment_id)
        assert segment.GetName() == lobe.name
        np.testing.assert_allclose(segment.GetColor(), lobe.color, atol=1e-6)
        value = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", value)
        assert str(value) == terminology_entry(lobe)


def test_the_node_is_hidden_until_someone_shows_it_and_then_stays_shown(scene, volume_node, run):
    node = lobes_to_node(scene, run, volume_node)
    assert not node.GetDisplayVisibility()

    node.SetDisplayVisibility(True)
    assert lobes_to_node(scene, run, volume_node, node) is node
    assert node.GetDisplayVisibility()
    assert node.GetSegmentation().GetNumberOfSegments() == 5


def test_lobes_are_not_taken_for_the_result(scene, volume_node, run):
    segmentation_node = segmentation_to_node(scene, run, volume_node)
    table_node = measurements_to_node(scene, run, volume_node)
    node = lobes_to_node(scene, run, volume_node)
    chart_node = lobe_chart_to_node(scene, run, volume_node)

    assert results_of(scene, volume_node) == (segmentation_node, table_node)
    assert lobes_of(scene, volume_node) is node
    assert lobe_chart_of(scene, volume_node) is chart_node


def test_lobes_of_another_tool_are_recognised_by_name(scene, volume_node, run):
    node = lobes_to_node(scene, run, volume_node)
    segmentation = node.GetSegmentation()
    for lobe, name in zip(
        LOBES,
        (
            "lung_upper_lobe_right",
            "lung_middle_lobe_right",
            "lung_lower_lobe_right",
            "lung_upper_lobe_left",
            "lung_lower_lobe_left",
        ),
        strict=True,
    ):
        segment = segmentation.GetSegment(lobe.segment_id)
        segment.RemoveTag("TerminologyEntry")
        segment.SetName(name)

    lobes, _ = lobes_from_node(node, volume_node)

    np.testing.assert_array_equal(lobes, run.lobes)


def test_a_label_map_of_another_tool_is_recognised_by_its_values(scene, volume_node, run):
    total_segmentator = np.array([0, 12, 13, 14, 10, 11], np.int16)
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "theirs")
    image = vtk.vtkImageData()
    fill_image(image, total_segmentator[run.lobes])
    node.SetAndObserveImageData(image)
    node.CopyOrientation(volume_node)

    lobes, _ = lobes_from_node(node, volume_node)

    np.testing.assert_array_equal(lobes, run.lobes)


def test_what_holds_no_lobes_is_refused(scene, volume_node, run):
    lesions = segmentation_to_node(scene, run, volume_node)
    with pytest.raises(BadInputError, match="right upper lobe"):
        lobes_from_node(lesions, volume_node)
    with pytest.raises(BadInputError, match="no segmentation"):
        lobes_from_node(volume_node, volume_node)


def test_without_lobes_nothing_is_written(scene, volume_node, run):
    without = measure(run.ct, run.labels)
    nodes_before = scene.GetNumberOfNodes()

    assert lobes_to_node(scene, without, volume_node) is None
    assert lobe_chart_to_node(scene, without, volume_node) is None
    assert scene.GetNumberOfNodes() == nodes_before


def test_the_table_node_has_a_row_for_every_region_and_the_scores(scene, volume_node, run):
    table_node = measurements_to_node(scene, run, volume_node)

    assert table_node.GetNumberOfRows() == 28
    table = table_node.GetTable()
    score = run.measurements.severity.ct_score
    assert table.GetColumnByName("ct_score").GetVariantValue(0).ToDouble() == score
    assert table_node.GetColumnTitle("ct_score") == "CT score"
    assert table_node.GetColumnTitle("ct_severity_score") == "CT severity score"
    assert "19.5" in table_node.GetDescription()
    assert record_from_node(table_node).measurements == run.measurements


def test_the_chart_shows_ggo_and_high_opacity_of_each_lobe(scene, volume_node, run):
    chart_node = lobe_chart_to_node(scene, run, volume_node)

    assert chart_node.GetNumberOfPlotSeriesNodes() == 2
    for index, (label, field) in enumerate(
        ((GGO, "ggo_percent"), (HIGH_OPACITY, "high_opacity_percent"))
    ):
        series = chart_node.GetNthPlotSeriesNode(index)
        assert series.GetPlotType() == series.PlotTypeScatterBar
        assert series.GetName() == label.name
        np.testing.assert_allclose(series.GetColor(), label.color, atol=1e-6)
        table = series.GetTableNode().GetTable()
        shown = [table.GetColumnByName(series.GetYColumnName()).GetValue(row) for row in range(5)]
        assert shown == [getattr(row, field) for row in run.measurements.lobes]
        places = table.GetColumnByName(series.GetXColumnName())
        assert [places.GetValue(row) for row in range(5)] == [1, 2, 3, 4, 5]
        labels = table.GetColumnByName(series.GetLabelColumnName())
        assert [labels.GetValue(row) for row in range(5)] == ["RUL", "RML", "RLL", "LUL", "LLL"]
    assert (
        chart_node.GetNthPlotSeriesNode(0)
        .GetTableNode()
        .GetTable()
        .GetColumnByName("ggo_percent")
        .GetValue(2)
        > 0
    )


def test_the_axis_shows_the_lobes_and_nothing_beside_them(scene, volume_node, run):
    chart_node = lobe_chart_to_node(scene, run, volume_node)
    view = plot_view(scene, chart_node)
    axis = view.chart().GetAxis(vtk.vtkAxis.BOTTOM)
    # What the nodes alone can say: numbers, and what they are.
    assert (axis.GetMinimum(), axis.GetMaximum()) == (0.5, 5.5)
    assert axis.GetTitle() == "Lobes 1 to 5: RUL, RML, RLL, LUL, LLL"

    name_axis(axis, chart_node)
    view.chart()
    ticks, labels = axis.GetTickPositions(), axis.GetTickLabels()
    assert {ticks.GetValue(index): labels.GetValue(index) for index in range(5)} == {
        1: "RUL",
        2: "RML",
        3: "RLL",
        4: "LUL",
        5: "LLL",
    }
    assert labels.GetNumberOfValues() == 5


def test_the_axis_of_another_chart_gets_its_numbers_back(scene, volume_node, run):
    chart_node = lobe_chart_to_node(scene, run, volume_node)
    axis = plot_view(scene, chart_node).chart().GetAxis(vtk.vtkAxis.BOTTOM)
    earlier = scene.CopyNode(chart_node)
    earlier.RemoveAllPlotSeriesNodeIDs()
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    series.SetPlotType(series.PlotTypeBar)
    earlier.AddAndObservePlotSeriesNodeID(series.GetID())
    # Of charts of the first kind the lobes lie at 0 to 4.
    for other in (scene.AddNewNodeByClass("vtkMRMLPlotChartNode"), earlier, None):
        name_axis(axis, chart_node)
        name_axis(axis, other)
        shown = axis.GetTickLabels()
        assert "RUL" not in [shown.GetValue(index) for index in range(shown.GetNumberOfValues())]


def test_the_legend_hides_no_bar(scene, volume_node, run, tmp_path):
    chart_node = lobe_chart_to_node(scene, run, volume_node)
    view = plot_view(scene, chart_node)

    def bars(name: str) -> np.ndarray:
        view.standInDraw(tmp_path / name, (480, 290))
        picture = np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
        colors = [np.round(255 * np.array(label.color)) for label in (GGO, HIGH_OPACITY)]
        return np.any([np.abs(picture - color).max(axis=2) < 12 for color in colors], axis=0)

    with_legend = bars("with.png")
    chart_node.SetLegendVisibility(False)
    without = bars("without.png")
    # The highest bar stands in the last lobe, below the legend.
    assert without[:, 400:].sum() > 1000
    assert with_legend[without].all()
    assert with_legend.sum() > without.sum()


def test_a_chart_of_the_first_kind_is_renewed_in_place(scene, volume_node, run):
    chart_node = lobe_chart_to_node(scene, run, volume_node)
    for index in range(2):
        series = chart_node.GetNthPlotSeriesNode(index)
        series.SetName(f"scan {index}")
        series.SetPlotType(series.PlotTypeBar)
        series.SetXColumnName("")
    before = scene.GetNumberOfNodes()
    lobe_chart_to_node(scene, run, volume_node)
    assert scene.GetNumberOfNodes() == before
    names = [chart_node.GetNthPlotSeriesNode(index).GetName() for index in range(2)]
    assert names == ["GGO", "High opacity"]


def test_a_healthy_lung_has_a_chart_too(scene, volume_node, run):
    labels = (run.lobes > 0).astype(np.uint8)
    healthy = measure(run.ct, labels, lobes=run.lobes)
    chart_node = lobe_chart_to_node(scene, healthy, volume_node)
    assert chart_node.GetYAxisRange() == (0.0, 5.0)


def plot_view(scene, chart_node):
    """Slicer's plot view of a chart, as the stand-in has it."""
    node = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    node.SetLayoutName("PlotView1")
    node.SetPlotChartNodeID(chart_node.GetID())
    return PlotView(node)


def test_a_result_without_lobes_takes_an_earlier_chart_away(scene, volume_node, run):
    before = scene.GetNumberOfNodes()
    lobe_chart_to_node(scene, run, volume_node)
    without = measure(run.ct, run.labels)
    assert lobe_chart_to_node(scene, without, volume_node) is None
    assert lobe_chart_of(scene, volume_node) is None
    assert scene.GetNumberOfNodes() == before


def test_drawing_the_chart_again_adds_no_node(scene, volume_node, run):
    chart_node = lobe_chart_to_node(scene, run, volume_node)
    nodes_before = scene.GetNumberOfNodes()

    assert lobe_chart_to_node(scene, run, volume_node) is chart_node
    assert scene.GetNumberOfNodes() == nodes_before


def test_a_scene_file_holds_lobes_and_chart(scene, run, tmp_path):
    write_scene(tmp_path / "scene.mrb", run)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    volume_node = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    node = lobes_of(scene, volume_node)
    lobes, _ = lobes_from_node(node, volume_node)

    np.testing.assert_array_equal(lobes, run.lobes)
    assert not node.GetDisplayVisibility()
    chart_node = lobe_chart_of(scene, volume_node)
    assert chart_node.GetNumberOfPlotSeriesNodes() == 2
    _, table_node = results_of(scene, volume_node)
    assert record_from_node(table_node).measurements == run.measurements
