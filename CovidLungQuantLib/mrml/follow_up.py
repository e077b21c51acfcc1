"""Scans of one patient over time in a scene: their order and a table of changes.

Writing: `follow_up_to_node(scene, table_nodes)` → change table node, with curves beside it.
Reading: `changes_from_node(change_node)` → `ChangeRecord`.
"""

from __future__ import annotations

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
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.measures.change import Change, change_row
from CovidLungQuantLib.measures.columns import followed_columns
from CovidLungQuantLib.mrml.chart import TABLE_CLASS
from CovidLungQuantLib.mrml.follow_up_curves import add_column, write_curves
from CovidLungQuantLib.mrml.nodes import no_new_nodes_on_error, place_beside
from CovidLungQuantLib.mrml.table import RECORD_ATTRIBUTE, is_stale, record_from_node
from CovidLungQuantLib.mrml.time_points import day_of, patient_id, scan_name, volume_of

CHANGES_ATTRIBUTE = "CovidLungQuant.changes"
TIME_POINT_REFERENCE_ROLE = "CovidLungQuant.timePoint"
TITLES = {
    "region": "Region",
    "measure": "Figure",
    "unit": "Unit",
    "change_unit": "Unit of change",
    "change_first_to_last": "Change, first to last",
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
    volumes = [volume_of(scene, node) for node in table_nodes]
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
            place_beside(scene, change_node, volume_of(scene, ordered[0]) or ordered[0])
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
        write_curves(scene, change_node, found)
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


def _compared(change_node: Any) -> list[Any | None]:
    """The compared tables in order of time; None for those that are gone."""
    count = change_node.GetNumberOfNodeReferences(TIME_POINT_REFERENCE_ROLE)
    return [
        change_node.GetNthNodeReference(TIME_POINT_REFERENCE_ROLE, index) for index in range(count)
    ]


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
        add_column(change_node, column, [row[column] for row in rows])
        change_node.SetColumnTitle(column, titles[column])
    change_node.SetUseColumnTitleAsColumnHeader(True)
