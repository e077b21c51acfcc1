"""The DICOM files that a volume node was loaded from, which DICOM results refer to.

`source_files_of(volume_node, file_of_instance)` → one file a slice, in the order of the slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.mrml.volumes import geometry_of

if TYPE_CHECKING:
    from CovidLungQuantLib.ct import Geometry

INSTANCE_UIDS_ATTRIBUTE = "DICOM.instanceUIDs"
# Slices and volume come from the same numbers; a tenth of a voxel is far more than rounding.
TOLERANCE_VOXELS = 0.1
DIRECTION_TOLERANCE = 1e-3


def source_files_of(
    volume_node: Any, file_of_instance: Callable[[str], str | None]
) -> tuple[Path, ...]:
    """Return the DICOM file of each slice of a volume, from the first slice (k = 0) to the last.

    Slices are found by the places their files state, whatever order Slicer loaded them in.

    Args:
        volume_node: a volume that Slicer's DICOM module has loaded.
        file_of_instance: gives the file of a SOP instance UID, such as Slicer's
            `slicer.dicomDatabase.fileForInstance`; empty or None where it knows none.

    Raises:
        BadInputError: the volume does not come from DICOM, a file is no longer there, or the voxels
            do not lie where the files say, as after cropping or resampling. Needs pydicom.
    """
    name = volume_node.GetName()
    uids = (volume_node.GetAttribute(INSTANCE_UIDS_ATTRIBUTE) or "").split()
    if not uids:
        raise BadInputError(
            f'The volume "{name}" was not loaded from DICOM, so there is no series that a DICOM '
            "result could refer to; load the scan in the DICOM module or save the report without "
            "DICOM."
        )
    files = [file_of_instance(uid) for uid in uids]
    if not all(file and Path(file).is_file() for file in files):
        raise BadInputError(
            f'The DICOM files of the volume "{name}" are no longer in Slicer\'s DICOM database; '
            "import the series again or save the report without DICOM."
        )
    return _in_order([Path(str(file)) for file in files], geometry_of(volume_node), name)


def _in_order(files: Sequence[Path], geometry: Geometry, name: str) -> tuple[Path, ...]:
    by_slice: dict[int, Path] = {}
    for file in files:
        index = _slice_index(file, geometry)
        if index is None or index in by_slice:
            break
        by_slice[index] = file
    if sorted(by_slice) != list(range(geometry.shape[0])):
        raise BadInputError(
            f'The voxels of the volume "{name}" do not lie on the slices of its DICOM series, so a '
            "DICOM result cannot refer to them; select the volume as it was loaded or save the "
            "report without DICOM."
        )
    return tuple(by_slice[index] for index in range(geometry.shape[0]))


def _slice_index(file: Path, geometry: Geometry) -> int | None:
    """Which slice of the volume a file holds, voxel on voxel; None if none."""
    from pydicom import dcmread

    tags = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
    header = dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
    if any(getattr(header, tag, None) is None for tag in tags):
        return None
    along_row, along_column = np.reshape(
        np.asarray(header.ImageOrientationPatient, dtype=float), (2, 3)
    )
    row_step_mm, column_step_mm = (float(value) for value in header.PixelSpacing)
    same_plane = (
        (int(header.Rows), int(header.Columns)) == geometry.shape[1:]
        and np.allclose(geometry.direction[:, 0], along_row, atol=DIRECTION_TOLERANCE)
        and np.allclose(geometry.direction[:, 1], along_column, atol=DIRECTION_TOLERANCE)
        and np.allclose(geometry.spacing_mm[:2], (column_step_mm, row_step_mm), rtol=1e-3)
    )
    position_mm = np.append(np.asarray(header.ImagePositionPatient, dtype=float), 1.0)
    index = np.linalg.solve(geometry.ijk_to_lps, position_mm)[:3]
    nearest = np.round(index)
    if not same_plane or np.abs(index - [0.0, 0.0, nearest[2]]).max() > TOLERANCE_VOXELS:
        return None
    return int(nearest[2])
