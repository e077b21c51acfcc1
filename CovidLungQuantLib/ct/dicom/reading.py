"""Through the door: choosing a series of a DICOM folder, reading it, and what to say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct.checks import (
    check_ct,
    check_geometry,
    contrast_warning,
    thick_slices_warning,
)
from CovidLungQuantLib.ct.dicom.headers import SAME_ORIENTATION, SliceHeader, counted
from CovidLungQuantLib.ct.dicom.one_scan import (
    check_acquisitions,
    check_header,
    check_identity,
    conversion_warnings,
    without_copies,
)
from CovidLungQuantLib.ct.dicom.pixels import read_hounsfield
from CovidLungQuantLib.ct.dicom.places import geometry_of_slices, in_order
from CovidLungQuantLib.ct.dicom.stacks import (
    Folder,
    SeriesInfo,
    Stack,
    is_directory_file,
    read_files,
    read_folder,
    titles,
)
from CovidLungQuantLib.ct.volume import CTVolume, Geometry, ScanWarning
from CovidLungQuantLib.errors import BadInputError

NO_CONTRAST = ("", "0", "N", "NO", "NONE", "NATIVE", "W/O", "WITHOUT", "UNENHANCED", "NO CONTRAST")
LARGEST_STATED_TILT_DEGREES = 0.5
GAP_RATIO = 2.0
LOSSY = "01"
# Where the best series cannot be read, how many others are tried.
MOST_TRIED = 4

CTAndFiles = tuple[CTVolume, tuple[Path, ...]]


def list_series(path: str | Path) -> tuple[SeriesInfo, ...]:
    """Return what a DICOM folder holds, the series that `read_ct` would try first at the front.

    Raises:
        BadInputError: the folder is missing, unreadable or holds no DICOM images.
    """
    return tuple(stack.info() for stack in read_folder(Path(path)).stacks)


def read_dicom(path: Path, series: str | int | None = None) -> CTAndFiles:
    """Read one CT series of a DICOM folder, sub-folders included.

    A single DICOM file stands for its series in its own folder.

    Args:
        path: folder or file.
        series: SeriesInstanceUID or SeriesNumber; None takes the axial chest CT with most slices,
            or the next best where that cannot be read, and says so.

    Returns:
        ct: the scan.
        files: absolute paths of its files, in the order of its slices; one for all slices of a
            multi-frame file.

    Raises:
        BadInputError: see `read_ct`.
    """
    folder = read_folder(path)
    if series is not None:
        return _read_stack(folder, _chosen(folder, series))
    if path.is_file() and not is_directory_file(path):
        return _read_stack(folder, _stack_of_file(folder, path))
    return _read_best(folder)


def read_dicom_files(files: Sequence[Path], name: str) -> CTAndFiles:
    """Read the best CT series among files that may lie in several folders, as of one study.

    Args:
        files: of the study.
        name: what to call the scan, also in messages; names of folders are not told.

    Returns:
        as of `read_dicom`.

    Raises:
        BadInputError: as of `read_dicom`.
        OSError: a file cannot be opened.
    """
    return _read_best(read_files(files, name))


def _read_best(folder: Folder) -> CTAndFiles:
    """Read the best series that can be read; if none can, say why the best cannot."""
    candidates = [stack for stack in folder.stacks if stack.is_volume] or [folder.stacks[0]]
    first_error: BadInputError | None = None
    for stack in candidates[:MOST_TRIED]:
        try:
            ct, files = _read_stack(folder, stack)
        except BadInputError as error:
            first_error = first_error or error
            continue
        choice = _choice_warnings(folder, stack, candidates[0], first_error)
        return replace(ct, warnings=(*choice, *ct.warnings)), files
    assert first_error is not None
    raise first_error


def _read_stack(folder: Folder, stack: Stack) -> CTAndFiles:
    name = folder.name
    _check_volume(stack, name)
    check_header(stack.slices, name)
    _check_damaged(stack, folder)
    check_identity(stack.slices, name)
    slices, copy_warnings = without_copies(stack.slices, name)
    slices = in_order(slices)
    joined = check_acquisitions(slices, name)
    geometry = geometry_of_slices(slices, name)
    check_geometry(geometry, name)
    hu, is_lossy = read_hounsfield(slices, name)
    ct = check_ct(hu, geometry, name)
    warnings = [
        *_left_out_warnings(folder, stack),
        *copy_warnings,
        *joined,
        *conversion_warnings(slices),
        *_header_warnings(slices, geometry, is_lossy),
    ]
    known = {warning.code for warning in warnings}
    ct = replace(ct, warnings=(*warnings, *(w for w in ct.warnings if w.code not in known)))
    return ct, tuple(dict.fromkeys(item.path for item in slices))


def _stack_of_file(folder: Folder, path: Path) -> Stack:
    path = path.expanduser().resolve()
    for stack in folder.stacks:
        if any(item.path == path for item in stack.slices):
            return stack
    reasons = [item.reason for item in folder.damaged if item.path == path]
    raise BadInputError(
        f'"{path.name}" cannot be read as a DICOM image'
        f" ({reasons[0] if reasons else 'truncated or damaged, perhaps'}); copy it again, or give"
        " the folder of the scan."
    )


def _chosen(folder: Folder, series: str | int) -> Stack:
    wanted = str(series).strip()
    fitting = [stack for stack in folder.stacks if stack.uid == wanted] or [
        stack for stack in folder.stacks if str(stack.number) == wanted
    ]
    if not fitting:
        raise BadInputError(
            f'"{folder.name}" holds no series "{wanted}"; it holds {titles(folder.stacks)}.'
        )
    if len({stack.uid for stack in fitting}) > 1:
        raise BadInputError(
            f'"{folder.name}" holds {len(fitting)} series with number {wanted}; give the'
            f" SeriesInstanceUID: {' or '.join(stack.uid for stack in fitting)}."
        )
    return fitting[0]


def _check_volume(stack: Stack, name: str) -> None:
    if stack.modality != "CT":
        raise BadInputError(
            f'"{name}" is not read: {stack.title} is {stack.modality or "of no stated modality"},'
            " not CT; choose a chest CT."
        )
    if stack.first.is_localizer:
        raise BadInputError(f'"{name}" holds only a scout view; choose the chest CT itself.')
    if len({item.path for item in stack.slices}) == 1 and stack.first.frame_count > 1:
        if len(stack.slices) < 2:
            raise BadInputError(
                f'"{name}" is a multi-frame DICOM file that does not say where its frames lie;'
                " export the scan as one file per slice."
            )
    elif any(item.frame_count > 1 and item.position_mm is None for item in stack.slices):
        raise BadInputError(
            f'"{name}" holds multi-frame DICOM files that do not say where their frames lie;'
            " export the scan as one file per slice."
        )
    if len(stack.slices) < 2:
        raise BadInputError(
            f'"{name}" holds a single 2D slice of the series; give the folder with all its slices.'
        )


def _check_damaged(stack: Stack, folder: Folder) -> None:
    """Refuse a series that a damaged file of its folders may belong to."""
    folders = {item.path.parent for item in stack.slices}
    own = [
        file
        for file in folder.damaged
        if file.path.parent in folders and file.may_belong_to(stack.uid)
    ]
    if own:
        raise BadInputError(
            f'{counted(len(own), "file")} of "{folder.name}" cannot be read ({own[0].reason}), the'
            f" first is {own[0].path.name}; copy the scan again."
        )


def _choice_warnings(
    folder: Folder, read: Stack, best: Stack, reason: BadInputError | None
) -> list[ScanWarning]:
    others = [stack for stack in folder.stacks if stack.uid != read.uid]
    if not others:
        return []
    message = (
        f'"{folder.name}" holds several series; read was {read.title}, left out {titles(others)}'
    )
    if reason is not None:
        message += f"; {best.title} would have been read but cannot be ({str(reason).rstrip('.')})"
    return [ScanWarning("series_chosen", f"{message}.")]


def _left_out_warnings(folder: Folder, chosen: Stack) -> list[ScanWarning]:
    read = {(item.path, item.frame) for item in chosen.slices}
    left_out = sum(
        (item.path, item.frame) not in read and not item.is_localizer
        for stack in folder.stacks
        if stack.uid == chosen.uid
        for item in stack.slices
    )
    if not left_out:
        return []
    return [
        ScanWarning(
            "slices_left_out",
            f"{counted(left_out, 'image')} of the series with another size or orientation"
            " were left out.",
        )
    ]


def _header_warnings(
    slices: Sequence[SliceHeader], geometry: Geometry, is_lossy: bool
) -> list[ScanWarning]:
    first = slices[0]
    warnings = []
    slice_mm = geometry.spacing_mm[2]
    thickness = first.numbers("slice_thickness")
    thickness_mm = float(thickness[0]) if thickness.size else slice_mm
    thick = thick_slices_warning(max(thickness_mm, slice_mm))
    if thick:
        warnings.append(thick)
    if 0 < thickness_mm * GAP_RATIO < slice_mm:
        warnings.append(
            ScanWarning(
                "slice_gaps",
                f"Slices of {thickness_mm:.3g} mm lie {slice_mm:.3g} mm apart; what lies between"
                " them was not scanned, so volumes are estimates.",
            )
        )
    tilt = first.numbers("gantry_tilt")
    is_upright = np.isclose(np.abs(first.place.direction), np.eye(3), atol=SAME_ORIENTATION).all()
    if tilt.size and abs(tilt[0]) > LARGEST_STATED_TILT_DEGREES and is_upright:
        warnings.append(
            ScanWarning(
                "gantry_tilt",
                f"The header states a gantry tilt of {tilt[0]:.3g}°, but the slices lie straight;"
                " they are taken as corrected.",
            )
        )
    if any(_states_contrast(item) for item in slices):
        warnings.append(contrast_warning("its header names a contrast agent"))
    if is_lossy or any(item.tags["lossy"] == LOSSY for item in slices):
        warnings.append(
            ScanWarning(
                "lossy_compression",
                "The images were compressed with loss; Hounsfield units are less exact.",
            )
        )
    return warnings


def _states_contrast(item: SliceHeader) -> bool:
    is_oral = "ORAL" in item.word("contrast_route")
    return not is_oral and item.word("contrast_agent") not in NO_CONTRAST
