"""Image files written byte by byte, so that any part of them can be wrong."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting import read_stored_image

SHAPE = (4, 5, 6)
SPACING_MM = (0.8, 0.7, 2.5)
VOXELS = np.arange(120, dtype="<i2").reshape(SHAPE) - 50


def refusal(path: Path) -> str:
    """Why an image is refused; checked to be one line."""
    with pytest.raises(BadInputError) as refused:
        read_stored_image(path)
    message = str(refused.value)
    assert "\n" not in message and message.endswith(".")
    return message


NRRD_FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "6 5 4",
    "space directions": "(0.8,0,0) (0,0.7,0) (0,0,2.5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}


def nrrd_bytes(voxels: bytes = VOXELS.tobytes(), /, **changes: str | None) -> bytes:
    """An NRRD file; a field given as None is left out, blanks in names are underscores."""
    fields = NRRD_FIELDS | {name.replace("_", " "): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return ("NRRD0004\n" + "\n".join(lines) + "\n\n").encode() + voxels


META_FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "0.8 0.7 2.5",
    "DimSize": "6 5 4",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def meta_bytes(voxels: bytes = VOXELS.tobytes(), /, end: str = "\n", **changes: Any) -> bytes:
    """A MetaImage file; a field given as None is left out, others go before the data file."""
    fields = META_FIELDS | changes
    data_file = fields.pop("ElementDataFile")
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    lines.append(f"ElementDataFile = {data_file}")
    return ("\n".join(lines) + end).encode() + voxels


def packed_meta_bytes(packed: bytes, **changes: Any) -> bytes:
    """A MetaImage file of packed voxels."""
    return meta_bytes(packed, CompressedData="True", CompressedDataSize=len(packed), **changes)


def zlib_packed() -> bytes:
    """The voxels packed as MetaImage has them."""
    return zlib.compress(VOXELS.tobytes())


NIFTI_FORMATS = {
    "size": ("i", 0),
    "dimensions": ("8h", 40),
    "intent": ("h", 68),
    "type": ("2h", 70),
    "pixdim": ("4f", 76),
    "vox_offset": ("f", 108),
    "scale": ("2f", 112),
    "units": ("b", 123),
    "forms": ("2h", 252),
    "quaternion": ("3f", 256),
    "qoffset": ("3f", 268),
    "sform": ("12f", 280),
    "magic": ("4s", 344),
    "extender": ("4b", 348),
}
NIFTI_FIELDS: dict[str, tuple] = {
    "size": (348,),
    "dimensions": (3, 6, 5, 4, 1, 1, 1, 1),
    "intent": (0,),
    "type": (4, 16),
    "pixdim": (1, *SPACING_MM),
    "vox_offset": (352,),
    "scale": (1, 0),
    "units": (2,),
    "forms": (1, 1),
    "quaternion": (0, 0, 1),
    "qoffset": (-1, -2, 3),
    "sform": (-0.8, 0, 0, -1, 0, -0.7, 0, -2, 0, 0, 2.5, 3),
    "magic": (b"n+1\0",),
    "extender": (0, 0, 0, 0),
}


def nifti_bytes(voxels: bytes = VOXELS.tobytes(), /, order: str = "<", **changes: Any) -> bytes:
    """A NIfTI-1 file, LPS by qform and sform; fields are given as tuples or single values."""
    header = bytearray(352)
    for name, (form, at) in NIFTI_FORMATS.items():
        values = changes.get(name, NIFTI_FIELDS[name])
        values = values if isinstance(values, tuple) else (values,)
        struct.pack_into(order + form, header, at, *values)
    return bytes(header) + voxels


def write(folder: Path, name: str, content: bytes) -> Path:
    """Write a file; one whose name ends in .gz is packed."""
    path = folder / name
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return path
