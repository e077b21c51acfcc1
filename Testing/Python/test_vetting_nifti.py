"""NIfTI headers: offsets, scaling, and three accounts of one grid that must agree."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import SPACING_MM, VOXELS, nifti_bytes, refusal, write

from CovidLungQuantLib.vetting import read_stored_image, vet_image

NAMES = ("a.nii", "a.nii.gz")
# 90 degrees about z: x runs to anterior, y to left.
QUARTER = (0.0, 0.0, math.sqrt(0.5))
RAW = VOXELS.tobytes()


def as_itk(path: Path) -> None:
    stored, image = read_stored_image(path), sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    assert stored.voxels.dtype == array.dtype
    np.testing.assert_array_equal(stored.voxels, array)
    assert stored.header.spacing_mm == image.GetSpacing()
    assert stored.header.origin_mm == image.GetOrigin()
    assert stored.header.direction.ravel().tolist() == list(image.GetDirection())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"forms": (1, 0)},
        {"forms": (0, 2)},
        {"forms": (0, 0)},
        {"forms": (1, 0), "quaternion": QUARTER},
        {"forms": (1, 0), "quaternion": (0.1, 0.2, 0.3), "pixdim": (-1, *SPACING_MM)},
        {"units": 0},
        {"units": 10},
        {"dimensions": (4, 6, 5, 4, 1, 1, 1, 1)},
        {"dimensions": (7, 6, 5, 4, 1, 1, 1, 1)},
        {"dimensions": (5, 3, 5, 4, 1, 2, 1, 1), "intent": 1007},
        {"dimensions": (3, 3, 5, 4, 1, 1, 1, 1), "type": (8, 32)},
        {"type": (512, 16)},
        {"scale": (2, 5)},
        {"scale": (0.1, -1024)},
        {"scale": (0.1, -1024), "type": (512, 16)},
        {"scale": (0.1, 3), "dimensions": (3, 3, 5, 4, 1, 1, 1, 1), "type": (8, 32)},
        {"scale": (0.1, 3), "dimensions": (3, 12, 5, 4, 1, 1, 1, 1), "type": (2, 8)},
        {"scale": (0, 0)},
        {"scale": (math.nan, math.nan)},
        {"scale": (math.nan, 0)},
    ],
)
def test_it_is_read_as_itk_reads_it(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    as_itk(write(tmp_path, name, nifti_bytes(**changes)))


def test_floats_are_read_and_scaled_as_itk_does(tmp_path: Path) -> None:
    for dtype, kind in (("<f4", (16, 32)), ("<f8", (64, 64))):
        voxels = (VOXELS * 1.1).astype(dtype).tobytes()
        for scale in ((1, 0), (0.3, -7)):
            as_itk(write(tmp_path, "a.nii", nifti_bytes(voxels, type=kind, scale=scale)))


def test_the_other_byte_order_is_read(tmp_path: Path) -> None:
    swapped = VOXELS.astype(">i2").tobytes()
    as_itk(write(tmp_path, "a.nii", nifti_bytes(swapped, order=">")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "offset", [0, 100, -1, 348, 351, 352.5, 354, 1e30, math.nan, math.inf, -math.inf]
)
def test_voxels_begin_where_they_can(tmp_path: Path, name: str, offset: float) -> None:
    assert "cannot be read" in refusal(write(tmp_path, name, nifti_bytes(vox_offset=offset)))


@pytest.mark.parametrize("name", NAMES)
def test_extensions_fill_the_room_before_the_voxels(tmp_path: Path, name: str) -> None:
    def with_extensions(sizes: list[int], room: int, **changes: Any) -> Path:
        parts = [struct.pack("<2i", size, 6) + b"a" * min(max(size - 8, 0), 99) for size in sizes]
        extensions = b"".join(parts).ljust(room, b"\0")[:room]
        content = nifti_bytes(
            extensions + RAW, vox_offset=352 + room, extender=(1, 0, 0, 0), **changes
        )
        return write(tmp_path, name, content)

    for sizes, room in (([16], 16), ([32, 48], 80), ([32], 48)):
        as_itk(with_extensions(sizes, room))
    for sizes, room in (([17], 32), ([-16], 32), ([64], 32), ([8], 32), ([2**31 - 1], 32)):
        assert "extensions" in refusal(with_extensions(sizes, room))
    # Room without a word about it is passed over.
    content = nifti_bytes(b"any length 16..." + RAW, vox_offset=368)
    np.testing.assert_array_equal(read_stored_image(write(tmp_path, name, content)).voxels, VOXELS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 540}, "NIfTI-2"),
        ({"size": 0}, "does not begin"),
        ({"magic": b"ni1\0"}, "one half of a pair"),
        ({"magic": b"n+2\0"}, "does not say that it is NIfTI-1"),
        ({"magic": b"\0\0\0\0"}, "does not say that it is NIfTI-1"),
        ({"dimensions": (0, 6, 5, 4, 1, 1, 1, 1)}, "0 dimensions"),
        ({"dimensions": (-1, 6, 5, 4, 1, 1, 1, 1)}, "-1 dimensions"),
        ({"dimensions": (8, 6, 5, 4, 1, 1, 1, 1)}, "8 dimensions"),
        ({"dimensions": (3, 6, 5, 0, 1, 1, 1, 1)}, "empty"),
        ({"dimensions": (3, 6, -5, 4, 1, 1, 1, 1)}, "empty"),
        ({"dimensions": (3, 30000, 30000, 30000, 1, 1, 1, 1)}, ""),
        ({"dimensions": (7, *[30000] * 7)}, "size that no image has"),
        ({"type": (4, 32)}, "32 bits"),
        ({"type": (0, 16)}, "unknown type"),
        ({"type": (1, 1)}, "unknown type"),
        ({"type": (32, 64)}, "unknown type"),
        ({"type": (128, 24)}, "3 values per voxel"),
        ({"type": (2304, 32)}, "4 values per voxel"),
        ({"units": 1}, "metres"),
        ({"units": 3}, "micrometres"),
        ({"scale": (0, 5)}, "rescaled by 0 and 5"),
        ({"scale": (math.inf, 0)}, "rescaled"),
        ({"scale": (1, math.nan)}, "rescaled"),
        ({"scale": (math.nan, 5)}, "rescaled"),
        ({"pixdim": (1, 0, 0.7, 2.5)}, "no voxel size"),
        ({"pixdim": (1, 0.8, math.nan, 2.5)}, "no voxel size"),
        ({"pixdim": (1, 0.8, 0.7, math.inf)}, "no voxel size"),
        ({"pixdim": (1, -0.8, 0.7, 2.5)}, "below zero"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    text = refusal(write(tmp_path, name, nifti_bytes(**changes)))
    assert message in text


SHEARED = (-0.8, 0, 0, -1, 0, -0.7, 0.531, -2, 0, 0, 2.5, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # ITK would take these sizes, from pixdim.
        ({"pixdim": (1, 1, 1, 1)}, "two voxel sizes, 1 × 1 × 1 mm in pixdim"),
        ({"pixdim": (1, 0.8, 0.7, 2.52)}, "two voxel sizes"),
        ({"sform": SHEARED}, "right angles (its sform is skewed)"),
        ({"sform": SHEARED, "forms": (0, 1)}, "right angles (its sform is skewed)"),
        ({"sform": (0.8, 0, 0, -1, 0, -0.7, 0, -2, 0, 0, 2.5, 3)}, "turn it differently"),
        ({"sform": (-0.8, 0, 0, -1, 0, -0.7, 0, -2, 0, 0, 2.5, 30)}, "27 mm apart"),
        ({"quaternion": QUARTER}, "turn it differently"),
        ({"pixdim": (-1, *SPACING_MM)}, "turn it differently"),
        ({"sform": (0,) * 12}, "no matrix of a grid"),
        ({"sform": (math.nan,) * 12}, "no matrix of a grid"),
        ({"quaternion": (1, 1, 1)}, "no rotation"),
        ({"quaternion": (math.nan, 0, 0)}, "no rotation"),
        ({"qoffset": (math.inf, 0, 0)}, "no rotation"),
    ],
)
def test_accounts_of_the_grid_agree(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(write(tmp_path, "a.nii", nifti_bytes(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"pixdim": (1, 0.8004, 0.7, 2.5)},
        {"sform": (-0.8, 0.0005, 0, -1.2, 0, -0.7, 0, -2, 0, 0, 2.5, 3.5)},
        # A form that is not in use may hold anything.
        {"forms": (1, 0), "sform": SHEARED},
        {"forms": (0, 1), "quaternion": (math.nan, 5, 5)},
    ],
)
def test_small_differences_and_forms_not_in_use_are_let_pass(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert vet_image(write(tmp_path, "a.nii", nifti_bytes(**changes))).sizes == (6, 5, 4)


def test_a_file_without_forms_gives_no_directions(tmp_path: Path) -> None:
    assert not vet_image(write(tmp_path, "a.nii", nifti_bytes(forms=(0, 0)))).states_directions


def test_nan_stays_nan(tmp_path: Path) -> None:
    """ITK's reader makes 0 of it, which is water."""
    voxels = VOXELS.astype("<f4")
    voxels[0, 0, 0], voxels[1, 2, 3] = np.nan, np.inf
    path = write(tmp_path, "a.nii", nifti_bytes(voxels.tobytes(), type=(16, 32)))
    np.testing.assert_array_equal(read_stored_image(path).voxels, voxels)


def test_what_is_no_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(nifti_bytes())
    assert "not packed as its name says" in refusal(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").write_bytes(b"")
    assert "ends within its header" in refusal(tmp_path / "a.nii.gz")
    assert "ends within its header" in refusal(write(tmp_path, "b.nii", nifti_bytes()[:351]))
