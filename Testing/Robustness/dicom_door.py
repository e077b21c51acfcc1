"""The door for DICOM: small series of each way to store them, one file or all files damaged."""

from __future__ import annotations

import io
import re
import struct
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from CovidLungQuantLib.ct import CTVolume, Geometry, read_ct
from Testing.Python.dicom_series import chest_hu, write_series
from Testing.Robustness.damage import STRANGE_VALUES, damaged_content
from Testing.Robustness.door import (
    AS_STATED,
    IN_BARE_VOXELS,
    IN_UNCHECKED_VOXELS,
    OTHER,
    SAME,
    WARNED,
    Door,
    Seed,
)

SHAPE = (8, 16, 20)
SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)
# Its tag and its representation or length; only one begins so.
PIXEL_DATA = re.compile(rb"\xe0\x7f\x10\x00(O[BW]\0\0.{4}|.{4})", re.DOTALL)
DAMAGED_AT = 3
LONGEST_META = 400
ELEMENTS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "Modality", "ImageType", "SeriesInstanceUID",
    "StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber",
    "AcquisitionNumber", "SeriesNumber", "PatientID", "PatientName", "SpecificCharacterSet",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "GantryDetectorTilt", "ContrastBolusAgent",
    "LossyImageCompression", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
STRANGE_NUMBERS = (0, 1, 2, 7, 8, 12, 16, 17, 32, 255, 4096, 32767, 32768, 65535)
SAME_MM = 1e-3


def dicom_door() -> Door:
    """Series of every way to store plain and packed values."""
    return Door("dicom", [_series_seed(syntax) for syntax in SYNTAXES], judge)


def judge(seed: Seed, path: Path, before: CTVolume, after: CTVolume) -> str:
    """Same scan, but for what the damaged files themselves say now."""
    if _is_same(before, after):
        return SAME
    if _is_same(_with_valid_header(seed, path), after):
        syntax = _parsed(seed.content).file_meta.TransferSyntaxUID
        is_bare = syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        return IN_BARE_VOXELS if is_bare else IN_UNCHECKED_VOXELS
    known = {warning.code for warning in before.warnings}
    if {warning.code for warning in after.warnings} - known:
        return WARNED
    return AS_STATED if _is_as_stated(seed, path, after) else OTHER


def damaged_dicom(content: bytes, rng: np.random.Generator) -> bytes:
    """Harm a file's bytes, its deflated bytes, or one of its elements."""
    way = rng.random()
    if way < 0.4:
        try:
            return _with_strange_element(content, rng)
        except Exception:  # where pydicom will not write such a thing
            return damaged_content(content, rng)
    if way < 0.6:
        head, plain = _inflated(content)
        if plain:
            return head + _deflated(damaged_content(plain, rng))
    return damaged_content(content, rng)


def _read(path: Path) -> CTVolume:
    return read_ct(path.parent)


def _series_seed(syntax: UID) -> Seed:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(Path(folder), chest_hu(SHAPE))
        files = {path.name: _stored(path, syntax) for path in paths}
        # A slice within the scan, whose loss would leave a gap.
        file_name = paths[DAMAGED_AT].name
    return Seed(file_name, files.pop(file_name), _read, files, damaged_dicom, shares_harm=True)


def _stored(path: Path, syntax: UID) -> bytes:
    dataset = pydicom.dcmread(path)
    # Both ways, or pydicom's random number makes another file each time.
    if syntax == RLELossless:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    return _written(dataset)


def _written(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _parsed(content: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(content), force=True)


def _with_strange_element(content: bytes, rng: np.random.Generator) -> bytes:
    """Give an element a strange value, or leave it out."""
    dataset = _parsed(content)
    keyword = ELEMENTS[rng.integers(len(ELEMENTS))]
    tag = Tag(tag_for_keyword(keyword))
    vr = pydicom.datadict.dictionary_VR(tag)
    vr = "US" if vr == "US or SS" else vr
    value = _strange_value(dataset, keyword, vr, rng)
    if rng.random() < 0.15 or vr == "SQ":
        if tag in dataset:
            del dataset[tag]
    else:
        is_implicit = dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        value += b" " * (len(value) % 2)
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, is_implicit, True)
    return _written(dataset)


def _strange_value(
    dataset: pydicom.Dataset, keyword: str, vr: str, rng: np.random.Generator
) -> bytes:
    if vr == "US":
        number = int(STRANGE_NUMBERS[rng.integers(len(STRANGE_NUMBERS))])
        return struct.pack("<H", number) * int(rng.choice([1, 1, 1, 0, 2]))
    value = STRANGE_VALUES[rng.integers(len(STRANGE_VALUES))].encode("utf-8", "surrogateescape")
    stated = dataset.get(keyword)
    if vr in ("DS", "IS") and stated is not None and rng.random() < 0.7:
        # Another number in one place, or another digit.
        parts = [str(part) for part in np.atleast_1d(stated)]
        at = int(rng.integers(len(parts)))
        numbers = ["0", "-1", "1.5", "1e9", "-1e9", "nan", f"{float(parts[at]) * 1.05 + 0.1:.6g}"]
        parts[at] = numbers[rng.integers(len(numbers))]
        return "\\".join(parts).encode()
    return value.replace(b" ", b"\\")


def _inflated(content: bytes) -> tuple[bytes, bytes]:
    """The undeflated head of a file and its inflated rest; none where it is not deflated."""
    if DeflatedExplicitVRLittleEndian.encode() not in content[:LONGEST_META]:
        return content, b""
    try:
        # The group length counts from behind its own element of 12 bytes.
        at = 132 + 12 + struct.unpack_from("<I", content, 132 + 8)[0]
        return content[:at], zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[at:], 1 << 20)
    except (struct.error, zlib.error):
        return content, b""


def _deflated(plain: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(plain) + packer.flush()


def _with_valid_header(seed: Seed, path: Path) -> CTVolume | None:
    """What the valid header makes of the pixel data that are there now, in files of its own."""
    valid = {seed.file_name: seed.content, **seed.beside}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, content in valid.items():
            (folder / name).write_bytes(_grafted(content, path.with_name(name).read_bytes()))
        try:
            return _read(folder / seed.file_name)
        except Exception:  # then the pixel data do not explain it
            return None


def _grafted(original: bytes, content: bytes) -> bytes:
    """The original up to its pixel data, then as many bytes of the other's end."""
    head, plain = _inflated(original)
    whole = head + plain
    at = PIXEL_DATA.search(whole).end()
    grafted = whole[:at] + b"".join(_inflated(content))[at - len(whole) :]
    return head + _deflated(grafted[len(head) :]) if plain else grafted


def _is_as_stated(seed: Seed, path: Path, after: CTVolume) -> bool:
    """Whether another reader, pydicom, finds the same in the files as they are now."""
    try:
        read = [
            _parsed(path.with_name(name).read_bytes()) for name in (seed.file_name, *seed.beside)
        ]
        geometry = after.geometry
        normal = geometry.direction[:, 2]
        read.sort(key=lambda item: float(np.array(item.ImagePositionPatient, float) @ normal))
        hu = np.stack([_hounsfield(item) for item in read])
        return np.array_equal(hu, after.hu) and _has_geometry(read, geometry)
    except Exception:  # then it does not
        return False


def _hounsfield(dataset: pydicom.Dataset) -> np.ndarray:
    values = dataset.pixel_array.astype(np.float64)
    return np.rint(values * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept))


def _has_geometry(read: Sequence[Any], geometry: Geometry) -> bool:
    positions = np.array([item.ImagePositionPatient for item in read], float)
    cosines = np.array(read[0].ImageOrientationPatient, float).reshape(2, 3).T
    row_mm, column_mm = map(float, read[0].PixelSpacing)
    step_mm = np.linalg.norm(positions[-1] - positions[0]) / (len(read) - 1)
    return bool(
        np.allclose(positions[0], geometry.origin_mm, atol=SAME_MM)
        and np.allclose(cosines, geometry.direction[:, :2], atol=SAME_MM)
        and np.allclose((column_mm, row_mm, step_mm), geometry.spacing_mm, rtol=SAME_MM)
    )


def _is_same(before: CTVolume | None, after: CTVolume) -> bool:
    if before is None or before.hu.dtype != after.hu.dtype:
        return False
    return np.array_equal(before.hu, after.hu) and np.array_equal(
        before.geometry.ijk_to_lps, after.geometry.ijk_to_lps
    )
