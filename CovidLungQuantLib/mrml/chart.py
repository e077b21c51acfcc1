"""A chart of the lobes in Slicer: GGO and high opacity of each, side by side.

`lobe_chart_to_node(scene, quantification, volume_node)` → chart node, or None without lobes. Nodes
can give an axis numbers only, which its title explains; `name_axis(axis, chart_node)` puts the
names of the lobes there once a view draws the chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LOBES
from CovidLungQuantLib.mrml.nodes import (
    CHART_REFERENCE_ROLE,
    newest_referring,
    no_new_nodes_on_error,
    node_in_role,
    remove,
)

if TYPE_CHECKING:
    from CovidLungQuantLib.measures.volumes import RegionMeasurement
    from CovidLungQuantLib.quantification import Quantification

CHART_CLASS = "vtkMRMLPlotChartNode"
SERIES_CLASS = "vtkMRMLPlotSeriesNode"
TABLE_CLASS = "vtkMRMLTableNode"
LOBE_COLUMN = "Lobe"
NUMBER_COLUMN = "Number"
LOBES_TITLE = f"Lobes 1 to {len(LOBES)}: {', '.join(lobe.short_name for lobe in LOBES)}"
# The first and the last lobe's bars whole.
X_RANGE = (0.5, len(LOBES) + 0.5)
# The legend lies at the upper edge: the bars end below it.
HEIGHT_PER_BAR = 1.4
# %; the chart of a lung with next to no lesion looks like one.
LOWEST_TOP = 5.0
TITLE_FONT_SIZE, FONT_SIZE = 14, 12
# Slicer's plots cannot stack bars; each series is a bar beside the other.
SERIES = ((GGO, "ggo_percent"), (HIGH_OPACITY, "high_opacity_percent"))


def lobe_chart_to_node(
    scene: Any,
    quantification: Quantification,
    volume_node: Any,
    segmentation_node: Any | None = None,
) -> Any | None:
    """Write the chart of a volume's lobes, or renew it, and return the chart node.

    Args:
        scene: the MRML scene.
        quantification: what to draw; without lobes None is returned, and an earlier chart of the
            same result is taken out of the scene: its numbers are no longer those of the result.
        volume_node: the volume it belongs to.
        segmentation_node: the result it belongs to, where the volume has several.
    """
    rows = quantification.measurements.lobes
    if not rows:
        _remove_chart(scene, volume_node, segmentation_node)
        return None
    with no_new_nodes_on_error(scene):
        name = volume_node.GetName()
        mine = (volume_node, CHART_REFERENCE_ROLE)
        table_node = node_in_role(
            scene, TABLE_CLASS, *mine, f"{name} lesion by lobe", segmentation_node
        )
        _fill_table(table_node, rows)
        chart_node = node_in_role(
            scene, CHART_CLASS, *mine, f"{name} lobe chart", segmentation_node
        )
        chart_node.SetTitle(f"{name}: lesion by lobe")
        chart_node.SetTitleFontSize(TITLE_FONT_SIZE)
        chart_node.SetXAxisTitle(LOBES_TITLE)
        chart_node.SetYAxisTitle("% of the lobe")
        chart_node.SetAxisTitleFontSize(FONT_SIZE)
        chart_node.SetLegendFontSize(FONT_SIZE)
        chart_node.SetXAxisRangeAuto(False)
        chart_node.SetXAxisRange(*X_RANGE)
        chart_node.SetYAxisRangeAuto(False)
        chart_node.SetYAxisRange(0.0, _top(rows))
        chart_node.SetLegendVisibility(True)
        for label, column in SERIES:
            series_node = _series_of_column(scene, chart_node, column)
            # The legend shows the name of the node.
            series_node.SetName(label.name)
            series_node.SetAndObserveTableNodeID(table_node.GetID())
            series_node.SetPlotType(series_node.PlotTypeScatterBar)
            series_node.SetLabelColumnName(LOBE_COLUMN)
            series_node.SetXColumnName(NUMBER_COLUMN)
            series_node.SetYColumnName(column)
            series_node.SetColor(*label.color)
    return chart_node


def lobe_chart_of(scene: Any, volume_node: Any, segmentation_node: Any | None = None) -> Any | None:
    """Return the chart made for a volume, or for one of its results; None if there is none."""
    return newest_referring(
        scene, CHART_CLASS, volume_node, CHART_REFERENCE_ROLE, segmentation_node
    )


def name_axis(axis: Any, chart_node: Any | None) -> None:
    """Write the lobes at the x axis of a view that draws a lobe chart, and numbers for any other.

    Args:
        axis: `vtkAxis` of the view's own chart.
        chart_node: what the view draws; None for nothing.
    """
    import vtk

    if chart_node is None or not _has_numbered_lobes(chart_node):
        axis.SetCustomTickPositions(None, None)
        return
    places, names = vtk.vtkDoubleArray(), vtk.vtkStringArray()
    for number, lobe in enumerate(LOBES, start=1):
        places.InsertNextValue(number)
        names.InsertNextValue(lobe.short_name)
    axis.SetCustomTickPositions(places, names)


def _remove_chart(scene: Any, volume_node: Any, segmentation_node: Any | None) -> None:
    chart_node = lobe_chart_of(scene, volume_node, segmentation_node)
    table_node = newest_referring(
        scene, TABLE_CLASS, volume_node, CHART_REFERENCE_ROLE, segmentation_node
    )
    series_nodes = []
    if chart_node is not None:
        count = chart_node.GetNumberOfPlotSeriesNodes()
        series_nodes = [chart_node.GetNthPlotSeriesNode(index) for index in range(count)]
    for node in (chart_node, *series_nodes, table_node):
        if node is not None:
            remove(scene, node)


def series_of(scene: Any, chart_node: Any, name: str) -> Any:
    """The series of that name in the chart, or a new one; the name stands in the legend."""
    for index in range(chart_node.GetNumberOfPlotSeriesNodes()):
        series_node = chart_node.GetNthPlotSeriesNode(index)
        if series_node is not None and series_node.GetName() == name:
            return series_node
    series_node = scene.AddNewNodeByClass(SERIES_CLASS, name)
    chart_node.AddAndObservePlotSeriesNodeID(series_node.GetID())
    return series_node


def _has_numbered_lobes(chart_node: Any) -> bool:
    """Whether it is a lobe chart with the lobes at 1 to 5; the first charts had them at 0 to 4."""
    series_node = chart_node.GetNthPlotSeriesNode(0)
    return (
        bool(chart_node.GetNodeReferenceID(CHART_REFERENCE_ROLE))
        and series_node is not None
        and series_node.GetXColumnName() == NUMBER_COLUMN
    )


def _series_of_column(scene: Any, chart_node: Any, column: str) -> Any:
    """The series of the chart that draws that column, or a new one."""
    for index in range(chart_node.GetNumberOfPlotSeriesNodes()):
        series_node = chart_node.GetNthPlotSeriesNode(index)
        if series_node is not None and series_node.GetYColumnName() == column:
            return series_node
    return series_of(scene, chart_node, column)


def _top(rows: Sequence[RegionMeasurement]) -> float:
    """Upper end of the y axis, %."""
    heights = [getattr(row, column) for row in rows for _, column in SERIES]
    tallest = max((height for height in heights if not math.isnan(height)), default=0.0)
    return max(HEIGHT_PER_BAR * tallest, LOWEST_TOP)


def _fill_table(table_node: Any, rows: Sequence[RegionMeasurement]) -> None:
    import vtk

    table_node.RemoveAllColumns()
    names, places = vtk.vtkStringArray(), vtk.vtkIntArray()
    names.SetName(LOBE_COLUMN)
    places.SetName(NUMBER_COLUMN)
    for number, lobe in enumerate(LOBES, start=1):
        names.InsertNextValue(lobe.short_name)
        places.InsertNextValue(number)
    table_node.AddColumn(names)
    table_node.AddColumn(places)
    for _, column in SERIES:
        numbers = vtk.vtkDoubleArray()
        numbers.SetName(column)
        for row in rows:
            numbers.InsertNextValue(getattr(row, column))
        table_node.AddColumn(numbers)
    table_node.SetLocked(True)
