"""What the header of an image file says, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

RAW, GZIP, ZLIB = "raw", "gzip", "zlib"


@dataclass(frozen=True)
class Payload:
    """Where the voxels' bytes are.

    Attributes:
        file: that holds them: the image file, or one beside it.
        offset: of the first stored byte in the file.
        packing: RAW, GZIP or ZLIB.
        skip: bytes to pass over after unpacking.
        byte_count: bytes of all voxels, unpacked.
        stored_count: bytes they take in the file, None where the header does not say.
    """

    file: Path
    offset: int
    packing: str
    byte_count: int
    skip: int = 0
    stored_count: int | None = None


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What an image file's header says; sizes and vectors in the order x, y, z, ….

    Attributes:
        file_name: without its folder, for messages.
        format_name: "NRRD", "NIfTI" or "MetaImage".
        sizes: voxels along each axis, components left out.
        components: values of a voxel.
        components_axis: of the stored axes, fastest first; None with one value a voxel.
        dtype: of a value as stored, with its byte order.
        spacing_mm: voxel sizes; 1 where the header has none.
        origin_mm: centre of the first voxel (LPS).
        direction: column k is the unit vector along which index k grows (LPS).
        states_spacing: whether the header gives every voxel size.
        states_directions: whether it says how the image lies in the patient.
        rescale: slope and intercept to be applied, or None.
        fields: free fields of the header, as of a segmentation.
        payload: where the voxels are.
    """

    file_name: str
    format_name: str
    sizes: tuple[int, ...]
    components: int
    components_axis: int | None
    dtype: np.dtype
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: np.ndarray
    states_spacing: bool
    states_directions: bool
    payload: Payload
    rescale: tuple[float, float] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def bits_per_value(self) -> int:
        """Bits of one stored value."""
        return self.dtype.itemsize * 8

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the stored array, slowest axis first, components included."""
        axes = list(self.sizes)
        if self.components_axis is not None:
            axes.insert(self.components_axis, self.components)
        return tuple(reversed(axes))


def byte_count_of(sizes: tuple[int, ...], components: int, dtype: np.dtype) -> int:
    """Bytes that all voxels take."""
    return math.prod(sizes) * components * dtype.itemsize
