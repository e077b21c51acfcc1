"""A chart of the lobes in Slicer: GGO and high opacity of each, side by side.

`lobe_chart_to_node(scene, quantification, volume_node)` → chart node, or None without lobes.
"""

from __future__ import annotations

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
        chart_node.SetXAxisTitle("Lobe")
        chart_node.SetYAxisTitle("% of the lobe")
        for label, column in SERIES:
            series_node = series_of(scene, chart_node, f"{name} {label.name}")
            series_node.SetAndObserveTableNodeID(table_node.GetID())
            series_node.SetPlotType(series_node.PlotTypeBar)
            series_node.SetLabelColumnName(LOBE_COLUMN)
            series_node.SetYColumnName(column)
            series_node.SetColor(*label.color)
    return chart_node


def lobe_chart_of(scene: Any, volume_node: Any, segmentation_node: Any | None = None) -> Any | None:
    """Return the chart made for a volume, or for one of its results; None if there is none."""
    return newest_referring(
        scene, CHART_CLASS, volume_node, CHART_REFERENCE_ROLE, segmentation_node
    )


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


def _fill_table(table_node: Any, rows: Sequence[RegionMeasurement]) -> None:
    import vtk

    table_node.RemoveAllColumns()
    names = vtk.vtkStringArray()
    names.SetName(LOBE_COLUMN)
    for lobe in LOBES:
        names.InsertNextValue(lobe.short_name)
    table_node.AddColumn(names)
    for _, column in SERIES:
        numbers = vtk.vtkDoubleArray()
        numbers.SetName(column)
        for row in rows:
            numbers.InsertNextValue(getattr(row, column))
        table_node.AddColumn(numbers)
    table_node.SetLocked(True)
