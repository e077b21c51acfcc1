"""A quantification's numbers as a table node, and back.

Writing: `measurements_to_node(scene, quantification, volume_node, table_node=None)`.
Reading: `record_from_node(table_node)` → `TableRecord(measurements, warnings, provenance)`;
`table_text(table_node)` → the table as text for a spreadsheet.

Slicer saves a table as text with six digits. The exact numbers therefore travel as JSON in an
attribute of the node; reading refuses when the visible table no longer agrees with them.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.lesions.probability import LESION_MARGIN
from CovidLungQuantLib.measures.columns import table_columns
from CovidLungQuantLib.measures.correction import Correction, StructureCorrection
from CovidLungQuantLib.measures.distribution import NormalComparison
from CovidLungQuantLib.measures.measurements import Measurements, table_rows
from CovidLungQuantLib.measures.review import review_sentence
from CovidLungQuantLib.measures.severity import LobeSeverity, RegionSeverity, Severity
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.mrml.nodes import no_new_nodes_on_error, place_beside, remember_volume

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

RECORD_ATTRIBUTE = "CovidLungQuant.record"
CORRECTION_ATTRIBUTE = "CovidLungQuant.correction"
STALE_NOTE = "Out of date: the segmentation was changed after these numbers were taken."
# A table loaded from a file has six significant digits.
VISIBLE_RELATIVE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class TableRecord:
    """What a table node holds.

    `provenance` has the fields of `pipeline.Provenance`; None where there was none.
    """

    measurements: Measurements
    warnings: tuple[ScanWarning, ...]
    provenance: dict[str, Any] | None


def measurements_to_node(
    scene: Any, quantification: Quantification, volume_node: Any, table_node: Any | None = None
) -> Any:
    """Write the measurements of `quantification` as one table node and return the node.

    One row a region; the columns are `measures.columns.table_columns`, with unit and title. Notes
    and warnings stand in the node's description.

    Args:
        scene: the MRML scene.
        quantification: what to write; also its warnings and provenance are kept.
        volume_node: the volume it belongs to; the table lies beside it in the subject hierarchy.
        table_node: overwritten if given; None adds a node.
    """
    record = _record_text(quantification)
    with no_new_nodes_on_error(scene):
        if table_node is None:
            table_node = scene.AddNewNodeByClass(
                "vtkMRMLTableNode", f"{volume_node.GetName()} measurements"
            )
            place_beside(scene, table_node, volume_node)
        modify_state = table_node.StartModify()
        try:
            _fill_columns(table_node, quantification.measurements)
            table_node.SetAttribute(RECORD_ATTRIBUTE, record)
            table_node.SetDescription(_description(quantification))
            table_node.SetLocked(True)
            remember_volume(table_node, volume_node)
        finally:
            table_node.EndModify(modify_state)
    return table_node


def record_from_node(table_node: Any) -> TableRecord:
    """Return exactly what was written into a table node, also after saving and loading.

    Raises:
        BadInputError: the table holds no measurements, or was edited since.
    """
    if table_node is None:
        raise BadInputError("No results table is selected; press Segment or Measure first.")
    text = table_node.GetAttribute(RECORD_ATTRIBUTE)
    if not text:
        raise BadInputError(
            f'The table "{table_node.GetName()}" holds no measurements of this module; measure'
            " the segmentation again."
        )
    # The one NaN object of `math`, so that what is read equals what was written.
    stored = json.loads(text, parse_constant=lambda _name: math.nan)
    record = TableRecord(
        measurements=_measurements(stored["measurements"]),
        warnings=_warnings(stored["warnings"]),
        provenance=stored["provenance"],
    )
    _check_visible(table_node, record.measurements)
    return record


def table_text(table_node: Any) -> str:
    """Return a table for the clipboard: tab between cells, so that a spreadsheet keeps them apart.

    Titles with units, one line a region with every digit, an empty cell where there is no number;
    below, what made the numbers, the warnings and the disclaimer, one line each.

    Raises:
        BadInputError: as `record_from_node`.
    """
    record = record_from_node(table_node)
    lines = [[column.heading_with_unit for column in table_columns()]]
    for row in table_rows(record.measurements):
        lines.append([_cell_text(value) for value in row.values()])
    made_by = [made_by_text(record.provenance)] if record.provenance is not None else []
    warnings = dict.fromkeys((*record.warnings, *record.measurements.warnings))
    stale = [STALE_NOTE] if is_stale(table_node) else []
    below = [*stale, *made_by, *(f"Warning: {item.message}" for item in warnings), DISCLAIMER]
    # A tab or a line's end within a sentence would tear it apart.
    lines += [[" ".join(sentence.split())] for sentence in below]
    return "\n".join("\t".join(cells) for cells in lines) + "\n"


def made_by_text(provenance: dict[str, Any]) -> str:
    """Say in one line what made the numbers: software, model with its hash, corrections."""
    software = f"CovidLungQuant {provenance['software_version']}"
    if provenance["model_name"] is None:
        return f"{software}; measured from the segmentation as it was, no network ran"
    text = f"{software}; model {provenance['model_name']}, SHA-256 {provenance['model_sha256']}"
    margin = provenance.get("lesion_margin")
    if margin not in (None, LESION_MARGIN):
        text += f"; sensitivity changed, margin {margin:.3g} instead of {LESION_MARGIN:g}"
    changed_voxels = provenance["options"].get("changed_voxels")
    if changed_voxels:
        text += f"; {changed_voxels} voxels corrected by hand"
    reviewed = review_sentence(provenance.get("review") or ()).removesuffix(".")
    return f"{text}; {reviewed[0].lower()}{reviewed[1:]}" if reviewed else text


def set_correction(table_node: Any, correction: Correction | None) -> None:
    """Keep with a table how the segmentation it counts differs from the machine's."""
    text = "" if correction is None else json.dumps(asdict(correction))
    if (table_node.GetAttribute(CORRECTION_ATTRIBUTE) or "") != text:
        table_node.SetAttribute(CORRECTION_ATTRIBUTE, text)


def correction_from_node(table_node: Any) -> Correction | None:
    """Return the correction kept with a table, also after saving and loading; None without one."""
    text = table_node.GetAttribute(CORRECTION_ATTRIBUTE)
    if not text:
        return None
    stored = json.loads(text, parse_constant=lambda _name: math.nan)
    structures = tuple(StructureCorrection(**structure) for structure in stored.pop("structures"))
    return Correction(**stored, structures=structures)


def set_stale(table_node: Any, stale: bool) -> None:
    """Say in a table's description that its numbers are out of date, or take that back."""
    if is_stale(table_node) == stale:
        return
    description = table_node.GetDescription() or ""
    if stale:
        table_node.SetDescription(f"{STALE_NOTE}\n{description}")
    else:
        table_node.SetDescription(description.removeprefix(f"{STALE_NOTE}\n"))


def is_stale(table_node: Any) -> bool:
    """Return whether a table says that its numbers are out of date."""
    return (table_node.GetDescription() or "").startswith(STALE_NOTE)


def _record_text(quantification: Quantification) -> str:
    provenance = quantification.provenance
    return json.dumps(
        {
            "measurements": asdict(quantification.measurements),
            "warnings": [asdict(warning) for warning in quantification.warnings],
            "provenance": None if provenance is None else asdict(provenance),
        }
    )


def _measurements(stored: dict[str, Any]) -> Measurements:
    return Measurements(
        regions=tuple(RegionMeasurement(**region) for region in stored["regions"]),
        notes=tuple(stored["notes"]),
        warnings=_warnings(stored["warnings"]),
        severity=_severity(stored.get("severity")),
        comparison=_comparison(stored.get("comparison")),
    )


def _severity(stored: dict[str, Any] | None) -> Severity | None:
    if stored is None:
        return None
    return Severity(
        lobes=tuple(LobeSeverity(**lobe) for lobe in stored["lobes"]),
        regions=tuple(RegionSeverity(**region) for region in stored["regions"]),
        minimum_lesion_ml=stored["minimum_lesion_ml"],
    )


def _comparison(stored: dict[str, Any] | None) -> NormalComparison | None:
    return None if stored is None else NormalComparison(**stored)


def _warnings(stored: list[dict[str, str]]) -> tuple[ScanWarning, ...]:
    return tuple(ScanWarning(**warning) for warning in stored)


def _description(quantification: Quantification) -> str:
    measurements = quantification.measurements
    warnings = dict.fromkeys((*quantification.warnings, *measurements.warnings))
    lines = [f"Warning: {warning.message}" for warning in warnings]
    return "\n".join([*lines, *measurements.notes, DISCLAIMER])


def _fill_columns(table_node: Any, measurements: Measurements) -> None:
    import vtk

    table_node.RemoveAllColumns()
    rows = table_rows(measurements)
    for column in table_columns():
        values = [row[column.key] for row in rows]
        is_text = any(isinstance(value, str) for value in values)
        array = vtk.vtkStringArray() if is_text else vtk.vtkDoubleArray()
        array.SetName(column.key)
        for value in values:
            array.InsertNextValue(value if is_text else _number(value))
        table_node.AddColumn(array)
        table_node.SetColumnTitle(column.key, column.heading_with_unit)
        table_node.SetColumnUnitLabel(column.key, column.unit.text)
    table_node.SetUseColumnTitleAsColumnHeader(True)
    table_node.SetUseFirstColumnAsRowHeader(True)


def _check_visible(table_node: Any, measurements: Measurements) -> None:
    """Refuse a table whose cells are not those of the exact record."""
    table = table_node.GetTable()
    edited = BadInputError(
        f'The table "{table_node.GetName()}" was edited after it was measured; measure the'
        " segmentation again."
    )
    if table.GetNumberOfRows() != len(measurements.regions):
        raise edited
    for row, shown in enumerate(table_rows(measurements)):
        for column, value in shown.items():
            cells = table.GetColumnByName(column)
            # A figure that the version which wrote the table did not know is in neither.
            is_newer = cells is None and isinstance(value, float) and math.isnan(value)
            if not is_newer and (cells is None or not _shows(cells.GetVariantValue(row), value)):
                raise edited


def _shows(cell: Any, value: Any) -> bool:
    if isinstance(value, str):
        return cell.ToString() == value
    expected, shown = _number(value), cell.ToDouble()
    if math.isnan(expected) or math.isnan(shown):
        return math.isnan(expected) and math.isnan(shown)
    return math.isclose(shown, expected, rel_tol=VISIBLE_RELATIVE_TOLERANCE)


def _cell_text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return "" if value is None else str(value)


def _number(value: str | float | None) -> float:
    return math.nan if value is None else float(value)
