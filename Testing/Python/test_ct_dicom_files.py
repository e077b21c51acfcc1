"""The door for DICOM files: which are found, and what damaged and hostile ones end in."""

from __future__ import annotations

import os
import random
import shutil
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.ct.dicom import is_dicom
from CovidLungQuantLib.ct.dicom.decoder_messages import listening
from CovidLungQuantLib.errors import BadInputError
from Testing.Python.dicom_series import chest_hu, edit, write_series
from Testing.Python.refusals import codes, refusal

PIXEL_BYTES = 16 * 20 * 2
# The elements of a slice that another is made of by hand.
SEQUENCE_HEAD = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
ITEM_HEAD = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def with_elements(path: Path, content: bytes) -> None:
    """Put elements before the modality of a slice."""
    whole = path.read_bytes()
    at = whole.index(b"\x08\x00\x60\x00CS")
    path.write_bytes(whole[:at] + content + whole[at:])


def as_lossless_jpeg(path: Path) -> pydicom.Dataset:
    """Compress a slice as GDCM does."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    packed = path.with_name("packed.dcm")
    writer.SetFileName(str(packed))
    writer.Execute(sitk.ReadImage(str(path)))
    dataset = pydicom.dcmread(packed)
    packed.unlink()
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return dataset


# Found by content


def test_files_without_preamble_or_suffix_are_found(tmp_path: Path) -> None:
    hu = chest_hu()
    for path in write_series(tmp_path, hu):
        dataset = pydicom.dcmread(path)
        buffer = DicomBytesIO()
        buffer.is_little_endian = buffer.is_implicit_VR = True
        write_dataset(buffer, pydicom.Dataset(dict(dataset.items())))
        (tmp_path / str(dataset.SOPInstanceUID)).write_bytes(buffer.getvalue())
        path.unlink()
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.warnings == ()


def test_files_that_begin_a_little_like_dicom_are_passed_over(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path, hu)
    (tmp_path / "table.bin").write_bytes(b"\x08\x00\x05\x00\xff\xff\xff\xff" + bytes(200))
    (tmp_path / "text").write_text("\x08 is a backspace")
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_linked_folders_are_read_once_and_loops_end(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path / "real", hu)
    write_series(tmp_path / "other", chest_hu((20, 16, 20)), uid="1.2.9")
    study = tmp_path / "study"
    study.mkdir()
    (study / "series").symlink_to(tmp_path / "real")
    (study / "again").symlink_to(tmp_path / "real")
    (study / "around").symlink_to(tmp_path)
    (tmp_path / "real" / "itself").symlink_to(tmp_path / "real")
    ct = read_ct(study)
    np.testing.assert_array_equal(ct.hu, hu)
    assert ct.warnings == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    hu = chest_hu()
    write_series(tmp_path / "scan", hu)
    os.mkfifo(tmp_path / "scan" / "pipe.dcm")
    np.testing.assert_array_equal(read_ct(tmp_path / "scan").hu, hu)
    assert not is_dicom(tmp_path / "scan" / "pipe.dcm")
    assert "is a pipe, not a file or folder" in refusal(tmp_path / "scan" / "pipe.dcm")
    assert not is_dicom(Path(os.devnull))


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_plain_transfer_syntax_gives_the_same_voxels(
    tmp_path: Path, syntax: pydicom.uid.UID
) -> None:
    hu = chest_hu()
    for path in write_series(tmp_path, hu):
        dataset = pydicom.dcmread(path)
        if syntax == ExplicitVRBigEndian:
            values = np.frombuffer(dataset.PixelData, "<i2").astype(">i2")
            dataset.PixelData = values.tobytes()
            dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = syntax
        little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
        pydicom.dcmwrite(path, dataset, little_endian=little, implicit_vr=implicit)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


# Damaged


def test_pixel_data_shorter_than_the_image_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    edit(paths[5], PixelData=bytes(PIXEL_BYTES // 2))
    message = refusal(tmp_path)
    assert "1 file " in message and paths[5].name in message
    assert "320 bytes of pixel data where 640 belong" in message


def test_pixel_data_longer_than_the_image_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    edit(paths[5], PixelData=bytes(PIXEL_BYTES + 40))
    assert "680 bytes of pixel data where 640 belong" in refusal(tmp_path)
    edit(paths[5], PixelData=bytes(PIXEL_BYTES + 2))
    assert "next to no tissue" in refusal(tmp_path)


def test_something_else_than_elements_behind_the_pixel_data_is_refused(tmp_path: Path) -> None:
    hu = chest_hu()
    paths = write_series(tmp_path, hu)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole + bytes(512))
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)
    paths[2].write_bytes(whole[:-100] + b"\x07\x01\x02" + whole[-100:])
    assert paths[2].name in refusal(tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_a_cut_codestream_is_refused(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    paths = write_series(tmp_path, chest_hu((12, 40, 48)), syntax=syntax)
    dataset = pydicom.dcmread(paths[0])
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) * 2 // 3 // 2 * 2]])
    dataset.save_as(paths[0])
    message = refusal(tmp_path)
    assert paths[0].name in message and "compressed pixel data" in message


def test_a_lossless_jpeg_whose_middle_is_missing_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = write_series(
        tmp_path, chest_hu((12, 40, 48)), PixelRepresentation=0, BitsStored=12, HighBit=11
    )
    packed = as_lossless_jpeg(paths[0])
    (frame,) = pydicom.encaps.generate_frames(packed.PixelData, number_of_frames=1)
    packed.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 2] + b"\xff\xd9"])
    packed.save_as(paths[0])
    assert "compressed pixel data are damaged" in refusal(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_decoder_is_listened_to_and_others_are_not_kept_from_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def decode() -> int:
        os.write(2, b"Corrupt JPEG data: premature end of data segment\nsomething else\n")
        return 5

    assert listening(decode) == (5, True)
    assert listening(lambda: 6) == (6, False)
    assert capfd.readouterr() == ("", "something else\n")


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_codestream_of_another_image_never_reaches_the_decoder(
    tmp_path: Path, syntax: pydicom.uid.UID
) -> None:
    paths = write_series(tmp_path / "scan", chest_hu((12, 40, 48)), syntax=syntax)
    (large,) = write_series(tmp_path / "large", chest_hu((1, 60, 48)), syntax=syntax)
    edit(paths[0], PixelData=pydicom.dcmread(large).PixelData)
    assert "of another image than its header says" in refusal(tmp_path / "scan")


def test_sequences_nested_without_end_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    with_elements(paths[0], (SEQUENCE_HEAD + ITEM_HEAD) * 100_000)
    assert "nested too deep" in refusal(tmp_path)


def test_sequences_nested_as_in_real_headers_are_no_matter(tmp_path: Path) -> None:
    hu = chest_hu()
    paths = write_series(tmp_path, hu)
    depth = 12
    nested = (SEQUENCE_HEAD + ITEM_HEAD) * depth + (ITEM_END + SEQUENCE_END) * depth
    with_elements(paths[0], nested)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


def test_headers_of_endless_elements_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    with_elements(paths[0], struct.pack("<HH2sH", 0x0009, 0x1001, b"CS", 0) * 20_000)
    assert "too many elements" in refusal(tmp_path)


def test_false_lengths_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    heads = [
        struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0x7FFFFFF0),
        struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 0xFFFFFFFE),
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0x7FFFFFF0),
        SEQUENCE_HEAD,
        struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", 0xFFFF),
    ]
    for path, head in zip(paths, heads, strict=False):
        with_elements(path, head)
    tracemalloc.start()
    began = time.process_time()
    assert f"{len(heads)} files" in refusal(tmp_path)
    assert time.process_time() - began < 2.0
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_bomb_in_a_deflated_file_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    dataset = pydicom.dcmread(paths[0])
    dataset.add_new(0x00091001, "OB", bytes(300 << 20))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(paths[0])
    assert paths[0].stat().st_size < 1 << 20
    assert paths[0].name in refusal(tmp_path)


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesNumber": None, "InstanceNumber": None},
        {"SliceThickness": None},
        {"SliceThickness": 0},
        {"FrameOfReferenceUID": ""},
        {"StudyInstanceUID": ""},
        {"PatientName": "", "PatientID": None},
    ],
)
def test_headers_that_say_little_are_read(tmp_path: Path, tags: dict[str, object]) -> None:
    hu = chest_hu()
    write_series(tmp_path, hu, **tags)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


@pytest.mark.parametrize("number", [b"nan ", b"inf ", b"1e99", b"x\x1b[m"])
def test_numbers_that_are_none_do_no_harm(tmp_path: Path, number: bytes) -> None:
    hu = chest_hu()
    for path in write_series(tmp_path, hu, number=1234):
        path.write_bytes(path.read_bytes().replace(b"IS\x04\x001234", b"IS\x04\x00" + number))
    np.testing.assert_array_equal(read_ct(tmp_path).hu, hu)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_changed_bytes_end_in_a_sentence_or_in_the_same_geometry(
    tmp_path: Path, syntax: pydicom.uid.UID | None
) -> None:
    hu = chest_hu((12, 40, 48))
    options = {} if syntax is None else {"syntax": syntax}
    paths = write_series(tmp_path, hu, **options)
    rng = random.Random(str(syntax))
    for _ in range(60):
        path = rng.choice(paths)
        whole = path.read_bytes()
        header_size = whole.index(b"\xe0\x7f\x10\x00")
        at = rng.randrange(132, header_size)
        changed = bytearray(whole)
        if rng.random() < 0.7:
            changed[at] ^= 1 << rng.randrange(8)
        else:
            changed[at : at + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
        path.write_bytes(changed)
        try:
            ct = read_ct(tmp_path)
        except BadInputError as error:
            assert str(error).endswith(".")
        else:
            is_same = ct.hu.shape == hu.shape and np.array_equal(ct.hu, hu)
            assert is_same or codes(ct), (at, bytes(changed[at - 8 : at + 8]))
        path.write_bytes(whole)


def test_copies_of_a_damaged_file_do_not_hide_it(tmp_path: Path) -> None:
    paths = write_series(tmp_path, chest_hu())
    paths[3].write_bytes(paths[3].read_bytes()[:-30])
    shutil.copy(paths[3], tmp_path / "copy.dcm")
    assert "2 files " in refusal(tmp_path)
