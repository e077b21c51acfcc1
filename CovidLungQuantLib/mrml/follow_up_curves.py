"""Curves of a change table in a scene: a chart of each, drawn from a table of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from CovidLungQuantLib.cohort.follow_up import (
    FollowUp,
)
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    GGO,
    HIGH_OPACITY,
    LEFT_LUNG_REGION,
    LOBES,
    RIGHT_LUNG_REGION,
)
from CovidLungQuantLib.mrml.chart import CHART_CLASS, TABLE_CLASS, series_of
from CovidLungQuantLib.mrml.nodes import (
    newest_referring,
    node_in_role,
)

CURVE_POINTS_REFERENCE_ROLE = "CovidLungQuant.changesOfCurvePoints"
TIME_COLUMN = "time"
INK = (0.11, 0.15, 0.19)
QUIET = (0.45, 0.50, 0.55)


@dataclass(frozen=True)
class _Curve:
    """One line of a chart: a figure of a region."""

    name: str
    region: str
    measure: str
    color: tuple[float, float, float]
    dashed: bool = False


@dataclass(frozen=True)
class _Chart:
    """Curves that share an axis; `role` is the reference from the chart to the change table."""

    title: str
    y_title: str
    role: str
    curves: tuple[_Curve, ...]


def _lungs_chart(suffix: str, unit: str, y_title: str) -> _Chart:
    return _Chart(
        title=f"Change over time ({unit})",
        y_title=y_title,
        role=f"CovidLungQuant.changesOfChartIn_{suffix}",
        curves=tuple(
            _Curve(f"{name} ({unit})", region, f"{stem}_{suffix}", *line)
            for name, region, stem, *line in (
                ("Lesion", BOTH_LUNGS_REGION, "lesion", INK),
                ("GGO", BOTH_LUNGS_REGION, "ggo", GGO.color),
                ("High opacity", BOTH_LUNGS_REGION, "high_opacity", HIGH_OPACITY.color),
                ("Lesion, right lung", RIGHT_LUNG_REGION, "lesion", INK, True),
                ("Lesion, left lung", LEFT_LUNG_REGION, "lesion", QUIET, True),
            )
        ),
    )


# By the name under which `curves_of` returns them.
CHARTS: dict[str, _Chart] = {
    "percent": _lungs_chart("percent", "%", "% of the region's lung volume"),
    "ml": _lungs_chart("ml", "mL", "mL"),
    "lobes": _Chart(
        title="Lesion by lobe over time (%)",
        y_title="% of the lobe",
        role="CovidLungQuant.changesOfChartOfLobes",
        curves=tuple(
            _Curve(f"{lobe.short_name} (%)", lobe.name.lower(), "lesion_percent", lobe.color)
            for lobe in LOBES
        ),
    ),
}


def curves_of(scene: Any, change_node: Any) -> dict[str, Any]:
    """Return the chart nodes of a change table by the names in `CHARTS`; missing ones left out."""
    found = {
        name: newest_referring(scene, CHART_CLASS, change_node, chart.role)
        for name, chart in CHARTS.items()
    }
    return {name: node for name, node in found.items() if node is not None}


def write_curves(scene: Any, change_node: Any, found: FollowUp) -> None:
    charts = {
        name: chart
        for name, chart in CHARTS.items()
        if all(curve.region in found.regions for curve in chart.curves)
    }
    days = [point.day for point in found.time_points]
    times = [float(n) for n in range(1, len(days) + 1)] if None in days else days
    name = change_node.GetName()
    role = CURVE_POINTS_REFERENCE_ROLE
    points_node = node_in_role(scene, TABLE_CLASS, change_node, role, f"{name}: curve points")
    points_node.RemoveAllColumns()
    add_column(points_node, TIME_COLUMN, times)
    for curve in (curve for chart in charts.values() for curve in chart.curves):
        add_column(points_node, curve.name, found.change(curve.region, curve.measure).values)
    points_node.SetLocked(True)
    for chart_name, node in curves_of(scene, change_node).items():
        if chart_name not in charts:
            _remove_chart(scene, node)
    for chart in charts.values():
        named = f"{name}: {chart.title}"
        chart_node = node_in_role(scene, CHART_CLASS, change_node, chart.role, named)
        chart_node.SetTitle(chart.title)
        chart_node.SetXAxisTitle("Scan" if None in days else "Day")
        chart_node.SetYAxisTitle(chart.y_title)
        chart_node.SetLegendVisibility(True)
        for curve in chart.curves:
            _draw(series_of(scene, chart_node, curve.name), points_node, curve)


def _draw(series_node: Any, points_node: Any, curve: _Curve) -> None:
    series_node.SetAndObserveTableNodeID(points_node.GetID())
    series_node.SetPlotType(series_node.PlotTypeScatter)
    series_node.SetXColumnName(TIME_COLUMN)
    series_node.SetYColumnName(curve.name)
    series_node.SetColor(*curve.color)
    series_node.SetMarkerStyle(series_node.MarkerStyleCircle)
    series_node.SetLineStyle(
        series_node.LineStyleDash if curve.dashed else series_node.LineStyleSolid
    )


def _remove_chart(scene: Any, chart_node: Any) -> None:
    for index in reversed(range(chart_node.GetNumberOfPlotSeriesNodes())):
        scene.RemoveNode(chart_node.GetNthPlotSeriesNode(index))
    scene.RemoveNode(chart_node)


def add_column(table_node: Any, name: str, values: Sequence[Any]) -> None:
    import vtk

    is_text = any(isinstance(value, str) for value in values)
    array = vtk.vtkStringArray() if is_text else vtk.vtkDoubleArray()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    table_node.AddColumn(array)
