"""Lobes of other tools: recognised by terminology, name or value, and refused where unsure."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from small_lobes import SHAPE, SPACING_MM, lungs_of_lobes, small_lobes

from CovidLungQuantLib.anatomy.lobe_labels import (
    CONVENTIONS,
    SegmentName,
    fit_lobes_to_lungs,
    lobe_of_segment,
    recognise_lobes,
)
from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.ct.images import geometry_of_image, image_on, write_image
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.lobes import read_lobes, read_lungs
from CovidLungQuantLib.labels import (
    GGO,
    LEFT_LOWER_LOBE,
    LEFT_UPPER_LOBE,
    LOBES,
    RIGHT_LOWER_LOBE,
    RIGHT_LUNG_VALUE,
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


def test_lobes_are_fitted_to_the_lungs_exactly(lobes):
    lungs = lungs_of_lobes(lobes)
    theirs = lobes.copy()
    theirs[:14] = 0
    theirs[lungs == 0] = 1
    fitted = fit_lobes_to_lungs(theirs, lungs, SPACING_MM)
    np.testing.assert_array_equal(fitted > 0, lungs > 0)
    np.testing.assert_array_equal(lungs_of_lobes(fitted), lungs)
    np.testing.assert_array_equal(fitted[14:], lobes[14:])
    # Below the cut each column goes on with what is above it, or near.
    assert set(np.unique(fitted[12][lungs[12] == RIGHT_LUNG_VALUE])) == {2, 3}


def test_lobes_of_another_patient_are_refused(lobes):
    lungs = lungs_of_lobes(lobes)
    theirs = np.roll(lobes, 30, axis=0)
    theirs[:30] = 0
    with pytest.raises(BadInputError, match="less than half of a lung"):
        fit_lobes_to_lungs(theirs, lungs, SPACING_MM)


def scan_geometry():
    return Geometry(SHAPE, SPACING_MM, (-140.0, -80.0, -300.0), np.eye(3))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_a_label_map_is_read_on_the_scans_grid(tmp_path, lobes, suffix):
    write_image(tmp_path / f"lobes{suffix}", lobes, scan_geometry())
    np.testing.assert_array_equal(read_lobes(tmp_path / f"lobes{suffix}", scan_geometry()), lobes)


def test_a_floating_point_label_map_in_another_orientation_is_read(tmp_path, lobes):
    image = sitk.DICOMOrient(image_on(lobes.astype(np.float32), scan_geometry()), "RAS")
    sitk.WriteImage(image, str(tmp_path / "lobes.nii.gz"))
    assert image.GetDirection() != np.eye(3).ravel().tolist()
    np.testing.assert_array_equal(read_lobes(tmp_path / "lobes.nii.gz", scan_geometry()), lobes)


def test_a_label_map_on_a_coarser_grid_is_resampled(tmp_path, lobes):
    fine = scan_geometry()
    half = lobes[::2, ::2, ::2]
    coarse = Geometry(half.shape, (8.0, 8.0, 8.0), fine.origin_mm, fine.direction)
    write_image(tmp_path / "lobes.nrrd", half, coarse)
    read = read_lobes(tmp_path / "lobes.nrrd", scan_geometry())
    assert read.shape == lobes.shape
    np.testing.assert_array_equal(read[::2, ::2, ::2], half)
    assert np.mean(read[lobes > 0] == lobes[lobes > 0]) > 0.9


def test_lobes_elsewhere_are_refused(tmp_path, lobes):
    own = scan_geometry()
    write_image(tmp_path / "lobes.nrrd", lobes, own)
    elsewhere = Geometry(own.shape, own.spacing_mm, (400.0, 0.0, 0.0), own.direction)
    with pytest.raises(BadInputError, match="outside the scan for the most part"):
        read_lobes(tmp_path / "lobes.nrrd", elsewhere)


def write_slicer_segmentation(path, layers, segments, geometry):
    """Write a .seg.nrrd; `segments` are (name, terminology, layer, value)."""
    image = sitk.GetImageFromArray(np.stack(layers, axis=-1), isVector=len(layers) > 1)
    if len(layers) == 1:
        image = sitk.GetImageFromArray(layers[0])
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    for index, (name, entry, layer, value) in enumerate(segments):
        image.SetMetaData(f"Segment{index}_ID", f"Segment_{index}")
        image.SetMetaData(f"Segment{index}_Name", name)
        image.SetMetaData(f"Segment{index}_Layer", str(layer))
        image.SetMetaData(f"Segment{index}_LabelValue", str(value))
        image.SetMetaData(f"Segment{index}_Tags", f"Other:1|TerminologyEntry:{entry}|")
    sitk.WriteImage(image, str(path))


def test_a_slicer_segmentation_with_layers_is_read(tmp_path, lobes):
    layers = [np.isin(lobes, (1, 4)).astype(np.uint8), np.zeros_like(lobes)]
    layers[0][lobes == 4] = 2
    for value, lobe_value in ((1, 2), (2, 3), (3, 5)):
        layers[1][lobes == lobe_value] = value
    layers[1][0, 0, :5] = 4
    segments = [
        ("right upper lobe", "", 0, 1),
        ("left upper lobe", "", 0, 2),
        ("A", terminology_entry(RIGHT_MIDDLE_LOBE), 1, 1),
        ("B", terminology_entry(RIGHT_LOWER_LOBE), 1, 2),
        ("C", terminology_entry(LEFT_LOWER_LOBE), 1, 3),
        ("trachea", "", 1, 4),
    ]
    write_slicer_segmentation(tmp_path / "lobes.seg.nrrd", layers, segments, scan_geometry())
    np.testing.assert_array_equal(read_lobes(tmp_path / "lobes.seg.nrrd", scan_geometry()), lobes)


def test_overlapping_lobes_are_refused(tmp_path, lobes):
    layers = [lobes, np.where(lobes == 1, 1, 0).astype(np.uint8)]
    segments = [(lobe.name, "", 0, lobe.value) for lobe in LOBES[1:]]
    segments += [("right upper lobe", "", 0, 1), ("RML", "", 1, 1)]
    write_slicer_segmentation(tmp_path / "lobes.seg.nrrd", layers, segments, scan_geometry())
    with pytest.raises(BadInputError, match="overlap in"):
        read_lobes(tmp_path / "lobes.seg.nrrd", scan_geometry())


def test_lungs_are_read_as_stored(tmp_path, lobes):
    lungs = lungs_of_lobes(lobes)
    write_image(tmp_path / "lungs.nii.gz", lungs, scan_geometry())
    read, geometry = read_lungs(tmp_path / "lungs.nii.gz")
    np.testing.assert_array_equal(read, lungs)
    assert geometry.spacing_mm == SPACING_MM


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lungs: 0 * lungs, "is empty"),
        (lambda lungs: 3 * lungs, "values other than 0, 1"),
        (lambda lungs: np.where(lungs > 0, 3 - lungs, 0), "lies to the right"),
        (lambda lungs: lungs / 2, "not whole numbers"),
        (lambda lungs: lungs[0], "3D label map"),
    ],
)
def test_bad_lungs_are_refused_in_one_sentence(tmp_path, lobes, change, message):
    changed = change(lungs_of_lobes(lobes))
    image = sitk.GetImageFromArray(
        changed.astype(np.float32 if changed.dtype.kind == "f" else np.uint8)
    )
    sitk.WriteImage(image, str(tmp_path / "lungs.nrrd"))
    with pytest.raises(BadInputError, match=message) as raised:
        read_lungs(tmp_path / "lungs.nrrd")
    assert str(raised.value).count(". ") == 0


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "lungs.nrrd").write_text("not an image")
    for read in (read_lungs, lambda path: read_lobes(path, scan_geometry())):
        with pytest.raises(BadInputError, match="cannot be read"):
            read(tmp_path / "lungs.nrrd")
        with pytest.raises(BadInputError, match="There is no file"):
            read(tmp_path / "missing.nrrd")


def test_an_images_geometry_goes_round(tmp_path):
    geometry = Geometry((3, 4, 5), (0.7, 0.8, 1.25), (1.5, -2.25, 1 / 3), np.eye(3)[:, [1, 0, 2]])
    geometry.direction[:, 2] *= -1
    write_image(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.uint8), geometry)
    read = geometry_of_image(sitk.ReadImage(str(tmp_path / "a.nrrd")))
    assert read.shape == geometry.shape
    assert read.origin_mm == geometry.origin_mm
    np.testing.assert_allclose(read.spacing_mm, geometry.spacing_mm, rtol=1e-15)
    np.testing.assert_allclose(read.direction, geometry.direction, atol=1e-15)
