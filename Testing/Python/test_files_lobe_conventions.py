"""Lobes of other tools: recognised by terminology, name or value, and refused where unsure."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from small_lobes import SPACING_MM, lungs_of_lobes, small_lobes

from CovidLungQuantLib.ct.images import geometry_of_image
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.lobe_conventions import (
    CONVENTIONS,
    SegmentName,
    lobe_of_segment,
    recognise_lobes,
)
from CovidLungQuantLib.files.lobes import read_lobes
from CovidLungQuantLib.labels import (
    GGO,
    LEFT_LOWER_LOBE,
    LEFT_UPPER_LOBE,
    LOBES,
    RIGHT_LOWER_LOBE,
    RIGHT_MIDDLE_LOBE,
    RIGHT_UPPER_LOBE,
)
from CovidLungQuantLib.terminology import terminology_entry

TOTAL_SEGMENTATOR_ENTRY = (
    "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
    "~{}~{}~Anatomic codes - DICOM master list~^^~^^"
)


@pytest.fixture(scope="module")
def lobes():
    return small_lobes()


@pytest.mark.parametrize(
    ("name", "lobe"),
    [
        ("left upper lobe", LEFT_UPPER_LOBE),
        ("Left Lower Lobe", LEFT_LOWER_LOBE),
        ("lung_upper_lobe_right", RIGHT_UPPER_LOBE),
        ("lung_middle_lobe_right", RIGHT_MIDDLE_LOBE),
        ("RightInferiorLobe", RIGHT_LOWER_LOBE),
        ("RIGHT SUPERIOR LOBE", RIGHT_UPPER_LOBE),
        ("RML", RIGHT_MIDDLE_LOBE),
        ("Lobe_LUL", LEFT_UPPER_LOBE),
        ("upper lobe of the left lung", LEFT_UPPER_LOBE),
        ("left lung", None),
        ("left middle lobe", None),
        ("left upper lobe vessels", None),
        ("upper right", None),
        ("lobe", None),
        ("", None),
    ],
)
def test_names(name, lobe):
    assert lobe_of_segment(SegmentName(name)) is lobe


@pytest.mark.parametrize(
    ("kind", "side", "lobe"),
    [
        ("SCT^45653009^Upper lobe of lung", "SCT^7771000^Left", LEFT_UPPER_LOBE),
        ("SCT^45653009^Upper lobe of lung", "SCT^24028007^Right", RIGHT_UPPER_LOBE),
        ("SCT^90572001^Lower lobe of lung", "SCT^7771000^Left", LEFT_LOWER_LOBE),
        ("SCT^72481006^Middle lobe of right lung", "^^", RIGHT_MIDDLE_LOBE),
        ("SRT^T-28830^Lower lobe of lung", "SRT^G-A100^Right", RIGHT_LOWER_LOBE),
        ("SCT^44714003^Left upper lobe of lung", "^^", LEFT_UPPER_LOBE),
        ("SCT^45653009^Upper lobe of lung", "^^", None),
        ("SCT^39607008^Lung", "SCT^7771000^Left", None),
    ],
)
def test_terminology_goes_before_the_name(kind, side, lobe):
    entry = TOTAL_SEGMENTATOR_ENTRY.format(kind, side)
    assert lobe_of_segment(SegmentName("Segment_1", entry)) is lobe
    if lobe is not None:
        assert lobe_of_segment(SegmentName("RML", entry)) is lobe


@pytest.mark.parametrize("lobe", LOBES, ids=lambda lobe: lobe.short_name)
def test_our_own_terminology_leads_back(lobe):
    assert lobe_of_segment(SegmentName("Segment_1", terminology_entry(lobe))) is lobe


def test_a_finding_in_a_lobe_is_no_lobe():
    entry = terminology_entry(GGO).rsplit("~", 2)[0] + "~SCT^72481006^Middle lobe~^^"
    assert lobe_of_segment(SegmentName("GGO", entry)) is None


@pytest.mark.parametrize("tool", CONVENTIONS)
def test_values_of_each_tool(lobes, tool):
    theirs = np.zeros(lobes.shape, np.int16)
    for value, lobe in CONVENTIONS[tool].items():
        theirs[lobes == lobe.value] = value
    np.testing.assert_array_equal(recognise_lobes(theirs, SPACING_MM), lobes)


def test_a_whole_body_label_map_keeps_the_lobes_only(lobes):
    theirs = np.zeros(lobes.shape, np.int16)
    for value, lobe in CONVENTIONS["TotalSegmentator"].items():
        theirs[lobes == lobe.value] = value
    for value, row in zip((1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17), range(0, 44, 4), strict=True):
        theirs[1:5, row : row + 3, 30:40] = value
    np.testing.assert_array_equal(recognise_lobes(theirs, SPACING_MM), lobes)


def test_chest_imaging_platform_marks_vessels_in_the_high_byte(lobes):
    theirs = np.zeros(lobes.shape, np.uint16)
    for value, lobe in CONVENTIONS["Chest Imaging Platform"].items():
        theirs[lobes == lobe.value] = value
    theirs[20:30][theirs[20:30] > 0] += 3 << 8
    theirs[2, 2, 2] = 512
    np.testing.assert_array_equal(recognise_lobes(theirs, SPACING_MM), lobes)


def test_what_is_no_lobes_is_refused(lobes):
    lungs = lungs_of_lobes(lobes)
    with pytest.raises(BadInputError, match="no five lobes that are recognised"):
        recognise_lobes(lungs, SPACING_MM)
    with pytest.raises(BadInputError, match="no five lobes that are recognised"):
        recognise_lobes(np.zeros_like(lobes), SPACING_MM)
    with pytest.raises(BadInputError, match="no five lobes that are recognised"):
        recognise_lobes(lobes[:, :, ::-1], SPACING_MM)


def test_thirds_of_the_lungs_are_no_lobes(test_data):
    image = sitk.ReadImage(str(test_data / "tiny" / "lm-64.nrrd"))
    assert {9, 10, 11, 12, 13, 14} <= set(np.unique(sitk.GetArrayFromImage(image)).tolist())
    with pytest.raises(BadInputError, match="no five lobes that are recognised"):
        read_lobes(test_data / "tiny" / "lm-64.nrrd", geometry_of_image(image))


def test_two_tools_in_one_label_map_are_refused(lobes):
    both = np.zeros((*lobes.shape[:2], 2 * lobes.shape[2]), np.int16)
    both[:, :, ::2] = lobes
    for value, lobe in CONVENTIONS["TotalSegmentator"].items():
        both[:, :, 1::2][lobes == lobe.value] = value
    with pytest.raises(BadInputError, match="could be lobes of CovidLungQuant or of TotalSeg"):
        recognise_lobes(both, SPACING_MM)


def test_names_that_contradict_the_anatomy_are_refused(lobes):
    names = {lobe.value: SegmentName(lobe.name) for lobe in LOBES}
    np.testing.assert_array_equal(recognise_lobes(lobes, SPACING_MM, names), lobes)
    with pytest.raises(BadInputError, match="do not lie where lobes lie"):
        recognise_lobes(lobes[:, :, ::-1], SPACING_MM, names)
    with pytest.raises(BadInputError, match="do not lie where lobes lie"):
        recognise_lobes(lobes[::-1], SPACING_MM, names)


def test_a_named_segmentation_must_have_all_lobes(lobes):
    names = {lobe.value: SegmentName(lobe.name) for lobe in LOBES if lobe.short_name != "RML"}
    with pytest.raises(BadInputError, match="has no right middle lobe;"):
        recognise_lobes(lobes, SPACING_MM, names)
