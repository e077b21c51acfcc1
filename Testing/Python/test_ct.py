"""Reading a CT: geometry to the last bit, every refusal in one sentence, every warning."""

from __future__ import annotations

import gzip
import locale
import re
import struct
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from CovidLungQuantLib.ct import (
    CTVolume,
    Geometry,
    check_ct,
    list_series,
    lps_oriented,
    orient_like,
    read_ct,
    restore_orientation,
)
from CovidLungQuantLib.errors import BadInputError
from Testing.Python.dicom_series import ORIGIN_MM, SERIES_UID, SPACING_MM, chest_hu, write_series
from Testing.Python.refusals import codes, one_sentence, refusal

ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
ROTATION = ROTATION * np.sign(np.linalg.det(ROTATION))
SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha", ".mhd")


def geometry_for(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    direction: np.ndarray | None = None,
) -> Geometry:
    return Geometry(hu.shape, spacing_mm, ORIGIN_MM, np.eye(3) if direction is None else direction)


def array_refusal(hu: np.ndarray, geometry: Geometry | None = None) -> str:
    with pytest.raises(BadInputError) as refused:
        check_ct(hu, geometry or geometry_for(hu), "scan")
    return one_sentence(str(refused.value))


def write_image(path: Path, hu: np.ndarray, direction: np.ndarray | None = None) -> Path:
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin(ORIGIN_MM)
    image.SetDirection((np.eye(3) if direction is None else direction).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


# Turning


def stored_orders() -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    return list(product(permutations(range(3)), product((1, -1), repeat=3)))


def stored_as(ct: CTVolume, columns: tuple[int, int, int], signs: tuple[int, int, int]) -> CTVolume:
    """Return the same scan with its index axes (x, y, z) in another order and direction."""
    array = ct.hu.transpose([2 - columns[2 - axis] for axis in range(3)])
    sizes = np.array(array.shape[::-1])
    spacing_mm = np.array(ct.geometry.spacing_mm)[list(columns)]
    direction = ct.geometry.direction[:, list(columns)]
    origin_mm = np.array(ct.geometry.origin_mm)
    for column, sign in enumerate(signs):
        if sign < 0:
            array = np.flip(array, 2 - column)
            origin_mm = origin_mm + direction[:, column] * spacing_mm[column] * (sizes[column] - 1)
    return CTVolume(
        array, Geometry(array.shape, tuple(spacing_mm), tuple(origin_mm), direction * signs)
    )


@pytest.mark.parametrize("direction", [np.eye(3), ROTATION], ids=["straight", "oblique"])
def test_every_storage_order_of_a_scan_is_turned_to_the_same_array(direction: np.ndarray) -> None:
    hu = chest_hu((5, 9, 10))
    scan = CTVolume(hu, geometry_for(hu, direction=direction))
    expected, _ = lps_oriented(scan)
    for columns, signs in stored_orders():
        stored = stored_as(scan, columns, signs)
        upright, orientation = lps_oriented(stored)
        np.testing.assert_array_equal(upright.hu, expected.hu)
        assert upright.geometry.shape == expected.geometry.shape
        assert upright.geometry.spacing_mm == expected.geometry.spacing_mm
        np.testing.assert_array_equal(upright.geometry.direction, expected.geometry.direction)
        np.testing.assert_allclose(
            upright.geometry.origin_mm, expected.geometry.origin_mm, atol=1e-9
        )
        np.testing.assert_array_equal(restore_orientation(upright.hu, orientation), stored.hu)
        labels = (stored.hu < -500).astype(np.uint8)
        turned = orient_like(labels, orientation)
        np.testing.assert_array_equal(turned, expected.hu < -500)
        np.testing.assert_array_equal(restore_orientation(turned, orientation), labels)


def test_upright_axes_run_to_left_posterior_and_superior() -> None:
    hu = chest_hu((5, 9, 10))
    # Stored coronally: x→Right, y→Inferior, z→Posterior.
    direction = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    upright, _ = lps_oriented(CTVolume(hu, geometry_for(hu, (0.7, 2.5, 0.8), direction)))
    assert upright.geometry.shape == (9, 5, 10)
    assert upright.geometry.spacing_mm == (0.7, 0.8, 2.5)
    np.testing.assert_array_equal(upright.geometry.direction, np.eye(3))
    assert upright.hu[8, 0, 9] == hu[0, 0, 0]
    np.testing.assert_allclose(
        upright.geometry.origin_mm, np.array(ORIGIN_MM) - [0.7 * 9, 0, 2.5 * 8]
    )


def test_every_voxel_stays_where_it_was_in_the_world() -> None:
    hu = chest_hu((5, 9, 10))
    direction = ROTATION[:, [2, 0, 1]] * [1, -1, 1]
    scan = CTVolume(hu, geometry_for(hu, direction=direction))
    upright, orientation = lps_oriented(scan)
    numbered = np.arange(hu.size).reshape(hu.shape)
    turned = orient_like(numbered, orientation)
    for z, y, x in [(0, 0, 0), (4, 2, 7), (1, 8, 3)]:
        new_z, new_y, new_x = np.argwhere(turned == numbered[z, y, x])[0]
        np.testing.assert_allclose(
            upright.geometry.ijk_to_lps @ [new_x, new_y, new_z, 1],
            scan.geometry.ijk_to_lps @ [x, y, z, 1],
            atol=1e-9,
        )


def test_a_straight_scan_is_not_touched() -> None:
    hu = chest_hu()
    scan = CTVolume(hu, geometry_for(hu), "a scan")
    upright, orientation = lps_oriented(scan)
    assert orientation.axes == (0, 1, 2) and orientation.flipped == (False, False, False)
    assert upright.hu is hu or np.shares_memory(upright.hu, hu)
    assert upright.geometry.origin_mm == ORIGIN_MM and upright.name == "a scan"


# DICOM: pixels and geometry


@pytest.mark.parametrize(
    "direction",
    [np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.diag([1.0, -1.0, -1.0]), ROTATION],
    ids=["supine", "prone", "feet first", "oblique"],
)
def test_a_series_is_sorted_by_position_and_its_geometry_is_exact(
    tmp_path: Path, direction: np.ndarray
) -> None:
    hu = chest_hu()
    write_series(tmp_path / "scan", hu, direction=direction)
    ct = read_ct(tmp_path / "scan")
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.hu.dtype == np.int16
    assert ct.name == "scan"
    assert ct.warnings == ()
    np.testing.assert_allclose(ct.geometry.spacing_mm, SPACING_MM, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ct.geometry.origin_mm, ORIGIN_MM, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ct.geometry.direction, direction, rtol=0, atol=1e-7)


def test_slices_against_the_normal_are_put_in_its_direction(tmp_path: Path) -> None:
    hu = chest_hu()
    downward_mm = np.array(ORIGIN_MM) + np.arange(12)[:, np.newaxis] * [0, 0, -2.5]
    write_series(tmp_path, hu, positions_mm=downward_mm)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu[::-1])
    assert ct.geometry.origin_mm == tuple(downward_mm[-1])
    np.testing.assert_array_equal(ct.geometry.direction, np.eye(3))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_compressed_slices_give_the_same_voxels(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    hu = chest_hu((12, 40, 48))
    paths = write_series(tmp_path, hu, syntax=syntax)
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID == syntax
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.geometry.spacing_mm == SPACING_MM


@pytest.fixture
def same_locale() -> Iterator[None]:
    """The locale as it was: GDCM's JPEG encoder leaves C behind, in which UTF-8 is not read."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.usefixtures("same_locale")
def test_jpeg_lossless_slices_give_the_same_voxels(tmp_path: Path) -> None:
    hu = chest_hu()
    packed = tmp_path / "packed"
    packed.mkdir()
    # GDCM's encoder takes unsigned 12 bits, as scanners store them.
    stored = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11}
    for path in write_series(tmp_path / "plain", hu, **stored):
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.SetFileName(str(packed / path.name))
        writer.Execute(sitk.ReadImage(str(path)))
        syntax = pydicom.dcmread(packed / path.name).file_meta.TransferSyntaxUID
        assert syntax == JPEGLosslessSV1
    ct = read_ct(packed)
    np.testing.assert_array_equal(ct.hu, hu)
    np.testing.assert_array_equal(
        ct.geometry.ijk_to_lps, read_ct(tmp_path / "plain").geometry.ijk_to_lps
    )


def test_slope_and_intercept_are_applied_slice_by_slice(tmp_path: Path) -> None:
    hu = chest_hu() // 2 * 2
    write_series(tmp_path, hu[:6])
    for path, plane, z in zip(
        write_series(tmp_path, hu[6:], prefix="more"), hu[6:], range(6, 12), strict=True
    ):
        dataset = pydicom.dcmread(path)
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 0
        dataset.ImagePositionPatient[2] = ORIGIN_MM[2] + 2.5 * z
        dataset.PixelData = (plane // 2).astype("<i2").tobytes()
        dataset.save_as(path)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_accepted(tmp_path: Path) -> None:
    hu = chest_hu((40, 16, 20))
    rounded_mm = np.zeros((40, 3))
    rounded_mm[:, 2] = np.round(np.arange(40) * 0.625, 1)
    write_series(tmp_path, hu, positions_mm=rounded_mm, SliceThickness=0.625)
    assert read_ct(tmp_path).geometry.spacing_mm[2] == pytest.approx(0.625, abs=0.002)


def test_sub_folders_are_read_and_junk_is_passed_over(tmp_path: Path) -> None:
    hu = chest_hu()
    paths = write_series(tmp_path / "a", hu)
    (tmp_path / "b").mkdir()
    for path in paths[6:]:
        path.rename(tmp_path / "b" / path.stem)
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / "a" / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "a" / "._slice001.dcm").write_bytes(b"resource fork")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.warnings == ()


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path / "scan", chest_hu((20, 16, 20)), uid="1.2.3.4.6", prefix="other")
    paths = write_series(tmp_path / "scan", hu)
    ct = read_ct(paths[3])
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.name == "scan"


def test_a_report_in_the_folder_is_no_damaged_slice(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path, hu)
    report = pydicom.dcmread(tmp_path / "slice000.dcm")
    del report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    report.save_as(tmp_path / "report.dcm")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_reading_says_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = write_series(tmp_path, chest_hu())
    read_ct(tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:900])
    refusal(tmp_path)
    assert capfd.readouterr() == ("", "")


# DICOM: which series


@pytest.fixture
def a_study(tmp_path: Path) -> Path:
    """Two axial CTs, a longer coronal one, a scout and a longer MR, all in one folder."""
    folder = tmp_path / "study"
    coronal = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    write_series(folder, chest_hu((11, 16, 20)), uid="1.2.1", number=1, prefix="short")
    write_series(folder, chest_hu((15, 16, 20)), uid="1.2.2", number=2, prefix="long")
    write_series(
        folder, chest_hu((18, 16, 20)), uid="1.2.3", number=3, prefix="cor", direction=coronal
    )
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series(folder, chest_hu((1, 16, 20)), uid="1.2.4", number=4, ImageType=scout)
    write_series(folder, chest_hu((25, 16, 20)), uid="1.2.5", number=5, prefix="mr", Modality="MR")
    return folder


def test_the_axial_ct_with_most_slices_is_read_and_the_choice_told(a_study: Path) -> None:
    ct = read_ct(a_study)
    assert ct.hu.shape == (15, 16, 20)
    assert codes(ct) == ["series_chosen"]
    assert ct.warnings[0].message == one_sentence(
        '"study" holds several series; read was series 2 (15 slices), left out CT series 1'
        " (11 slices), CT series 3 (18 slices), CT series 4 (1 slice), MR series 5 (25 slices)."
    )


@pytest.mark.parametrize(("series", "slice_count"), [("1.2.1", 11), ("1", 11), (3, 18)])
def test_a_series_can_be_chosen(a_study: Path, series: str | int, slice_count: int) -> None:
    ct = read_ct(a_study, series=series)
    assert ct.hu.shape[0] == slice_count
    assert "series_chosen" not in codes(ct)


def test_series_are_listed_best_first(a_study: Path) -> None:
    series = list_series(a_study)
    assert [(s.number, s.modality, s.slice_count) for s in series] == [
        (2, "CT", 15),
        (1, "CT", 11),
        (3, "CT", 18),
        (4, "CT", 1),
        (5, "MR", 25),
    ]
    assert [s.uid for s in series][:2] == ["1.2.2", "1.2.1"]
    assert [s.is_axial for s in series][:3] == [True, True, False]
    assert [s.is_volume for s in series] == [True, True, True, False, False]


def test_a_series_that_is_not_there_or_no_ct_is_refused(a_study: Path) -> None:
    assert 'holds no series "9"' in refusal(a_study, series=9)
    assert "series 5 (25 slices) is MR, not CT" in refusal(a_study, series=5)
    assert "scout" in refusal(a_study, series=4)


def test_a_number_that_two_series_share_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu(), uid="1.2.1", prefix="a")
    write_series(tmp_path, chest_hu(), uid="1.2.2", prefix="b")
    assert "1.2.1 or 1.2.2" in refusal(tmp_path, series=4)


def test_a_head_ct_with_more_slices_is_not_taken_for_the_chest(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu(), prefix="chest")
    write_series(
        tmp_path, chest_hu((30, 16, 20)), uid="1.9", prefix="head", BodyPartExamined="HEAD"
    )
    assert read_ct(tmp_path).hu.shape[0] == 12


def test_other_images_of_the_same_series_are_left_out_and_told(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu())
    write_series(tmp_path, chest_hu((2, 10, 10)), prefix="small")
    ct = read_ct(tmp_path)
    assert ct.hu.shape == (12, 16, 20)
    assert codes(ct) == ["slices_left_out"]
    assert ct.warnings[0].message.startswith("2 images")


# DICOM: refusals


def test_missing_slices_are_counted_and_placed(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    for index in (4, 5, 8):
        paths[index].unlink()
    assert "lacks 3 slices (first gap after -294.0 mm)" in refusal(tmp_path)


def test_duplicate_slices_are_counted_and_placed(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    another = pydicom.dcmread(paths[2])
    another.SOPInstanceUID = "1.2.3.4.5.6"
    another.save_as(tmp_path / "copy.dcm")
    assert "1 duplicate slice at the place of another (first at -296.5 mm)" in refusal(tmp_path)


def test_uneven_spacing_is_refused(tmp_path: Path) -> None:
    positions_mm = np.zeros((12, 3))
    positions_mm[:, 2] = np.cumsum([2.5] * 6 + [3.5] * 6)
    write_series(tmp_path, chest_hu(), positions_mm=positions_mm)
    assert "unevenly spaced (2.5 to 3.5 mm apart)" in refusal(tmp_path)


def test_slow_drift_of_the_spacing_is_refused(tmp_path: Path) -> None:
    positions_mm = np.zeros((40, 3))
    positions_mm[:, 2] = np.cumsum([2.5] * 20 + [2.7] * 20)
    write_series(tmp_path, chest_hu((40, 16, 20)), positions_mm=positions_mm)
    assert "unevenly spaced" in refusal(tmp_path)


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    angle = np.radians(12)
    direction = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    along_table_mm = np.arange(12)[:, np.newaxis] * [0, 0, 2.5]
    write_series(tmp_path, chest_hu(), direction=direction, positions_mm=along_table_mm)
    assert "gantry tilt of about 12°" in refusal(tmp_path)


def test_a_stated_tilt_of_straight_slices_is_told(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu(), GantryDetectorTilt=15)
    assert codes(read_ct(tmp_path)) == ["gantry_tilt"]


@pytest.mark.parametrize("kept", [0, 100, 0.3, 0.99])
def test_a_truncated_slice_is_refused(tmp_path: Path, kept: float) -> None:
    paths = write_series(tmp_path, chest_hu())
    # The last one: no gap would tell.
    content = paths[-1].read_bytes()
    paths[-1].write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    message = refusal(tmp_path)
    assert "1 file " in message and paths[-1].name in message
    assert "cannot be read" in refusal(paths[-1])


def test_a_truncated_slice_of_another_series_does_no_harm(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu())
    other = write_series(tmp_path, chest_hu((3, 16, 20)), uid=f"{SERIES_UID}1", prefix="other")
    other[0].write_bytes(other[0].read_bytes()[:-50])
    np.testing.assert_array_equal(read_ct(tmp_path).hu, chest_hu())


def test_a_compressed_slice_with_rubbish_inside_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu((12, 40, 48)), syntax=JPEG2000Lossless)
    dataset = pydicom.dcmread(paths[0])
    dataset.PixelData = pydicom.encaps.encapsulate([b"\x00" * 200])
    dataset.save_as(paths[0])
    assert paths[0].name in refusal(tmp_path)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Modality": "MR"}, "is MR, not CT"),
        ({"Modality": "PT"}, "is PT, not CT"),
        ({"Modality": None}, "no stated modality"),
        ({"PixelSpacing": None}, "gives no pixel spacing"),
        ({"ImagePositionPatient": None}, "where its slices lie"),
        ({"ImageOrientationPatient": None}, "where its slices lie"),
        ({"PixelSpacing": [0.05, 0.05]}, "0.05 × 0.05 × 2.5 mm"),
        ({"PixelSpacing": [11, 11]}, "11 × 11 × 2.5 mm"),
        ({"RescaleType": "OD"}, "its header says OD"),
        ({"RescaleIntercept": 0}, "no values below 0"),
        ({"RescaleIntercept": -2048}, "not a chest in Hounsfield units"),
        ({"RescaleSlope": 0.001, "RescaleIntercept": -1}, "not a chest in Hounsfield units"),
        ({"RescaleSlope": 100}, "values reach"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "only a scout view"),
    ],
)
def test_unusable_series_are_refused(tmp_path: Path, tags: dict[str, object], words: str) -> None:
    write_series(tmp_path, chest_hu(), **tags)
    assert words in refusal(tmp_path)


def test_slices_too_far_apart_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, chest_hu(), spacing_mm=(0.8, 0.7, 25.0))
    assert "0.8 × 0.7 × 25 mm" in refusal(tmp_path)


def test_8_bit_slices_are_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path, chest_hu()):
        dataset = pydicom.dcmread(path)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelRepresentation = 0
        dataset.PixelData = bytes(range(256)) + bytes(64)
        dataset.save_as(path)
    assert "8 bits" in refusal(tmp_path)


def test_colour_slices_are_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path, chest_hu()):
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
        dataset.PhotometricInterpretation = "RGB"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelRepresentation = 0
        dataset.PixelData = bytes(16 * 20 * 3)
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.save_as(path)
    assert "colour" in refusal(tmp_path)


def test_a_multi_frame_file_is_refused(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, chest_hu((1, 16, 20)))
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2
    dataset.save_as(path)
    assert "multi-frame" in refusal(tmp_path)


def test_a_single_slice_is_refused(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, chest_hu((1, 16, 20)))
    assert "single 2D slice" in refusal(tmp_path)
    assert "single 2D slice" in refusal(path)


def test_folders_without_images_and_missing_paths_are_refused(tmp_path: Path) -> None:
    assert "holds no DICOM images" in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    assert "holds no DICOM images" in refusal(tmp_path)
    assert 'no file or folder "gone"' in refusal(tmp_path / "gone")
    assert "neither DICOM nor" in refusal(tmp_path / "notes.txt")


# DICOM: warnings


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"ContrastBolusAgent": "Iomeprol"}, ["contrast_suspected"]),
        ({"ContrastBolusAgent": "NONE"}, []),
        ({"ContrastBolusAgent": "Gastrografin", "ContrastBolusRoute": "ORAL"}, []),
        ({"LossyImageCompression": "01"}, ["lossy_compression"]),
        ({"SliceThickness": 1.0}, ["slice_gaps"]),
        ({"SliceThickness": 7.0}, ["thick_slices"]),
        ({"RescaleType": "HU"}, []),
    ],
)
def test_what_the_header_says_is_told(
    tmp_path: Path, tags: dict[str, object], expected: list[str]
) -> None:
    write_series(tmp_path, chest_hu(), **tags)
    ct = read_ct(tmp_path)
    assert codes(ct) == expected
    for warning in ct.warnings:
        one_sentence(warning.message)


@pytest.mark.parametrize("padding_hu", [-2000, -3024, -32000])
def test_padding_becomes_air(tmp_path: Path, padding_hu: int) -> None:
    hu = chest_hu()
    hu[:, 0, :8] = padding_hu
    write_series(tmp_path, hu)
    ct = read_ct(tmp_path)
    assert codes(ct) == ["padding"]
    assert "2.5%" in ct.warnings[0].message
    assert (ct.hu[:, 0, :8] == -1024).all()
    np.testing.assert_array_equal(ct.hu[:, 1:], hu[:, 1:])


# Image files


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "direction",
    [np.eye(3), np.diag([-1.0, 1.0, -1.0]), np.eye(3)[:, [1, 2, 0]], ROTATION],
    ids=["straight", "flipped", "permuted", "oblique"],
)
def test_image_files_keep_voxels_and_geometry(
    tmp_path: Path, suffix: str, direction: np.ndarray
) -> None:
    hu = chest_hu()
    ct = read_ct(write_image(tmp_path / f"my.scan{suffix}", hu, direction))
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.name == "my.scan"
    assert ct.warnings == ()
    # NIfTI keeps 32-bit floats.
    tolerance = 1e-4 if ".nii" in suffix else 1e-12
    np.testing.assert_allclose(ct.geometry.spacing_mm, SPACING_MM, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ct.geometry.origin_mm, ORIGIN_MM, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ct.geometry.direction, direction, rtol=0, atol=tolerance)


def test_float_nifti_is_rounded(tmp_path: Path) -> None:
    hu = chest_hu()
    path = write_image(tmp_path / "scan.nii.gz", hu.astype(np.float32) + 0.4)
    ct = read_ct(path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.hu.dtype == np.int16


def test_a_time_series_is_refused_but_one_volume_in_4d_read(tmp_path: Path) -> None:
    hu = chest_hu()
    volume = sitk.GetImageFromArray(hu)
    for count, name in ((2, "two.nrrd"), (1, "one.nrrd")):
        sitk.WriteImage(sitk.JoinSeries([volume] * count), str(tmp_path / name))
    assert "holds 2 volumes" in refusal(tmp_path / "two.nrrd")
    np.testing.assert_array_equal(read_ct(tmp_path / "one.nrrd").hu, hu)


def test_colour_and_flat_images_are_refused(tmp_path: Path) -> None:
    hu = chest_hu()
    colour = sitk.Compose([sitk.GetImageFromArray(hu)] * 3)
    sitk.WriteImage(colour, str(tmp_path / "colour.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(hu[0]), str(tmp_path / "flat.nrrd"))
    assert "3 values per voxel" in refusal(tmp_path / "colour.nrrd")
    assert "2D image" in refusal(tmp_path / "flat.nrrd")
    assert "2D image" in refusal(write_image(tmp_path / "thin.nii", hu[:1]))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"scan{suffix}", chest_hu())
    path.write_bytes(path.read_bytes()[:-200])
    assert "truncated, damaged" in refusal(path)
    path.write_bytes(b"")
    assert "truncated, damaged" in refusal(path)


def write_nrrd(path: Path, hu: np.ndarray, *fields: str) -> Path:
    sizes = " ".join(map(str, hu.shape[::-1]))
    header = ["NRRD0005", "type: short", "dimension: 3", f"sizes: {sizes}", "endian: little"]
    text = "\n".join([*header, "encoding: raw", *fields])
    path.write_bytes(text.encode() + b"\n\n" + hu.astype("<i2").tobytes())
    return path


def test_a_header_without_voxel_size_is_refused(tmp_path: Path) -> None:
    hu = chest_hu()
    assert "no voxel size" in refusal(write_nrrd(tmp_path / "a.nrrd", hu))
    assert "no voxel size" in refusal(write_nrrd(tmp_path / "b.nrrd", hu, "spacings: 1 1 nan"))
    nifti = write_image(tmp_path / "c.nii", hu)
    content = bytearray(nifti.read_bytes())
    struct.pack_into("<3f", content, 80, 0, 0, 0)
    nifti.write_bytes(content)
    assert "no voxel size" in refusal(nifti)
    packed = tmp_path / "d.nii.gz"
    packed.write_bytes(gzip.compress(bytes(content)))
    assert "no voxel size" in refusal(packed)
    meta = write_image(tmp_path / "e.mha", hu)
    meta.write_bytes(re.sub(rb"ElementSpacing = [^\n]*\n", b"", meta.read_bytes()))
    assert "no voxel size" in refusal(meta)


def test_a_header_without_directions_is_told(tmp_path: Path) -> None:
    hu = chest_hu()
    nrrd = write_nrrd(tmp_path / "a.nrrd", hu, "spacings: 0.8 0.7 2.5")
    assert codes(read_ct(nrrd)) == ["orientation_unknown"]
    nifti = write_image(tmp_path / "b.nii", hu)
    content = bytearray(nifti.read_bytes())
    struct.pack_into("<2h", content, 252, 0, 0)
    nifti.write_bytes(content)
    assert codes(read_ct(nifti)) == ["orientation_unknown"]


def test_skewed_axes_are_refused(tmp_path: Path) -> None:
    fields = (
        "space: left-posterior-superior",
        "space directions: (0.8,0,0) (0,0.7,0) (0,0.5,2.5)",
        "space origin: (0,0,0)",
    )
    assert "right angles" in refusal(write_nrrd(tmp_path / "a.nrrd", chest_hu(), *fields))


def test_8_bit_files_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (12, 16, 20)).astype(np.uint8)
    for suffix in SUFFIXES:
        assert "8 bits" in refusal(write_image(tmp_path / f"a{suffix}", values))


def test_a_series_of_an_image_file_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nrrd", chest_hu())
    assert "leave the series out" in refusal(path, series=3)


# Arrays


def test_a_good_array_is_taken_as_it_is() -> None:
    hu = chest_hu()
    ct = check_ct(hu, geometry_for(hu), "scan")
    assert ct.hu is hu
    assert (ct.name, ct.warnings) == ("scan", ())


def test_the_given_array_is_never_changed() -> None:
    hu = chest_hu()
    hu[0, 0, 0] = -3024
    before = hu.copy()
    ct = check_ct(hu, geometry_for(hu), "scan")
    np.testing.assert_array_equal(hu, before)
    assert ct.hu[0, 0, 0] == -1024


def test_noise_in_air_and_metal_keep_their_values() -> None:
    hu = chest_hu()
    hu[0, 0, 0], hu[0, 0, 1] = -1100, 12000
    ct = check_ct(hu, geometry_for(hu), "scan")
    assert ct.hu[0, 0, :2].tolist() == [-1100, 12000]
    assert codes(ct) == ["values_above_range"]
    assert ct.warnings[0].message.startswith("1 voxels lie above 3071 HU")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    hu = chest_hu().astype(np.float32)
    hu[3, 3, 3] = value
    assert "1 voxels that are not finite" in array_refusal(hu)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (chest_hu() + np.int16(1024), "no values below 0"),
        (chest_hu() - np.int16(1024), "not a chest in Hounsfield units"),
        (chest_hu() / 1000.0, "not a chest in Hounsfield units"),
        ((chest_hu() + 1000.0) / 1400.0, "no values below 0"),
        (chest_hu().astype(np.int32) * 1000, "values reach"),
        (np.zeros((12, 16, 20), np.int16), "no values below 0"),
        (np.full((12, 16, 20), -1000, np.int16), "not a chest in Hounsfield units"),
        (chest_hu() > 0, "plain numbers"),
        (np.zeros((12, 16, 20), np.uint8), "8 bits"),
        (np.zeros((16, 20), np.int16), "2D"),
        (np.zeros((12, 16, 20, 3), np.int16), "4 dimensions"),
    ],
)
def test_arrays_that_are_not_a_chest_ct_are_refused(values: np.ndarray, words: str) -> None:
    assert words in array_refusal(values)


def test_an_unscaled_scan_with_padding_is_refused() -> None:
    # As GE stores it: air 0 or 24, soft tissue 1024, and −2000 outside the field of view.
    stored = chest_hu() + np.int16(1024)
    stored[:, 0] = -2000
    assert "not a chest in Hounsfield units" in array_refusal(stored)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spacing_mm": (0.05, 0.7, 2.5)}, "0.05 × 0.7 × 2.5 mm"),
        ({"spacing_mm": (0.8, 0.0, 2.5)}, "0.8 × 0 × 2.5 mm"),
        ({"spacing_mm": (0.8, 10.5, 2.5)}, "0.8 × 10.5 × 2.5 mm"),
        ({"spacing_mm": (0.8, 0.7, 20.5)}, "0.8 × 0.7 × 20.5 mm"),
        ({"spacing_mm": (0.8, np.nan, 2.5)}, "not a number"),
        ({"origin_mm": (0.0, np.inf, 0.0)}, "not a number"),
        ({"direction": np.diag([1.0, 1.0, 0.0])}, "right angles"),
        ({"direction": np.diag([1.0, 1.0, 2.0])}, "right angles"),
        ({"shape": (12, 16, 21)}, "different sizes"),
    ],
)
def test_geometry_that_makes_no_sense_is_refused(change: dict[str, object], words: str) -> None:
    hu = chest_hu()
    fields = {
        "shape": hu.shape,
        "spacing_mm": SPACING_MM,
        "origin_mm": ORIGIN_MM,
        "direction": np.eye(3),
    }
    assert words in array_refusal(hu, Geometry(**{**fields, **change}))


def test_slices_are_counted_along_the_body_whatever_the_storage_order() -> None:
    hu = chest_hu((30, 16, 10))
    # Index x runs up the body: 10 slices of 6 mm.
    direction = np.eye(3)[:, [2, 1, 0]]
    ct = check_ct(hu, geometry_for(hu, (6.0, 0.7, 0.8), direction), "scan")
    assert codes(ct) == ["few_slices", "thick_slices"]
    assert "only 10 slices" in ct.warnings[0].message
    assert "6 mm thick" in ct.warnings[1].message


def test_5_mm_and_11_slices_are_no_reason_to_warn() -> None:
    hu = chest_hu((11, 16, 20))
    assert codes(check_ct(hu, geometry_for(hu, (0.8, 0.7, 5.0)), "scan")) == []


def a_chest_with_a_heart_of(blood_hu: int) -> tuple[np.ndarray, Geometry]:
    """Return a body of muscle with two lungs, a 60 mm heart and a row of bright vertebrae."""
    hu = np.full((40, 60, 80), -1000, np.int16)
    hu[:, 5:55, 5:75] = 50
    hu[:, 10:45, 10:28] = -850
    hu[:, 10:45, 52:70] = -850
    hu[10:30, 15:35, 30:50] = blood_hu
    for z in range(0, 40, 10):
        hu[z : z + 8, 40:50, 35:45] = 250
    return hu, geometry_for(hu, (3.0, 3.0, 3.0))


@pytest.mark.parametrize(
    ("blood_hu", "expected"), [(45, []), (300, ["contrast_suspected"]), (110, [])]
)
def test_bright_blood_is_told(blood_hu: int, expected: list[str]) -> None:
    hu, geometry = a_chest_with_a_heart_of(blood_hu)
    assert codes(check_ct(hu, geometry, "scan")) == expected


def test_slices_that_are_too_bright_all_over_are_no_bright_blood() -> None:
    """As in scans restored from pictures: in some slices all soft tissue is brighter, fat, too."""
    hu, geometry = a_chest_with_a_heart_of(45)
    outside = np.ones(hu.shape[1:], bool)
    outside[10:47, 10:70] = False
    hu[:, outside & (hu[0] == 50)] = -100
    soft_tissue = (hu[12:28] >= -100) & (hu[12:28] <= 50)
    # Fat becomes +30, what muscle may be, and muscle and blood +180.
    hu[12:28][soft_tissue] += 130
    assert codes(check_ct(hu, geometry, "scan")) == []


# Real scans


def test_the_real_series_is_read_as_itk_reads_it(test_data: Path) -> None:
    folder = test_data / "dicom" / "covid_P001"
    ct = read_ct(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(ct.hu, sitk.GetArrayViewFromImage(image))
    assert ct.hu.shape == (148, 512, 512)
    assert ct.geometry.spacing_mm == (0.748046875, 0.748046875, 2.0)
    np.testing.assert_allclose(ct.geometry.origin_mm, image.GetOrigin(), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(ct.geometry.direction, np.eye(3))
    assert (ct.name, ct.warnings) == ("covid_P001", ())


def test_every_real_scan_is_accepted(test_data: Path) -> None:
    paths = [
        *sorted(test_data.glob("labelled/*/ct.nrrd")),
        *sorted(test_data.glob("unlabelled/*/ct.nrrd")),
        *sorted(test_data.glob("lungs/*/ct.nrrd")),
        test_data / "tiny" / "ct-64.nrrd",
    ]
    assert len(paths) >= 20
    for path in paths:
        ct = read_ct(path)
        case = path.parent.name
        image = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(ct.hu, sitk.GetArrayViewFromImage(image))
        # Slices of 6 mm, and the one scan with contrast medium.
        thick = ["thick_slices"] if image.GetSpacing()[2] > 5 else []
        contrast = ["contrast_suspected"] if case == "lidc_0001" else []
        assert codes(ct) == [*thick, *contrast], case


def test_label_maps_and_lobe_masks_are_refused(test_data: Path) -> None:
    refusal(test_data / "labelled" / "covid01" / "labels.nrrd")
    refusal(next(iter(sorted(test_data.glob("lobes/*.nrrd")))))
