"""Scans of one patient over time in a scene: their order, a table of changes, and curves.

Writing: `follow_up_to_node(scene, table_nodes)` → change table node, with curves beside it.
Reading: `changes_from_node(change_node)` → `ChangeRecord`; `curves_of(scene, change_node)`.

A time point is a table that `mrml.table` wrote. Whether it is followed, and its day, are kept with
it; without a day of the user's, the study dates that Slicer's DICOM module has put into the subject
hierarchy are counted from the patient's first.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from CovidLungQuantLib.cohort.follow_up import (
    CHANGE_NOTES,
    FollowUp,
    TimePoint,
    compare_time_points,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    DISCLAIMER,
    GGO,
    HIGH_OPACITY,
    LEFT_LUNG_REGION,
    LOBES,
    RIGHT_LUNG_REGION,
)
from CovidLungQuantLib.measures.change import Change, change_row
from CovidLungQuantLib.measures.columns import followed_columns
from CovidLungQuantLib.mrml.chart import CHART_CLASS, TABLE_CLASS, series_of
from CovidLungQuantLib.mrml.nodes import (
    VOLUME_REFERENCE_ROLE,
    newest_referring,
    no_new_nodes_on_error,
    node_in_role,
    place_beside,
)
from CovidLungQuantLib.mrml.table import RECORD_ATTRIBUTE, is_stale, record_from_node

# What Slicer's DICOM module calls these in the subject hierarchy.
STUDY_DATE_ATTRIBUTE = "DICOM.StudyDate"
PATIENT_ID_ATTRIBUTE = "DICOM.PatientID"

DAY_ATTRIBUTE = "CovidLungQuant.day"
LEFT_OUT_ATTRIBUTE = "CovidLungQuant.leftOutOfFollowUp"
CHANGES_ATTRIBUTE = "CovidLungQuant.changes"
TIME_POINT_REFERENCE_ROLE = "CovidLungQuant.timePoint"
CURVE_POINTS_REFERENCE_ROLE = "CovidLungQuant.changesOfCurvePoints"
TITLES = {
    "region": "Region",
    "measure": "Figure",
    "unit": "Unit",
    "change_unit": "Unit of change",
    "change_first_to_last": "Change, first to last",
}
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


@dataclass(frozen=True)
class ChangeRecord:
    """What a change table holds.

    Attributes:
        names: of the scans, in order.
        days: of the scans; None for all where they are not known.
        changes: exact, see `measures.change.Change`.
        warnings: what to know before trusting the changes.
    """

    names: tuple[str, ...]
    days: tuple[float | None, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]


def measured_tables(scene: Any) -> list[Any]:
    """Return all table nodes that hold measurements of ours, in the order of the scene."""
    count = scene.GetNumberOfNodesByClass(TABLE_CLASS)
    nodes = [scene.GetNthNodeByClass(index, TABLE_CLASS) for index in range(count)]
    return [node for node in nodes if node.GetAttribute(RECORD_ATTRIBUTE)]


def set_day(table_node: Any, day: float | None) -> None:
    """Keep a scan's day, counted from any event; None goes back to the study date."""
    _set_attribute(table_node, DAY_ATTRIBUTE, "" if day is None else f"{day:g}")


def day_of(scene: Any, table_node: Any) -> float | None:
    """Return a scan's day: as given, or counted from the first study date; None if unknown."""
    text = table_node.GetAttribute(DAY_ATTRIBUTE)
    if text:
        return float(text)
    date = _study_date(scene, table_node)
    if date is None:
        return None
    patient = patient_id(scene, table_node)
    dates = [
        _study_date(scene, other)
        for other in measured_tables(scene)
        if patient_id(scene, other) == patient
    ]
    return float((date - min(other for other in dates if other is not None)).days)


def set_followed(table_node: Any, followed: bool) -> None:
    """Keep whether a scan belongs to the follow-up; at first every one does."""
    _set_attribute(table_node, LEFT_OUT_ATTRIBUTE, "" if followed else "1")


def is_followed(table_node: Any) -> bool:
    """Return whether a scan belongs to the follow-up."""
    return not table_node.GetAttribute(LEFT_OUT_ATTRIBUTE)


def patient_id(scene: Any, table_node: Any) -> str | None:
    """Return the patient's DICOM id of the scan behind a table; None if unknown."""
    return _inherited_attribute(scene, _volume_of(scene, table_node), PATIENT_ID_ATTRIBUTE)


def scan_name(scene: Any, table_node: Any) -> str:
    """Return the name of the scan behind a table; the table's own where the scan is gone."""
    return (_volume_of(scene, table_node) or table_node).GetName()


def compare_tables(scene: Any, table_nodes: Sequence[Any], anyway: bool = False) -> FollowUp:
    """Compute the changes between measured scans, in order of their days.

    Args:
        scene: the MRML scene.
        table_nodes: two or more tables of measurements; without days their order is that of time.
        anyway: compare also what was made by different rules; a warning says so.

    Raises:
        BadInputError: too few, a table is out of date, was edited or holds no measurements, two are
            of one scan, days are missing or equal, or the numbers do not compare.
    """
    if len(table_nodes) < 2:
        raise BadInputError("A change needs at least two measured scans; choose two or more.")
    volumes = [_volume_of(scene, node) for node in table_nodes]
    known = [volume for volume in volumes if volume is not None]
    if len({volume.GetID() for volume in known}) < len(known):
        raise BadInputError("Two of the tables are of the same scan; leave one of them out.")
    for node in table_nodes:
        if is_stale(node):
            raise BadInputError(
                f'The numbers of "{scan_name(scene, node)}" are out of date; measure it again'
                " before comparing."
            )
    nodes, days = _in_order_of_time(scene, table_nodes)
    names = _distinct([scan_name(scene, node) for node in nodes])
    found = compare_time_points(
        [_time_point(node, name, day) for node, name, day in zip(nodes, names, days, strict=True)],
        anyway,
    )
    own = [*_patients_differ(scene, nodes, names)]
    if None in days:
        own.append(
            "No days are known, so the scans stand in the order of the list; give each its day."
        )
    return FollowUp(found.time_points, found.changes, (*own, *found.warnings))


def follow_up_to_node(
    scene: Any, table_nodes: Sequence[Any], anyway: bool = False, change_node: Any | None = None
) -> Any:
    """Compare measured scans, write the table of changes and its curves; return the table node.

    One row a region and figure: the value at each time point, the change from one to the next and
    from first to last, in mL or percentage points. Warnings stand in the description. The curves
    (`curves_of`) are in % and mL for the lungs, and in % for the lobes where all scans have them.

    Args:
        scene: the MRML scene.
        table_nodes: see `compare_tables`.
        anyway: likewise.
        change_node: overwritten with its curves if given; None adds a table.

    Raises:
        BadInputError: see `compare_tables`; the scene is then as it was.
    """
    found = compare_tables(scene, table_nodes, anyway)
    ordered, _ = _in_order_of_time(scene, table_nodes)
    with no_new_nodes_on_error(scene):
        if change_node is None:
            change_node = scene.AddNewNodeByClass(
                TABLE_CLASS, scene.GenerateUniqueName(f"Changes of {found.time_points[0].name}")
            )
            place_beside(scene, change_node, _volume_of(scene, ordered[0]) or ordered[0])
        modify_state = change_node.StartModify()
        try:
            _fill_changes(change_node, found)
            change_node.RemoveNodeReferenceIDs(TIME_POINT_REFERENCE_ROLE)
            for node in ordered:
                change_node.AddNodeReferenceID(TIME_POINT_REFERENCE_ROLE, node.GetID())
            change_node.SetAttribute(CHANGES_ATTRIBUTE, _record_text(found, ordered))
            warnings = [f"Warning: {text}" for text in found.warnings]
            change_node.SetDescription("\n".join([*warnings, *CHANGE_NOTES, DISCLAIMER]))
            change_node.SetLocked(True)
        finally:
            change_node.EndModify(modify_state)
        _write_curves(scene, change_node, found)
    return change_node


def changes_from_node(change_node: Any) -> ChangeRecord:
    """Return exactly what was written into a change table, also after saving and loading.

    Raises:
        BadInputError: the table holds no changes.
    """
    text = None if change_node is None else change_node.GetAttribute(CHANGES_ATTRIBUTE)
    if not text:
        raise BadInputError("This is no table of changes of this module; compare the scans first.")
    stored = json.loads(text, parse_constant=lambda _name: math.nan)
    return ChangeRecord(
        names=tuple(stored["names"]),
        days=tuple(stored["days"]),
        changes=tuple(_change(item) for item in stored["changes"]),
        warnings=tuple(stored["warnings"]),
    )


def change_tables(scene: Any) -> list[Any]:
    """Return all change tables, in the order of the scene."""
    count = scene.GetNumberOfNodesByClass(TABLE_CLASS)
    nodes = [scene.GetNthNodeByClass(index, TABLE_CLASS) for index in range(count)]
    return [node for node in nodes if node.GetAttribute(CHANGES_ATTRIBUTE)]


def change_table_of(scene: Any, table_nodes: Sequence[Any]) -> Any | None:
    """Return the newest change table of exactly these scans, in any order; None without one."""
    wanted = {node.GetID() for node in table_nodes}
    for change_node in reversed(change_tables(scene)):
        if {node.GetID() for node in _compared(change_node) if node is not None} == wanted:
            return change_node
    return None


def is_out_of_date(scene: Any, change_node: Any) -> bool:
    """Return whether a compared table has other numbers, another day, or is gone since."""
    stored = json.loads(change_node.GetAttribute(CHANGES_ATTRIBUTE))
    nodes = _compared(change_node)
    if None in nodes or len(nodes) != len(stored["records"]):
        return True
    return (
        any(is_stale(node) for node in nodes)
        or [_fingerprint(node) for node in nodes] != stored["records"]
        or [day_of(scene, node) for node in nodes] != stored["days"]
    )


def curves_of(scene: Any, change_node: Any) -> dict[str, Any]:
    """Return the chart nodes of a change table by the names in `CHARTS`; missing ones left out."""
    found = {
        name: newest_referring(scene, CHART_CLASS, change_node, chart.role)
        for name, chart in CHARTS.items()
    }
    return {name: node for name, node in found.items() if node is not None}


def _compared(change_node: Any) -> list[Any | None]:
    """The compared tables in order of time; None for those that are gone."""
    count = change_node.GetNumberOfNodeReferences(TIME_POINT_REFERENCE_ROLE)
    return [
        change_node.GetNthNodeReference(TIME_POINT_REFERENCE_ROLE, index) for index in range(count)
    ]


def _set_attribute(node: Any, name: str, text: str) -> None:
    if (node.GetAttribute(name) or "") != text:
        node.SetAttribute(name, text)


def _volume_of(scene: Any, table_node: Any) -> Any | None:
    volume_id = table_node.GetNodeReferenceID(VOLUME_REFERENCE_ROLE)
    return scene.GetNodeByID(volume_id) if volume_id else None


def _inherited_attribute(scene: Any, node: Any | None, name: str) -> str | None:
    """An attribute of the study or patient that a node lies in."""
    hierarchy = scene.GetSubjectHierarchyNode()
    if node is None or hierarchy is None:
        return None
    item = hierarchy.GetItemByDataNode(node)
    while item and item != hierarchy.GetSceneItemID():
        text = hierarchy.GetItemAttribute(item, name)
        if text:
            return text
        item = hierarchy.GetItemParent(item)
    return None


def _study_date(scene: Any, table_node: Any) -> datetime.date | None:
    text = _inherited_attribute(scene, _volume_of(scene, table_node), STUDY_DATE_ATTRIBUTE) or ""
    try:
        return datetime.datetime.strptime(text.replace("-", ""), "%Y%m%d").date()
    except ValueError:
        return None


def _in_order_of_time(
    scene: Any, table_nodes: Sequence[Any]
) -> tuple[list[Any], list[float | None]]:
    """Sort by day; without days the order stays."""
    days = [day_of(scene, node) for node in table_nodes]
    pairs = list(zip(table_nodes, days, strict=True))
    if None not in days:
        pairs.sort(key=lambda pair: pair[1] or 0.0)
        for (earlier, day), (later, same) in itertools.pairwise(pairs):
            if day == same:
                raise BadInputError(
                    f'"{scan_name(scene, earlier)}" and "{scan_name(scene, later)}" have the same'
                    f" day ({day:g}); give each its own."
                )
    return [node for node, _ in pairs], [day for _, day in pairs]


def _time_point(table_node: Any, name: str, day: float | None) -> TimePoint:
    record = record_from_node(table_node)
    warnings = (*record.warnings, *record.measurements.warnings)
    return TimePoint(
        name=name,
        day=day,
        regions=record.measurements.regions,
        provenance=record.provenance or {},
        warnings=tuple(dict.fromkeys(warning.message for warning in warnings)),
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the names that occur more than once."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[:index].count(name) + 1})"
        for index, name in enumerate(names)
    ]


def _patients_differ(scene: Any, nodes: Sequence[Any], names: Sequence[str]) -> list[str]:
    patients = [patient_id(scene, node) for node in nodes]
    known = {patient for patient in patients if patient is not None}
    if len(known) < 2:
        return []
    listed = ", ".join(
        f"{name}: {patient or 'unknown'}" for name, patient in zip(names, patients, strict=True)
    )
    return [
        f"These scans are of different patients ({listed}); a change between them means nothing."
    ]


def _fingerprint(table_node: Any) -> str:
    record = table_node.GetAttribute(RECORD_ATTRIBUTE) or ""
    return hashlib.sha256(record.encode("utf-8")).hexdigest()


def _record_text(found: FollowUp, table_nodes: Sequence[Any]) -> str:
    return json.dumps(
        {
            "names": [point.name for point in found.time_points],
            "days": [point.day for point in found.time_points],
            "changes": [asdict(item) for item in found.changes],
            "warnings": list(found.warnings),
            "records": [_fingerprint(node) for node in table_nodes],
        }
    )


def _change(stored: dict[str, Any]) -> Change:
    lists: dict[str, Any] = {name: tuple(stored.pop(name)) for name in ("values", "from_previous")}
    return Change(**stored, **lists)


def _time_point_title(point: TimePoint) -> str:
    return point.name if point.day is None else f"{point.name} (day {point.day:g})"


def _fill_changes(change_node: Any, found: FollowUp) -> None:
    names = {column.key: column.full_name for column in followed_columns()}
    rows = [{**change_row(item), "measure": names[item.measure]} for item in found.changes]
    numbered = range(1, len(found.time_points) + 1)
    titles = {
        **TITLES,
        **{
            f"time_point_{number}": _time_point_title(point)
            for number, point in zip(numbered, found.time_points, strict=True)
        },
        **{f"change_{n}_to_{n + 1}": f"Change, {n} to {n + 1}" for n in numbered[:-1]},
    }
    change_node.RemoveAllColumns()
    for column in rows[0]:
        _add_column(change_node, column, [row[column] for row in rows])
        change_node.SetColumnTitle(column, titles[column])
    change_node.SetUseColumnTitleAsColumnHeader(True)


def _write_curves(scene: Any, change_node: Any, found: FollowUp) -> None:
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
    _add_column(points_node, TIME_COLUMN, times)
    for curve in (curve for chart in charts.values() for curve in chart.curves):
        _add_column(points_node, curve.name, found.change(curve.region, curve.measure).values)
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


def _add_column(table_node: Any, name: str, values: Sequence[Any]) -> None:
    import vtk

    is_text = any(isinstance(value, str) for value in values)
    array = vtk.vtkStringArray() if is_text else vtk.vtkDoubleArray()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    table_node.AddColumn(array)
