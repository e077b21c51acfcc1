"""Measurements as a table node, and back, in Slicer's real scene."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER, NORMAL_LUNG
from CovidLungQuantLib.measures.columns import column_keys
from CovidLungQuantLib.measures.measurements import table_rows
from CovidLungQuantLib.mrml.nodes import results_of
from CovidLungQuantLib.mrml.table import (
    STALE_NOTE,
    measurements_to_node,
    record_from_node,
    set_stale,
    table_text,
)
from CovidLungQuantLib.mrml.volumes import ct_to_node
from Testing.Python.small_chest import WARNING, a_ct, a_label_map, a_quantification


@pytest.fixture
def volume_node(scene):
    return ct_to_node(scene, a_ct())


@pytest.fixture
def table_node(scene, volume_node):
    return measurements_to_node(scene, a_quantification(), volume_node)


def cell(table_node, row, column):
    return table_node.GetTable().GetColumnByName(column).GetVariantValue(row)


def test_measurements_come_back_exactly(table_node):
    run = a_quantification()
    record = record_from_node(table_node)
    assert record.measurements == run.measurements
    assert record.warnings == (WARNING,)
    assert record.provenance == asdict(run.provenance)


def test_numbers_that_do_not_exist_come_back_as_such(scene, volume_node):
    labels = (a_label_map() > 0).astype(np.uint8) * NORMAL_LUNG.value
    run = a_quantification(labels=labels)
    record = record_from_node(measurements_to_node(scene, run, volume_node))
    assert math.isnan(record.measurements.regions[0].ggo_mean_hu)
    assert record.measurements == run.measurements


def test_the_table_shows_every_number_in_full(table_node):
    regions = a_quantification().measurements.regions
    assert table_node.GetNumberOfRows() == len(regions)
    assert [table_node.GetColumnName(i) for i in range(table_node.GetNumberOfColumns())] == list(
        column_keys()
    )
    for row, shown in enumerate(table_rows(a_quantification().measurements)):
        assert cell(table_node, row, "region").ToString() == shown["region"]
        for column in column_keys()[1:]:
            np.testing.assert_equal(cell(table_node, row, column).ToDouble(), float(shown[column]))


def test_columns_say_their_unit(table_node):
    assert table_node.GetUseColumnTitleAsColumnHeader()
    shown = {
        column: (table_node.GetColumnTitle(column), table_node.GetColumnUnitLabel(column))
        for column in ("region", "volume_ml", "ggo_percent", "high_opacity_ml", "ggo_mean_hu")
    }
    assert shown == {
        "region": ("Region", ""),
        "volume_ml": ("Lung (mL)", "mL"),
        "ggo_percent": ("GGO (%)", "%"),
        "high_opacity_ml": ("High opacity (mL)", "mL"),
        "ggo_mean_hu": ("GGO mean (HU)", "HU"),
    }


def test_the_description_holds_warnings_notes_and_the_disclaimer(table_node):
    description = table_node.GetDescription()
    measurements = a_quantification().measurements
    for text in (
        WARNING.message,
        DISCLAIMER,
        *measurements.notes,
        *(warning.message for warning in measurements.warnings),
    ):
        assert text in description


def test_measuring_again_overwrites_the_same_table(scene, volume_node, table_node):
    nodes_before = scene.GetNumberOfNodes()
    labels = a_label_map()
    labels[labels > 0] = NORMAL_LUNG.value
    run = a_quantification(labels=labels)
    assert measurements_to_node(scene, run, volume_node, table_node) is table_node
    assert scene.GetNumberOfNodes() == nodes_before
    assert table_node.GetNumberOfColumns() == len(column_keys())
    assert record_from_node(table_node).measurements == run.measurements


def test_the_table_belongs_to_its_volume(scene, volume_node, table_node):
    hierarchy = scene.GetSubjectHierarchyNode()
    assert results_of(scene, volume_node) == (None, table_node)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table_node)) == (
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume_node))
    )


def test_an_edited_number_is_not_taken_for_measured(table_node):
    table_node.GetTable().GetColumnByName("ggo_ml").SetValue(0, 123.0)
    with pytest.raises(BadInputError, match="edited"):
        record_from_node(table_node)


@pytest.mark.parametrize("edit", ["row", "column", "region"])
def test_an_edited_table_is_not_taken_for_measured(table_node, edit):
    table_node.SetLocked(False)
    if edit == "row":
        table_node.RemoveRow(2)
    elif edit == "column":
        table_node.RemoveColumn(3)
    else:
        table_node.GetTable().GetColumnByName("region").SetValue(1, "left lung")
    with pytest.raises(BadInputError, match="edited"):
        record_from_node(table_node)


def test_a_table_of_something_else_is_refused(scene):
    other = scene.AddNewNodeByClass("vtkMRMLTableNode", "other")
    with pytest.raises(BadInputError, match="no measurements"):
        record_from_node(other)
    with pytest.raises(BadInputError, match="No results table"):
        record_from_node(None)


def test_a_failed_call_leaves_the_scene_as_it_was(scene, volume_node):
    nodes_before = scene.GetNumberOfNodes()
    run = a_quantification()
    broken = replace(run.measurements.regions[0], volume_ml="much")
    run = replace(
        run, measurements=replace(run.measurements, regions=(broken, *run.measurements.regions[1:]))
    )
    with pytest.raises(TypeError):
        measurements_to_node(scene, run, volume_node)
    assert scene.GetNumberOfNodes() == nodes_before


def test_the_text_for_a_spreadsheet_holds_every_number_with_its_unit(scene, volume_node):
    run = a_quantification()
    provenance = replace(
        run.provenance,
        options={"changed_voxels": 12},
        lesion_margin=0.25,
        review=[{"decision": "rejected", "reason": "vessel"}],
    )
    table_node = measurements_to_node(scene, replace(run, provenance=provenance), volume_node)
    lines = table_text(table_node).split("\n")
    assert lines[0].startswith("Region\tLung (mL)\t") and "GGO (%)" in lines[0].split("\t")
    rows = table_rows(run.measurements)
    for line, row in zip(lines[1:], rows, strict=False):
        cells = line.split("\t")
        assert cells[0] == row["region"] and len(cells) == len(column_keys())
        for column, cell_text in zip(column_keys()[1:], cells[1:], strict=True):
            if row[column] is None or math.isnan(row[column]):
                assert cell_text == ""
            else:
                assert float(cell_text) == row[column]
    assert lines[1 + len(rows) :] == [
        f"CovidLungQuant 0.1; model a model, SHA-256 {'ab' * 32}; sensitivity changed, margin 0.25 "
        "instead of 0.4; 12 voxels corrected by hand; lesions reviewed: 1 rejected (vessel 1)",
        f"Warning: {WARNING.message}",
        *(f"Warning: {warning.message}" for warning in run.measurements.warnings),
        DISCLAIMER,
        "",
    ]


def test_the_text_for_a_spreadsheet_says_that_it_is_out_of_date(table_node):
    set_stale(table_node, True)
    assert STALE_NOTE in table_text(table_node).split("\n")
    set_stale(table_node, False)
    assert STALE_NOTE not in table_text(table_node)
