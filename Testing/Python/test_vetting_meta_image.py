"""MetaImage headers: what is read to the last bit as ITK reads it, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import VOXELS, meta_bytes, packed_meta_bytes, refusal, write, zlib_packed

from CovidLungQuantLib.vetting import read_stored_image, vet_image

RAW = VOXELS.tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"TransformMatrix": "0 1 0 -0.6 0 0.8 0.8 0 0.6"},
        {"TransformMatrix": None},
        {"Offset": None, "Position": "4 5 6"},
        {"Offset": None, "Origin": "4 5 6"},
        {"ElementSpacing": None, "ElementSize": "1 2 3"},
        {"ElementSpacing": "0.8 0.7 2.5", "ElementSize": "1 2 3"},
        {"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "True"},
        {"BinaryDataByteOrderMSB": None},
        {"BinaryData": None},
        {"CompressedData": None},
        {"ElementType": "MET_USHORT"},
        {"ElementType": "MET_UCHAR", "DimSize": "12 5 4"},
        {"ElementType": "MET_CHAR", "DimSize": "12 5 4"},
        {"ElementType": "MET_FLOAT", "DimSize": "3 5 4"},
        {"ElementNumberOfChannels": "2", "DimSize": "3 5 4"},
        {"HeaderSize": "0"},
        {"Comment": "any = thing"},
    ],
)
def test_it_is_read_as_itk_reads_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write(tmp_path, "a.mha", meta_bytes((VOXELS // 40 * 257).tobytes(), **changes))
    stored, image = read_stored_image(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(stored.voxels, sitk.GetArrayFromImage(image))
    assert stored.header.spacing_mm == image.GetSpacing()
    assert stored.header.origin_mm == image.GetOrigin()
    assert stored.header.direction.ravel().tolist() == list(image.GetDirection())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NDims": "-1"}, "-1 dimensions"),
        ({"NDims": "0"}, "0 dimensions"),
        ({"NDims": "100"}, "100 dimensions"),
        ({"NDims": "three"}, "no whole number"),
        ({"NDims": None}, 'does not give "NDims"'),
        ({"DimSize": None}, 'does not give "DimSize"'),
        ({"DimSize": "6 5"}, "2 values for 3"),
        ({"DimSize": "6 5 0"}, "empty"),
        ({"DimSize": "1000000000 1000000000 1000000000"}, "size that no image has"),
        ({"ElementType": None}, 'does not give "ElementType"'),
        ({"ElementType": "MET_NONE"}, "unknown type"),
        ({"ElementType": "MET_LONG"}, "unknown type"),
        ({"ElementNumberOfChannels": "0"}, "empty"),
        ({"ElementNumberOfChannels": "3"}, "bytes of voxels"),
        ({"ObjectType": "Tube"}, "does not say that it is an image"),
        ({"BinaryData": "False"}, "as text"),
        ({"BinaryData": "perhaps"}, "neither yes nor no"),
        ({"ElementByteOrderMSB": "True"}, "two byte orders"),
        ({"HeaderSize": "-1"}, "passed over"),
        ({"HeaderSize": "-2"}, "passed over"),
        ({"HeaderSize": "12"}, "passed over"),
        ({"CompressedData": "True"}, "checksum"),
        ({"ElementSpacing": "-1 1 1"}, "below zero"),
        ({"ElementSpacing": "1 1"}, "2 values for 3"),
        ({"Offset": "nan 0 0"}, "not a number"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0.5 1"}, "right angles"),
        ({"TransformMatrix": "1 0 0 0 1 0"}, "6 values for 9"),
        ({"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}, "not a number"),
        ({"DistanceUnits": "um"}, "not measured in millimetres"),
        ({"ElementToIntensityFunctionSlope": "2"}, "rescaled"),
        ({"ElementToIntensityFunctionOffset": "-1024"}, "rescaled"),
        ({"ElementDataFile": "LOCALx\x01"}, "does not end with the name"),
        ({"ElementDataFile": ""}, "does not end with the name"),
        ({"ElementDataFile": "local"}, "There is no file of voxels"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(write(tmp_path, "a.mha", meta_bytes(**changes)))


def test_packed_voxels_of_both_kinds_are_read(tmp_path: Path) -> None:
    for packed in (zlib_packed(), gzip.compress(RAW)):
        for changes in ({}, {"CompressedDataSize": None}, {"CompressedDataSize": "0"}):
            content = meta_bytes(
                packed, **({"CompressedData": "True", "CompressedDataSize": len(packed)} | changes)
            )
            stored = read_stored_image(write(tmp_path, "a.mha", content))
            np.testing.assert_array_equal(stored.voxels, VOXELS)


def test_the_packed_size_is_what_is_there(tmp_path: Path) -> None:
    packed = zlib_packed()
    for wrong in (len(packed) - 1, len(packed) + 1, -5):
        content = meta_bytes(packed, CompressedData="True", CompressedDataSize=wrong)
        assert "packed bytes" in refusal(write(tmp_path, "a.mha", content))


def test_a_stream_that_ends_early_is_refused_though_its_size_agrees(tmp_path: Path) -> None:
    packed = zlib_packed()
    path = write(tmp_path, "a.mha", packed_meta_bytes(packed[: len(packed) // 2]))
    assert "end too early" in refusal(path)


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    for packed in (False, True):
        content = meta_bytes(zlib_packed() if packed else RAW, end="", CompressedData=str(packed))
        assert "cannot be read" in refusal(write(tmp_path, "a.mha", content))
    assert "ends with its header" in refusal(write(tmp_path, "a.mha", meta_bytes(b"", end="")))
    assert "ElementDataFile" in refusal(write(tmp_path, "a.mha", b""))
    assert "ElementDataFile" in refusal(write(tmp_path, "a.mha", b"NDims = 3\n"))
    assert "ElementDataFile" in refusal(write(tmp_path, "a.mha", b"A" * 100_000))
    assert "no MetaImage has" in refusal(write(tmp_path, "a.mha", b"nothing\n" + meta_bytes()))
    twice = b"DimSize = 1 1 1\n" + meta_bytes()
    assert '"DimSize" twice' in refusal(write(tmp_path, "a.mha", twice))


@pytest.mark.parametrize(("skip", "before"), [("-1", b"any length"), ("4", b"1234"), ("0", b"")])
def test_bytes_before_detached_voxels_are_passed_over(
    tmp_path: Path, skip: str, before: bytes
) -> None:
    (tmp_path / "a.raw").write_bytes(before + RAW)
    content = meta_bytes(b"", ElementDataFile="a.raw", HeaderSize=skip)
    stored = read_stored_image(write(tmp_path, "a.mhd", content))
    np.testing.assert_array_equal(stored.voxels, VOXELS)


def test_what_the_header_leaves_open_is_known(tmp_path: Path) -> None:
    header = vet_image(write(tmp_path, "a.mha", meta_bytes(ElementSpacing=None)))
    assert not header.states_spacing and header.spacing_mm == (1.0, 1.0, 1.0)
    header = vet_image(write(tmp_path, "a.mha", meta_bytes(ElementSpacing="1 nan 0")))
    assert not header.states_spacing
    header = vet_image(write(tmp_path, "a.mha", meta_bytes(TransformMatrix=None)))
    assert not header.states_directions
