"""What one scan is, and its Hounsfield units: slices judged and converted one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

from CovidLungQuantLib.ct import list_series, read_ct, read_ct_and_files
from CovidLungQuantLib.errors import BadInputError
from Testing.Python.dicom_series import (
    INTERCEPT,
    ORIGIN_MM,
    SPACING_MM,
    chest_hu,
    edit,
    write_series,
)
from Testing.Python.refusals import codes, one_sentence, refusal

STEP_MM = SPACING_MM[2]


def second_scan(folder: Path, shift_mm: float, **tags: object) -> list[Path]:
    """Write another scan under the same SeriesInstanceUID, moved along the body."""
    positions_mm = np.array(ORIGIN_MM) + np.arange(12)[:, np.newaxis] * [0, 0, STEP_MM]
    positions_mm[:, 2] += shift_mm
    paths = write_series(folder, chest_hu(seed=1), prefix="other", positions_mm=positions_mm)
    for path in paths:
        edit(path, SOPInstanceUID=generate_uid(), **tags)
    return paths


# What one scan is


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PatientID": "another"}, "2 patients"),
        ({"PatientName": "Another^One"}, "2 patients"),
        ({"StudyInstanceUID": "1.2.99"}, "2 studies"),
        ({"FrameOfReferenceUID": "1.2.99"}, "2 frames of reference"),
    ],
)
@pytest.mark.parametrize("shift_mm", [STEP_MM / 2, STEP_MM * 12], ids=["between", "above"])
def test_two_scans_under_one_series_are_refused(
    tmp_path: Path, tags: dict[str, str], words: str, shift_mm: float
) -> None:
    write_series(tmp_path, chest_hu())
    second_scan(tmp_path, shift_mm, **tags)
    assert words in refusal(tmp_path)


def test_acquisitions_among_each_other_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu(), AcquisitionNumber=1)
    second_scan(tmp_path, STEP_MM / 2, AcquisitionNumber=2)
    assert "mixes slices of 2 acquisitions" in refusal(tmp_path)


def test_two_scans_that_share_their_instance_numbers_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu())
    second_scan(tmp_path, STEP_MM / 2)
    assert "mixes slices of two scans" in refusal(tmp_path)


def test_a_table_that_moves_between_slices_makes_many_acquisitions_of_one_scan(
    tmp_path: Path,
) -> None:
    hu = chest_hu()
    for index, path in enumerate(write_series(tmp_path, hu)):
        edit(path, AcquisitionNumber=index // 2 + 1)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.warnings == ()


def test_long_acquisitions_one_above_the_other_are_told(tmp_path: Path) -> None:
    hu = chest_hu((100, 16, 20))
    for index, path in enumerate(write_series(tmp_path, hu)):
        edit(path, AcquisitionNumber=index // 50 + 1)
    assert codes(read_ct(tmp_path)) == ["acquisitions_joined"]


def test_instance_numbers_that_begin_again_are_told(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu())
    second_scan(tmp_path, STEP_MM * 12)
    ct = read_ct(tmp_path)
    assert codes(ct) == ["acquisitions_joined"]
    one_sentence(ct.warnings[0].message)


def test_one_patient_written_in_two_ways_is_one(tmp_path: Path) -> None:
    hu = chest_hu()
    paths = write_series(tmp_path, hu)
    edit(paths[0], PatientName="SECRET^PERSON^", PatientBirthDate="")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_identical_copies_are_dropped_and_told(tmp_path: Path) -> None:
    hu = chest_hu()
    paths = write_series(tmp_path / "a", hu)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path, packed in zip(
        paths, write_series(tmp_path / "c", hu, syntax=RLELossless), strict=True
    ):
        edit(packed, SOPInstanceUID=pydicom.dcmread(path).SOPInstanceUID)
    ct, files = read_ct_and_files(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert codes(ct) == ["copies_dropped"]
    assert one_sentence(ct.warnings[0].message).startswith("24 files")
    assert len(files) == 12


def test_two_different_images_of_one_slice_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest_hu())
    paths = write_series(tmp_path / "b", chest_hu())
    values = np.frombuffer(pydicom.dcmread(paths[4]).PixelData, "<i2").copy()
    values[3] += 1
    edit(paths[4], PixelData=values.tobytes())
    message = refusal(tmp_path)
    assert "two different images of one slice" in message and paths[4].name in message


def test_slices_that_share_a_sop_instance_uid_are_told(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path, hu, SOPInstanceUID="1.2.3.4.5.6")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert codes(ct) == ["instance_uids_repeated"]


def test_a_part_with_wider_steps_is_uneven_and_lacks_nothing(tmp_path: Path) -> None:
    positions_mm = np.zeros((14, 3))
    positions_mm[:, 2] = np.cumsum([2.5] * 8 + [5.0] * 6)
    write_series(tmp_path, chest_hu((14, 16, 20)), positions_mm=positions_mm)
    assert "unevenly spaced (2.5 to 5 mm apart)" in refusal(tmp_path)


# Which series


def in_colour(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(16 * 20 * 3)
    dataset.save_as(path)


def in_8_bits(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(16 * 20)
    dataset.save_as(path)


@pytest.mark.parametrize("spoil", [in_colour, in_8_bits])
def test_a_longer_series_that_is_no_ct_in_hounsfield_units_is_left_out(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    hu = chest_hu()
    write_series(tmp_path, hu)
    for path in write_series(tmp_path, chest_hu((20, 16, 20)), uid="1.9", number=9, prefix="long"):
        spoil(path)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert codes(ct) == ["series_chosen"]
    assert "left out CT series 9 (20 slices)" in one_sentence(ct.warnings[0].message)
    assert [series.is_volume for series in list_series(tmp_path)] == [True, False]


def test_the_next_best_is_read_where_the_best_cannot_be_and_that_is_told(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path / "good", hu)
    best = write_series(tmp_path / "best", chest_hu((20, 16, 20)), uid="1.9", number=9)
    best[7].unlink()
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert codes(ct) == ["series_chosen"]
    message = one_sentence(ct.warnings[0].message)
    assert "series 9 (19 slices) would have been read but cannot be" in message
    assert "lacks 1 slice" in message
    assert "lacks 1 slice" in refusal(tmp_path, series=9)


def test_where_none_can_be_read_the_best_says_why(tmp_path: Path) -> None:
    for uid, count, missing in (("1.8", 12, 3), ("1.9", 20, 7)):
        paths = write_series(tmp_path / uid, chest_hu((count, 16, 20)), uid=uid)
        paths[missing].unlink()
    assert "first gap after -286.5 mm" in refusal(tmp_path)


# Hounsfield units


def test_values_do_not_depend_on_how_they_are_shown(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path, hu, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_slices_of_other_scales_are_converted_by_their_own_and_told(tmp_path: Path) -> None:
    hu = chest_hu()
    for index, path in enumerate(write_series(tmp_path, hu)):
        if index % 2:
            stored = (hu[index] + 1000).astype("<u2").tobytes()
            tags = {"RescaleIntercept": -1000, "PixelRepresentation": 0, "BitsStored": 12}
            edit(path, **tags, HighBit=11, PixelData=stored)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert codes(ct) == ["conversion_differs"]
    one_sentence(ct.warnings[0].message)


def test_one_slice_of_another_scale_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    edit(paths[6], RescaleIntercept=-1014)
    message = refusal(tmp_path)
    assert "another rescale slope or intercept" in message and paths[6].name in message


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("tags", [["RescaleSlope", "RescaleIntercept"], ["RescaleIntercept"]])
def test_unsigned_values_without_rescale_are_refused(
    tmp_path: Path, every: int, tags: list[str]
) -> None:
    for path in write_series(tmp_path, chest_hu(), PixelRepresentation=0)[::every]:
        edit(path, **dict.fromkeys(tags))
    message = refusal(tmp_path)
    assert "no rescale slope and intercept" in message
    assert every == 1 or "of 4 of 12 slices" in message


def test_some_signed_slices_without_rescale_are_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path, chest_hu())[::3]:
        edit(path, RescaleSlope=None, RescaleIntercept=None)
    assert "of 4 of 12 slices give no rescale" in refusal(tmp_path)


def test_signed_values_without_rescale_that_are_hounsfield_units_are_taken(tmp_path: Path) -> None:
    hu = chest_hu()
    for path, plane in zip(write_series(tmp_path, hu), hu, strict=True):
        edit(path, RescaleSlope=None, RescaleIntercept=None, PixelData=plane.tobytes())
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert codes(ct) == ["rescale_missing"]


@pytest.mark.parametrize("slope", [0, -1])
def test_a_slope_that_is_none_is_refused(tmp_path: Path, slope: int) -> None:
    write_series(tmp_path, chest_hu(), RescaleSlope=slope)
    assert "slope that is not above 0" in refusal(tmp_path)


@pytest.mark.parametrize("spare", [0x0000, 0xF000], ids=["zeros", "copies of the sign"])
def test_bits_above_the_stored_ones_may_be_zero_or_copies_of_the_sign(
    tmp_path: Path, spare: int
) -> None:
    hu = chest_hu()
    bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1, "RescaleIntercept": 0}
    for path, plane in zip(write_series(tmp_path, hu, **bits), hu, strict=True):
        cells = plane.view(np.uint16) & 0x0FFF
        cells[plane < 0] |= spare
        edit(path, PixelData=cells.astype("<u2").tobytes())
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_stored_bits_that_begin_higher_are_moved_down(tmp_path: Path) -> None:
    hu = chest_hu()
    bits = {"BitsStored": 12, "HighBit": 15, "PixelRepresentation": 0}
    for path, plane in zip(write_series(tmp_path, hu, **bits), hu, strict=True):
        edit(path, PixelData=((plane - INTERCEPT).astype("<u2") << 4).tobytes())
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_values_beyond_their_bits_are_refused(tmp_path: Path) -> None:
    hu = chest_hu()
    hu[5, 3, 3] = 3500
    write_series(tmp_path, hu, BitsStored=12, HighBit=11, PixelRepresentation=0)
    assert "more than the 12 bits" in refusal(tmp_path)


@pytest.mark.parametrize(
    "tags", [{"BitsStored": 17}, {"HighBit": 10}, {"PixelRepresentation": 2}, {"BitsAllocated": 12}]
)
def test_headers_that_contradict_themselves_are_refused(
    tmp_path: Path, tags: dict[str, int]
) -> None:
    for path in write_series(tmp_path, chest_hu()):
        edit(path, **tags)
    assert "contradicts itself" in refusal(tmp_path)


def test_32_bit_cells_are_read(tmp_path: Path) -> None:
    hu = chest_hu()
    bits = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}
    for path, plane in zip(write_series(tmp_path, hu), hu, strict=True):
        edit(path, **bits, PixelData=(plane.astype("<i4") - INTERCEPT).tobytes())
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


@pytest.mark.parametrize(
    ("syntax", "options"),
    [(JPEG2000, {"j2k_cr": [4]}), (JPEGLSNearLossless, {"jls_error": 3})],
)
def test_loss_that_the_header_does_not_mention_is_told(
    tmp_path: Path, syntax: pydicom.uid.UID, options: dict[str, object]
) -> None:
    hu = chest_hu((12, 40, 48))
    for path in write_series(tmp_path, hu):
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, **options)
        if "LossyImageCompression" in dataset:
            del dataset.LossyImageCompression
        dataset.save_as(path)
    ct = read_ct(tmp_path)
    assert codes(ct) == ["lossy_compression"]
    assert np.abs(ct.hu.astype(int) - hu).mean() < 30


# Outside the field of view


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("limit", [None, 3])
def test_padding_that_the_header_declares_becomes_air(
    tmp_path: Path, signed: int, limit: int | None
) -> None:
    hu = chest_hu()
    stored = (hu - INTERCEPT).astype(np.int16)
    padding = 3000
    stored[:, :3, :8] = padding
    stored[:, 0, :8] += limit or 0
    stored[:, 8, 8] = padding
    for path, plane in zip(write_series(tmp_path, hu), stored, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.PixelRepresentation = signed
        dataset.add_new("PixelPaddingValue", "US", padding)
        if limit:
            dataset.add_new("PixelPaddingRangeLimit", "US", padding + limit)
        dataset.PixelData = plane.astype("<i2").tobytes()
        dataset.save_as(path)
    ct = read_ct(tmp_path)
    assert codes(ct) == ["padding"]
    assert (ct.hu[:, :3, :8] == -1024).all()
    # Inside the body the same value was measured.
    assert (ct.hu[:, 8, 8] == padding + INTERCEPT).all()
    np.testing.assert_array_equal(ct.hu[:, 9:], hu[:, 9:])


def test_padding_that_is_air_already_is_left_alone(tmp_path: Path) -> None:
    hu = chest_hu()
    hu[:, :3, :8] = -1024
    write_series(tmp_path, hu, PixelPaddingValue=0, PixelRepresentation=0)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.warnings == ()


# Multi-frame


def multi_frame(folder: Path, hu: np.ndarray, order: np.ndarray, syntax: str = "") -> Path:
    """Write an enhanced CT: one file, its frames in any order, scaled frame by frame."""
    (path,) = write_series(folder, hu[:1])
    dataset = pydicom.dcmread(path)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, name)
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.SliceThickness
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = len(hu)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING_MM[1], SPACING_MM[0]], STEP_MM
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames, groups = [], []
    for index in order:
        group, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [*ORIGIN_MM[:2], ORIGIN_MM[2] + STEP_MM * float(index)]
        values.RescaleSlope, values.RescaleIntercept = 1, -1000 - int(index) % 2
        group.PlanePositionSequence = [position]
        group.PixelValueTransformationSequence = [values]
        groups.append(group)
        frames.append((hu[index] + 1000 + int(index) % 2).astype("<i2").tobytes())
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.PixelData = b"".join(frames)
    if syntax:
        dataset.compress(syntax)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("syntax", ["", RLELossless, pydicom.uid.JPEG2000Lossless])
def test_an_enhanced_ct_is_read_frame_by_frame(tmp_path: Path, syntax: str) -> None:
    hu = chest_hu((12, 40, 48))
    order = np.random.default_rng(2).permutation(12)
    path = multi_frame(tmp_path, hu, order, syntax)
    ct, files = read_ct_and_files(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    np.testing.assert_allclose(ct.geometry.spacing_mm, SPACING_MM)
    np.testing.assert_allclose(ct.geometry.origin_mm, ORIGIN_MM)
    assert files == (path.resolve(),)
    assert codes(ct) == ["conversion_differs"]
    np.testing.assert_array_equal(read_ct(path).hu, hu)
    (series,) = list_series(tmp_path)
    assert (series.slice_count, series.is_volume) == (12, True)


def test_frames_of_several_fragments_are_put_together(tmp_path: Path) -> None:
    hu = chest_hu((12, 40, 48))
    path = multi_frame(tmp_path, hu, np.arange(12), RLELossless)
    dataset = pydicom.dcmread(path)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=12))
    dataset.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=True)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_ct(path).hu, hu)
    dataset.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=False)
    dataset.save_as(path)
    assert "where its frames begin" in refusal(path)


def test_an_enhanced_ct_that_lacks_frames_is_refused(tmp_path: Path) -> None:
    path = multi_frame(tmp_path, chest_hu(), np.arange(12))
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData[:-16]
    dataset.save_as(path)
    assert "bytes of pixel data where" in refusal(path)
    dataset = pydicom.dcmread(multi_frame(tmp_path, chest_hu(), np.arange(12)))
    del dataset.PerFrameFunctionalGroupsSequence[5]
    dataset.save_as(path)
    assert "lacks some frames" in refusal(path)


def test_a_legacy_converted_enhanced_ct_is_read(tmp_path: Path) -> None:
    legacy = pytest.importorskip("highdicom.legacy")
    hu = chest_hu()
    slices = [pydicom.dcmread(path) for path in write_series(tmp_path / "slices", hu)]
    for dataset in slices:
        dataset.PatientName, dataset.PatientBirthDate = "", None
        dataset.PatientSex, dataset.StudyDate, dataset.StudyTime = "", "20200101", "120000"
        dataset.StudyID = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
        dataset.Manufacturer = "none"
        dataset.PositionReferenceIndicator = ""
    enhanced = legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=slices,
        series_instance_uid=generate_uid(),
        series_number=99,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    ct = read_ct(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(ct.hu, hu)


def test_directions_that_are_not_at_right_angles_are_refused(tmp_path: Path) -> None:
    """Their cross product has length 1 all the same."""
    write_series(tmp_path, chest_hu(), ImageOrientationPatient=[1.0, 1.5, 0.0, 0.0, 1.0, 0.0])
    with pytest.raises(BadInputError, match="does not say where its slices lie"):
        read_ct(tmp_path)
