"""Stand-in for Slicer's plot view: VTK's real chart, filled from the real plot nodes.

As in Slicer the nodes know nothing of the ticks of an axis: a label column is for tooltips only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vtk

from .refusing import RefusesUnknownNames
from .views import save_window


class PlotWidget(RefusesUnknownNames):
    """`qMRMLPlotWidget` of a plot view node."""

    standInClass = "qMRMLPlotWidget"

    def __init__(self, view_node: Any) -> None:
        self.standInNode = view_node
        self.standInView = PlotView(view_node)

    def mrmlPlotViewNode(self) -> Any:
        """Return the node of the view."""
        return self.standInNode

    def plotView(self) -> PlotView:
        """Return what draws."""
        return self.standInView


class PlotView(RefusesUnknownNames):
    """`qMRMLPlotView`: one VTK chart for as long as the view lives."""

    standInClass = "qMRMLPlotView"

    def __init__(self, view_node: Any) -> None:
        self.standInNode = view_node
        self.standInChart = vtk.vtkChartXY()
        self.standInScene = vtk.vtkContextScene()

    def chart(self) -> Any:
        """Return VTK's chart as the nodes want it now."""
        self.standInFill()
        return self.standInChart

    def scene(self) -> Any:
        """Return VTK's scene that the chart lies in."""
        return self.standInScene

    def update(self) -> None:
        """Draw again soon; here pictures are drawn when they are asked for."""

    def standInFill(self) -> None:
        """Draw what the chart node says: series, titles, ranges, legend."""
        chart, node = self.standInChart, self.standInNode.GetPlotChartNode()
        chart.ClearPlots()
        if node is None:
            return
        for index in range(node.GetNumberOfPlotSeriesNodes()):
            plot = _plot(node.GetNthPlotSeriesNode(index))
            if plot is not None:
                chart.AddPlot(plot)
        chart.SetTitle((node.GetTitle() if node.GetTitleVisibility() else "") or "")
        chart.GetTitleProperties().SetFontSize(node.GetTitleFontSize())
        chart.SetShowLegend(node.GetLegendVisibility())
        chart.GetLegend().GetLabelProperties().SetFontSize(node.GetLegendFontSize())
        for place in (vtk.vtkAxis.BOTTOM, vtk.vtkAxis.LEFT):
            _set_axis(chart.GetAxis(place), node, "X" if place == vtk.vtkAxis.BOTTOM else "Y")

    def standInDraw(self, file: Path, size: tuple[int, int]) -> None:
        """Save a picture of the chart."""
        view = vtk.vtkContextView()
        view.GetRenderWindow().SetOffScreenRendering(True)
        view.GetRenderWindow().SetSize(*size)
        view.GetScene().AddItem(self.chart())
        save_window(view.GetRenderWindow(), file)
        view.GetScene().RemoveItem(self.standInChart)


def _plot(series: Any) -> Any | None:
    """VTK's plot of a series node, None where it has nothing to draw."""
    table_node = series.GetTableNode()
    if table_node is None or not series.GetYColumnName():
        return None
    is_bar = series.GetPlotType() in (series.PlotTypeBar, series.PlotTypeScatterBar)
    plot = vtk.vtkPlotBar() if is_bar else vtk.vtkPlotLine()
    plot.SetWidth(series.GetLineWidth())
    plot.SetColorF(*series.GetColor())
    plot.SetOpacity(series.GetOpacity())
    plot.SetLabel(series.GetName())
    table, y_column = table_node.GetTable(), series.GetYColumnName()
    plot.SetUseIndexForXSeries(not series.IsXColumnRequired())
    plot.SetInputData(table, series.GetXColumnName() or y_column, y_column)
    plot.SetIndexedLabels(table.GetColumnByName(series.GetLabelColumnName() or ""))
    return plot


def _set_axis(axis: Any, chart_node: Any, letter: str) -> None:
    def said(what: str) -> Any:
        return getattr(chart_node, f"Get{letter}Axis{what}")()

    axis.SetTitle((said("Title") if said("TitleVisibility") else "") or "")
    axis.GetTitleProperties().SetFontSize(chart_node.GetAxisTitleFontSize())
    axis.GetTitleProperties().SetBold(False)
    axis.GetLabelProperties().SetFontSize(chart_node.GetAxisLabelFontSize())
    axis.SetGridVisible(chart_node.GetGridVisibility())
    if said("RangeAuto"):
        axis.SetBehavior(vtk.vtkAxis.AUTO)
        return
    axis.SetBehavior(vtk.vtkAxis.FIXED)
    axis.SetUnscaledRange(*said("Range"))
