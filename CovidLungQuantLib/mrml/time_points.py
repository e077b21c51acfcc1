"""What is kept with a measured table of a scene: its day, whether it is followed, whose it is.

A time point is a table that `mrml.table` wrote. Without a day of the user's, the study dates that
Slicer's DICOM module has put into the subject hierarchy are counted from the patient's first.
"""

from __future__ import annotations

import datetime
from typing import Any

from CovidLungQuantLib.mrml.chart import TABLE_CLASS
from CovidLungQuantLib.mrml.nodes import (
    VOLUME_REFERENCE_ROLE,
)
from CovidLungQuantLib.mrml.table import RECORD_ATTRIBUTE

# What Slicer's DICOM module calls these in the subject hierarchy.
STUDY_DATE_ATTRIBUTE = "DICOM.StudyDate"
PATIENT_ID_ATTRIBUTE = "DICOM.PatientID"
DAY_ATTRIBUTE = "CovidLungQuant.day"
LEFT_OUT_ATTRIBUTE = "CovidLungQuant.leftOutOfFollowUp"


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
    return _inherited_attribute(scene, volume_of(scene, table_node), PATIENT_ID_ATTRIBUTE)


def scan_name(scene: Any, table_node: Any) -> str:
    """Return the name of the scan behind a table; the table's own where the scan is gone."""
    return (volume_of(scene, table_node) or table_node).GetName()


def _set_attribute(node: Any, name: str, text: str) -> None:
    if (node.GetAttribute(name) or "") != text:
        node.SetAttribute(name, text)


def volume_of(scene: Any, table_node: Any) -> Any | None:
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
    text = _inherited_attribute(scene, volume_of(scene, table_node), STUDY_DATE_ATTRIBUTE) or ""
    try:
        return datetime.datetime.strptime(text.replace("-", ""), "%Y%m%d").date()
    except ValueError:
        return None
