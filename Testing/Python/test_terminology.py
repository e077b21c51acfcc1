"""The labels as Slicer terminology: segment tags and the shipped term list."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LABELS, NORMAL_LUNG
from CovidLungQuantLib.terminology import (
    TERM_LIST_NAME,
    label_of_segment,
    label_of_terminology_entry,
    term_list,
    terminology_entry,
)

TERM_FILE = files("CovidLungQuantLib") / "resources" / "CovidLungQuant.term.json"


def test_a_finding_names_its_region():
    assert terminology_entry(GGO) == (
        "CovidLungQuant"
        "~SCT^49755003^Morphologically Abnormal Structure"
        "~DCM^112120^Ground glass opacity"
        "~^^"
        "~Anatomic codes - DICOM master list"
        "~SCT^39607008^Lung"
        "~^^"
    )


def test_anatomy_has_no_region():
    assert terminology_entry(NORMAL_LUNG).split("~")[5] == "^^"


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.segment_id)
def test_an_entry_leads_back_to_its_label(label):
    assert label_of_terminology_entry(terminology_entry(label)) is label


def test_the_type_decides_whatever_the_term_list():
    entry = "another list~X^1^other~DCM^112001^Consolidation~^^~~^^~^^"
    assert label_of_terminology_entry(entry) is HIGH_OPACITY


@pytest.mark.parametrize("entry", ["", "~~", "a~SCT^123037004^b~SCT^1^Tissue~^^~~^^~^^"])
def test_other_entries_are_no_label(entry):
    assert label_of_terminology_entry(entry) is None


@pytest.mark.parametrize(
    ("segment_id", "entry", "name", "label"),
    [
        ("GGO", terminology_entry(HIGH_OPACITY), "Consolidation", GGO),
        ("Segment_1", terminology_entry(HIGH_OPACITY), "GGO", HIGH_OPACITY),
        ("Segment_1", "", " Ground-glass opacity", GGO),
        ("Segment_1", "", "consolidation", HIGH_OPACITY),
        ("Segment_1", "", "NORMAL LUNG", NORMAL_LUNG),
        ("Segment_1", "", "heart", None),
    ],
)
def test_a_segment_is_known_by_id_then_terminology_then_name(segment_id, entry, name, label):
    assert label_of_segment(segment_id, entry, name) is label


def test_the_shipped_term_list_is_that_of_the_labels():
    assert json.loads(TERM_FILE.read_text(encoding="utf-8")) == term_list()


def test_slicer_loads_the_shipped_term_list():
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.LoadTerminologyFromFile(str(TERM_FILE)) == TERM_LIST_NAME
    loaded = []
    category = slicer.vtkSlicerTerminologyCategory()
    terminology_type = slicer.vtkSlicerTerminologyType()
    for i in range(logic.GetNumberOfCategoriesInTerminology(TERM_LIST_NAME)):
        assert logic.GetNthCategoryInTerminology(TERM_LIST_NAME, i, category)
        for j in range(logic.GetNumberOfTypesInTerminologyCategory(TERM_LIST_NAME, category)):
            assert logic.GetNthTypeInTerminologyCategory(
                TERM_LIST_NAME, category, j, terminology_type
            )
            color = tuple(terminology_type.GetRecommendedDisplayRGBValue())
            loaded.append((category.GetCodeValue(), terminology_type.GetCodeValue(), color))
    assert sorted(loaded) == sorted(
        (label.category.value, label.type.value, tuple(round(255 * c) for c in label.color))
        for label in LABELS
    )


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.segment_id)
def test_slicer_reads_a_segments_entry(label):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    entry = slicer.vtkSlicerTerminologyEntry()
    assert logic.DeserializeTerminologyEntry(terminology_entry(label), entry)
    assert entry.GetTypeObject().GetCodeValue() == label.type.value
    assert entry.GetCategoryObject().GetCodeMeaning() == label.category.meaning
    region = label.region.value if label.region else None
    assert (entry.GetRegionObject().GetCodeValue() or None) == region
