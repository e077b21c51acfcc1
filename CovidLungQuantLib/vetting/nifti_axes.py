"""pixdim, qform and sform of a NIfTI header: three accounts of one grid that must agree."""

from __future__ import annotations

import math
import struct

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.problems import damaged, shown

PIXDIM_AT, FORMS_AT, QUATERNION_AT, SFORM_AT = 76, 252, 256, 280
# Of a voxel's size; 32-bit floats and hand-rounded headers stay below.
SIZE_TOLERANCE = 1e-3
RIGHT_ANGLE_TOLERANCE = 1e-3
DIRECTION_TOLERANCE = 0.01
QUATERNION_TOLERANCE = 1e-3


def check_forms(file_name: str, order: str, content: bytes, sizes: tuple[int, ...]) -> None:
    """Check what a header says about its grid against itself.

    Args:
        file_name: for messages.
        order: byte order of the header, "<" or ">".
        content: of the header.
        sizes: voxels along x, y, z.

    Raises:
        BadInputError: a voxel size is missing, the sform is skewed or has other voxel sizes than
            pixdim, or qform and sform turn or place the image differently.
    """
    pixdim = np.array(struct.unpack_from(f"{order}4f", content, PIXDIM_AT), dtype=float)
    qform_code, sform_code = struct.unpack_from(f"{order}2h", content, FORMS_AT)
    stated = pixdim[1 : 1 + min(len(sizes), 3)]
    if not np.isfinite(stated).all() or not stated.all():
        raise BadInputError(
            f'The header of "{shown(file_name)}" gives no voxel size, so nothing can be measured;'
            " export the scan again."
        )
    if (stated < 0).any():
        raise damaged(file_name, "its header gives a voxel size below zero")
    qform = _qform(file_name, order, content, pixdim) if qform_code > 0 else None
    sform = _sform(file_name, order, content, pixdim) if sform_code > 0 else None
    if qform is not None and sform is not None:
        _check_agreement(file_name, qform, sform, sizes)


def _sform(file_name: str, order: str, content: bytes, pixdim: np.ndarray) -> np.ndarray:
    matrix = np.array(struct.unpack_from(f"{order}12f", content, SFORM_AT), float).reshape(3, 4)
    lengths = np.linalg.norm(matrix[:, :3], axis=0)
    if not np.isfinite(matrix).all() or not lengths.all():
        raise damaged(file_name, "its sform is no matrix of a grid")
    axes = matrix[:, :3] / lengths
    if not np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=RIGHT_ANGLE_TOLERANCE):
        raise BadInputError(
            f'The axes of "{shown(file_name)}" are not at right angles (its sform is skewed);'
            " resample the scan to a straight grid first."
        )
    if not np.allclose(lengths, pixdim[1:], rtol=SIZE_TOLERANCE, atol=0):
        raise BadInputError(
            f'The header of "{shown(file_name)}" gives two voxel sizes, {_in_mm(pixdim[1:])} in'
            f" pixdim and {_in_mm(lengths)} in its sform; export the scan again."
        )
    return matrix


def _qform(file_name: str, order: str, content: bytes, pixdim: np.ndarray) -> np.ndarray:
    b, c, d, *offset = struct.unpack_from(f"{order}6f", content, QUATERNION_AT)
    rest = 1.0 - (b * b + c * c + d * d)
    if not np.isfinite([b, c, d, *offset]).all() or rest < -QUATERNION_TOLERANCE:
        raise damaged(file_name, "its qform is no rotation")
    a = math.sqrt(max(rest, 0.0))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    sizes_mm = pixdim[1:] * (1, 1, -1 if pixdim[0] < 0 else 1)
    return np.column_stack([rotation * sizes_mm, offset])


def _check_agreement(
    file_name: str, qform: np.ndarray, sform: np.ndarray, sizes: tuple[int, ...]
) -> None:
    """Compare directions, and where the corners of the image come to lie."""
    lengths = np.linalg.norm(sform[:, :3], axis=0)
    turned = np.abs((qform[:, :3] - sform[:, :3]) / lengths).max() > DIRECTION_TOLERANCE
    far = np.array([size - 1 for size in sizes] + [0] * (3 - len(sizes)), dtype=float)[:3]
    corners = np.array(
        [[x, y, z, 1.0] for x in (0, far[0]) for y in (0, far[1]) for z in (0, far[2])]
    )
    moved_mm = np.linalg.norm(corners @ (qform - sform).T, axis=1).max()
    if turned or moved_mm > lengths.max():
        raise BadInputError(
            f'The header of "{shown(file_name)}" says twice where the scan lies, and its qform and'
            f" sform {'turn it differently' if turned else f'are {moved_mm:.3g} mm apart'}; export"
            " the scan again."
        )


def _in_mm(sizes: np.ndarray) -> str:
    return " × ".join(f"{size:.4g}" for size in sizes) + " mm"
