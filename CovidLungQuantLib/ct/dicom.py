"""Reading a DICOM folder: which series, which slices, where they lie, and their Hounsfield units.

SimpleITK (GDCM) parses headers and decodes pixels: uncompressed, RLE, JPEG-Lossless, JPEG-LS and
JPEG 2000. Slices are sorted by their position along the normal of the slices, never by number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.ct.checks import (
    HIGHEST_POSSIBLE_HU,
    check_ct,
    check_geometry,
    contrast_warning,
    not_hounsfield_message,
    thick_slices_warning,
)
from CovidLungQuantLib.ct.volume import CTVolume, Geometry, ScanWarning
from CovidLungQuantLib.errors import BadInputError

DICOM_PREFIX_OFFSET = 128
DICOM_PREFIX = b"DICM"
# Files of before 1993 have no prefix and begin with the first element of one of these groups.
FIRST_GROUPS_WITHOUT_PREFIX = (b"\x02\x00", b"\x08\x00")
DICOM_SUFFIXES = (".dcm", ".ima")
DICOM_DIRECTORY_NAME = "DICOMDIR"

CT_STORAGE_CLASSES = (b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.1.1.2.1")
STORAGE_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"
SERIES_UID_ELEMENT = b"\x20\x00\x0e\x00"

TAGS = {
    "image_type": "0008|0008",
    "modality": "0008|0060",
    "series_description": "0008|103e",
    "contrast_agent": "0018|0010",
    "body_part": "0018|0015",
    "slice_thickness": "0018|0050",
    "contrast_route": "0018|1040",
    "gantry_tilt": "0018|1120",
    "series_uid": "0020|000e",
    "series_number": "0020|0011",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "samples_per_pixel": "0028|0002",
    "photometric": "0028|0004",
    "frame_count": "0028|0008",
    "pixel_spacing": "0028|0030",
    "bits_stored": "0028|0101",
    "rescale_type": "0028|1054",
    "lossy": "0028|2110",
}

AXIAL_COSINE = 0.7
SAME_ORIENTATION = 1e-3
SAME_SPACING_MM = 1e-4
# Body parts a chest CT is never filed under; they only rank a series lower.
OTHER_BODY_PARTS = (
    "HEAD",
    "BRAIN",
    "SKULL",
    "HEADNECK",
    "PELVIS",
    "HIP",
    "LEG",
    "KNEE",
    "ANKLE",
    "FOOT",
)
PROJECTIONS = ("MIP", "MINIP", "PROJECTION IMAGE")
# "US" is unspecified: some archives write it for HU; the values tell.
HOUNSFIELD_RESCALE_TYPES = ("", "HU", "HU_MOD", "US")
NO_CONTRAST = ("", "0", "N", "NO", "NONE", "NATIVE", "W/O", "WITHOUT", "UNENHANCED", "NO CONTRAST")

# Positions are often written to 0.1 mm only.
ROUNDING_MM = 0.05
SAME_POSITION_MM = 0.01
STEP_TOLERANCE = 0.1
GRID_TOLERANCE = 0.5
# A straight stack may drift sideways by this much; 0.3° over its length.
SIDEWAYS_MM = 0.5
SIDEWAYS_SHARE = 0.005
LARGEST_STATED_TILT_DEGREES = 0.5
GAP_RATIO = 2.0


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a DICOM folder, or one stack of it where a series holds several.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber; None where the header has none.
        description: SeriesDescription, as the scanner's operator wrote it.
        modality: such as "CT" or "MR".
        slice_count: how many files.
        is_axial: whether the slices are.
        is_volume: whether it is a CT of at least two slices and no scout view, so can be read.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    slice_count: int
    is_axial: bool
    is_volume: bool


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a slice lies; LPS, in mm.

    Attributes:
        position_mm: of the centre of the first voxel.
        direction: 3×3: along a row, along a column, normal.
        pixel_spacing_mm: between rows, then between columns.
    """

    position_mm: np.ndarray
    direction: np.ndarray
    pixel_spacing_mm: np.ndarray


@dataclass(frozen=True)
class _Slice:
    """Header of one DICOM image: the tags listed in `TAGS`, "" where absent."""

    path: Path
    columns_rows: tuple[int, ...]
    tags: dict[str, str]

    def numbers(self, tag: str) -> np.ndarray:
        """Return a tag's numbers; empty where absent or not numbers."""
        try:
            return np.array([float(part) for part in self.tags[tag].split("\\")])
        except ValueError:
            return np.empty(0)

    def word(self, tag: str) -> str:
        return self.tags[tag].upper()

    @cached_property
    def pixel_spacing_mm(self) -> np.ndarray | None:
        """Between rows, then between columns; None where the header has none."""
        spacing = self.numbers("pixel_spacing")
        return spacing if spacing.size == 2 and (spacing > 0).all() else None

    @cached_property
    def position_mm(self) -> np.ndarray | None:
        position = self.numbers("position")
        return position if position.size == 3 and np.isfinite(position).all() else None

    @cached_property
    def direction(self) -> np.ndarray | None:
        """3×3: along a row, along a column, normal; None where the header has none."""
        cosines = self.numbers("orientation")
        if cosines.size != 6 or not np.isfinite(cosines).all():
            return None
        row, column = cosines[:3], cosines[3:]
        normal = np.cross(row, column)
        length = np.linalg.norm(normal)
        if abs(length - 1.0) > SAME_ORIENTATION:
            return None
        normal = normal / length
        row = row / np.linalg.norm(row)
        # + 0.0 turns −0.0 into 0.0.
        return np.column_stack([row, np.cross(normal, row), normal]) + 0.0

    @property
    def place(self) -> _Place | None:
        """Return where it lies; None where the header does not say all of it."""
        if self.position_mm is None or self.direction is None or self.pixel_spacing_mm is None:
            return None
        return _Place(self.position_mm, self.direction, self.pixel_spacing_mm)

    @property
    def is_localizer(self) -> bool:
        return "LOCALIZER" in self.word("image_type").split("\\")

    def is_stackable_with(self, other: _Slice) -> bool:
        """Tell whether both are slices of one series, parallel and of one size."""
        if self.tags["series_uid"] != other.tags["series_uid"]:
            return False
        if self.columns_rows != other.columns_rows or self.is_localizer != other.is_localizer:
            return False
        place, other_place = self.place, other.place
        if place is None or other_place is None:
            return place is other_place
        return np.allclose(
            place.direction, other_place.direction, rtol=0, atol=SAME_ORIENTATION
        ) and np.allclose(
            place.pixel_spacing_mm, other_place.pixel_spacing_mm, rtol=0, atol=SAME_SPACING_MM
        )


@dataclass(frozen=True, eq=False)
class _Stack:
    """Parallel slices of one size from one series."""

    slices: tuple[_Slice, ...]

    @property
    def first(self) -> _Slice:
        return self.slices[0]

    @property
    def uid(self) -> str:
        return self.first.tags["series_uid"]

    @property
    def number(self) -> int | None:
        numbers = self.first.numbers("series_number")
        return int(numbers[0]) if numbers.size else None

    @property
    def modality(self) -> str:
        return self.first.word("modality")

    @property
    def is_axial(self) -> bool:
        direction = self.first.direction
        return direction is None or bool(abs(direction[2, 2]) >= AXIAL_COSINE)

    @property
    def is_volume(self) -> bool:
        return self.modality == "CT" and not self.first.is_localizer and len(self.slices) > 1

    @property
    def title(self) -> str:
        number = "without a number" if self.number is None else str(self.number)
        return f"series {number} ({_counted(len(self.slices), 'slice')})"

    @property
    def rank(self) -> tuple:
        """Sort key: the chest CT with most slices first; ties by number, then UID."""
        first = self.first
        return (
            not self.is_volume,
            self.modality != "CT",
            not self.is_axial,
            first.word("body_part") in OTHER_BODY_PARTS,
            any(kind in first.word("image_type").split("\\") for kind in PROJECTIONS),
            -len(self.slices),
            self.number is None,
            self.number or 0,
            self.uid,
        )


@dataclass(frozen=True, eq=False)
class _Folder:
    """The DICOM images under a path, best stack first, and the files that cannot be read."""

    name: str
    stacks: tuple[_Stack, ...]
    damaged: tuple[Path, ...]


def is_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is DICOM.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(DICOM_PREFIX_OFFSET + len(DICOM_PREFIX))
    return start[DICOM_PREFIX_OFFSET:] == DICOM_PREFIX or (
        start[:2] in FIRST_GROUPS_WITHOUT_PREFIX and path.suffix.lower() in ("", *DICOM_SUFFIXES)
    )


def is_named_dicom(path: Path) -> bool:
    """Tell by its name whether a file is meant as DICOM, whatever is left of it."""
    return path.suffix.lower() in DICOM_SUFFIXES


def list_series(path: str | Path) -> tuple[SeriesInfo, ...]:
    """Return what a DICOM folder holds, the series that `read_ct` would choose first.

    Raises:
        BadInputError: the folder is missing, unreadable or holds no DICOM images.
    """
    return tuple(
        SeriesInfo(
            uid=stack.uid,
            number=stack.number,
            description=stack.first.tags["series_description"],
            modality=stack.modality,
            slice_count=len(stack.slices),
            is_axial=stack.is_axial,
            is_volume=stack.is_volume,
        )
        for stack in _scan(Path(path)).stacks
    )


def read_dicom(path: Path, series: str | int | None = None) -> tuple[CTVolume, tuple[Path, ...]]:
    """Read one CT series of a DICOM folder, sub-folders included.

    A single DICOM file stands for its series in its own folder.

    Args:
        path: folder or file.
        series: SeriesInstanceUID or SeriesNumber; None takes the axial chest CT with most slices.

    Returns:
        ct: the scan.
        files: absolute paths of its slices, in their order.

    Raises:
        BadInputError: see `read_ct`.
    """
    folder, stack, choice = _chosen_stack(path, series)
    _check_header(stack, folder.name)
    _check_damaged(stack, folder)
    stack, geometry = _place(stack, folder.name)
    check_geometry(geometry, folder.name)
    ct = check_ct(_decode(stack, geometry, folder.name), geometry, folder.name)
    header_warnings = [
        *choice,
        *_left_out_warnings(folder, stack),
        *_header_warnings(stack, geometry),
    ]
    known = {warning.code for warning in header_warnings}
    ct = replace(
        ct,
        warnings=(*header_warnings, *(w for w in ct.warnings if w.code not in known)),
    )
    return ct, tuple(item.path for item in stack.slices)


def _chosen_stack(
    path: Path, series: str | int | None
) -> tuple[_Folder, _Stack, list[ScanWarning]]:
    """What lies under a path, what is read of it, and a warning where that was a choice."""
    folder = _scan(path)
    if path.is_file() and series is None and not _is_directory_file(path):
        return folder, _stack_of_file(folder, path), []
    stack = _choose(folder, series)
    return folder, stack, _choice_warnings(folder, stack) if series is None else []


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's and GDCM's own warnings off the terminal."""
    was_shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(was_shown)


def _scan(path: Path) -> _Folder:
    path = path.expanduser().resolve()
    if not path.exists():
        raise BadInputError(f'There is no file or folder "{path.name}"; check the path.')
    root = path.parent if path.is_file() else path
    paths = root.iterdir() if path.is_file() and not _is_directory_file(path) else root.rglob("*")
    slices: list[_Slice] = []
    damaged: list[Path] = []
    try:
        candidates = sorted(p for p in paths if not p.name.startswith(".") and p.is_file())
        for candidate in candidates:
            _read_header_into(candidate, slices, damaged)
    except OSError as error:
        raise BadInputError(
            f'"{root.name}" cannot be read ({error.strerror}); check that you may open it.'
        ) from error
    if not slices:
        raise BadInputError(_nothing_found_message(root.name, damaged))
    return _Folder(root.name, _stacks(slices), tuple(damaged))


def _is_directory_file(path: Path) -> bool:
    return path.name.upper() == DICOM_DIRECTORY_NAME


def _read_header_into(path: Path, slices: list[_Slice], damaged: list[Path]) -> None:
    if _is_directory_file(path):
        return
    if not is_dicom(path):
        # A slice cut off within its first bytes still has its name.
        if is_named_dicom(path):
            damaged.append(path)
        return
    reader = _reader(path)
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError:
        # Reports, plans and the like are DICOM without pixels; only a CT image should have some.
        if _says_ct_image(path):
            damaged.append(path)
        return
    tags = {
        name: reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""
        for name, tag in TAGS.items()
    }
    slices.append(_Slice(path, reader.GetSize()[:2], tags))


def _reader(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _says_ct_image(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1024)
    at = start.find(STORAGE_CLASS_ELEMENT)
    if at < 0:
        return True
    value_at = at + len(STORAGE_CLASS_ELEMENT) + 2
    length = int.from_bytes(start[value_at - 2 : value_at], "little")
    return start[value_at : value_at + length].strip(b" \0") in CT_STORAGE_CLASSES


def _nothing_found_message(name: str, damaged: list[Path]) -> str:
    if damaged:
        return (
            f'None of the {_counted(len(damaged), "DICOM file")} in "{name}" can be read'
            " (truncated or damaged); copy the scan again."
        )
    return (
        f'"{name}" holds no DICOM images; give the folder of one CT scan, or an NRRD, NIfTI or'
        " MetaImage file itself."
    )


def _stacks(slices: list[_Slice]) -> tuple[_Stack, ...]:
    groups: list[list[_Slice]] = []
    for item in slices:
        for group in groups:
            if item.is_stackable_with(group[0]):
                group.append(item)
                break
        else:
            groups.append([item])
    return tuple(sorted((_Stack(tuple(group)) for group in groups), key=lambda s: s.rank))


def _stack_of_file(folder: _Folder, path: Path) -> _Stack:
    path = path.expanduser().resolve()
    for stack in folder.stacks:
        if any(item.path == path for item in stack.slices):
            _check_volume(stack, folder.name)
            return stack
    raise BadInputError(
        f'"{path.name}" cannot be read as a DICOM image (truncated or damaged, perhaps); copy it'
        " again, or give the folder of the scan."
    )


def _choose(folder: _Folder, series: str | int | None) -> _Stack:
    if series is None:
        best = folder.stacks[0]
    else:
        wanted = str(series).strip()
        fitting = [stack for stack in folder.stacks if stack.uid == wanted] or [
            stack for stack in folder.stacks if str(stack.number) == wanted
        ]
        if not fitting:
            raise BadInputError(
                f'"{folder.name}" holds no series "{wanted}"; it holds {_titles(folder.stacks)}.'
            )
        if len({stack.uid for stack in fitting}) > 1:
            raise BadInputError(
                f'"{folder.name}" holds {len(fitting)} series with number {wanted}; give the'
                f" SeriesInstanceUID: {' or '.join(stack.uid for stack in fitting)}."
            )
        best = fitting[0]
    _check_volume(best, folder.name)
    return best


def _check_volume(stack: _Stack, name: str) -> None:
    if stack.modality != "CT":
        raise BadInputError(
            f'"{name}" is not read: {stack.title} is {stack.modality or "of no stated modality"},'
            " not CT; choose a chest CT."
        )
    if stack.first.is_localizer:
        raise BadInputError(f'"{name}" holds only a scout view; choose the chest CT itself.')
    if any((item.numbers("frame_count") > 1).any() for item in stack.slices):
        raise BadInputError(
            f'"{name}" is a multi-frame DICOM file, which cannot be read; export the scan as one'
            " file per slice."
        )
    if len(stack.slices) < 2:
        raise BadInputError(
            f'"{name}" holds a single 2D slice of the series; give the folder with all its slices.'
        )


def _choice_warnings(folder: _Folder, chosen: _Stack) -> list[ScanWarning]:
    others = [stack for stack in folder.stacks if stack.uid != chosen.uid]
    if not others:
        return []
    return [
        ScanWarning(
            "series_chosen",
            f'"{folder.name}" holds several series; read was {chosen.title}, left out'
            f" {_titles(others)}.",
        )
    ]


def _left_out_warnings(folder: _Folder, chosen: _Stack) -> list[ScanWarning]:
    read = {item.path for item in chosen.slices}
    left_out = sum(
        item.path not in read and not item.is_localizer
        for stack in folder.stacks
        if stack.uid == chosen.uid
        for item in stack.slices
    )
    if not left_out:
        return []
    return [
        ScanWarning(
            "slices_left_out",
            f"{_counted(left_out, 'image')} of the series with another size or orientation"
            " were left out.",
        )
    ]


def _titles(stacks: list[_Stack] | tuple[_Stack, ...]) -> str:
    return ", ".join(f"{stack.modality or 'unknown'} {stack.title}" for stack in stacks)


def _check_header(stack: _Stack, name: str) -> None:
    for item in stack.slices:
        samples = item.numbers("samples_per_pixel")
        is_color = bool(samples.size) and samples[0] != 1
        if is_color or not item.word("photometric").startswith("MONOCHROME"):
            raise BadInputError(f'"{name}" holds colour images; choose the original CT series.')
        bits = item.numbers("bits_stored")
        if bits.size and bits[0] <= 8:
            raise BadInputError(not_hounsfield_message(name, "it has only 8 bits per voxel"))
        if item.word("rescale_type") not in HOUNSFIELD_RESCALE_TYPES:
            raise BadInputError(
                not_hounsfield_message(name, f"its header says {item.tags['rescale_type']}")
            )
        if item.pixel_spacing_mm is None:
            raise BadInputError(
                f'The header of "{name}" gives no pixel spacing, so nothing can be measured;'
                " export the original series."
            )
        if item.place is None:
            raise BadInputError(
                f'The header of "{name}" does not say where its slices lie; export the original'
                " series."
            )


def _check_damaged(stack: _Stack, folder: _Folder) -> None:
    folders = {item.path.parent for item in stack.slices}
    own = [
        path for path in folder.damaged if path.parent in folders and _may_belong(path, stack.uid)
    ]
    if own:
        raise BadInputError(
            f'{_counted(len(own), "file")} of "{folder.name}" cannot be read (truncated or'
            f" damaged), the first is {own[0].name}; copy the scan again."
        )


def _may_belong(path: Path, series_uid: str) -> bool:
    """Tell whether a damaged file is of the series, or too damaged to tell."""
    content = path.read_bytes()
    if SERIES_UID_ELEMENT not in content:
        return True
    return re.search(re.escape(series_uid.encode()) + rb"(?![0-9.])", content) is not None


def _place(stack: _Stack, name: str) -> tuple[_Stack, Geometry]:
    """Sort the slices along their normal; return them with the geometry of the volume."""
    placed = [(place, item) for item in stack.slices if (place := item.place) is not None]
    direction = placed[0][0].direction
    placed.sort(key=lambda pair: float(pair[0].position_mm @ direction[:, 2]))
    positions_mm = np.array([place.position_mm for place, _ in placed])
    along_mm = positions_mm @ direction[:, 2]
    _check_steps(along_mm, name)
    _check_straight(positions_mm, along_mm, direction[:, 2], name)
    first_place, first = placed[0]
    columns, rows = first.columns_rows
    row_mm, column_mm = first_place.pixel_spacing_mm
    # Rounded far below any tolerance, so that 2 mm steps give 2 mm.
    slice_mm = round(float(along_mm[-1] - along_mm[0]) / (len(placed) - 1), 7)
    x_mm, y_mm, z_mm = first_place.position_mm.tolist()
    geometry = Geometry(
        shape=(len(placed), rows, columns),
        spacing_mm=(float(column_mm), float(row_mm), slice_mm),
        origin_mm=(x_mm, y_mm, z_mm),
        direction=direction,
    )
    return _Stack(tuple(item for _, item in placed)), geometry


def _check_steps(along_mm: np.ndarray, name: str) -> None:
    steps_mm = np.diff(along_mm)
    duplicate = steps_mm < SAME_POSITION_MM
    if duplicate.any():
        raise BadInputError(
            f'"{name}" holds {_counted(int(duplicate.sum()), "duplicate slice")} at the place of'
            f" another (first at {along_mm[int(np.argmax(duplicate))]:.1f} mm); give one"
            " acquisition without duplicates."
        )
    step_mm = float(np.median(steps_mm))
    counts = np.rint(steps_mm / step_mm)
    deviations_mm = np.abs(steps_mm - counts * step_mm)
    uneven = (deviations_mm > STEP_TOLERANCE * step_mm + ROUNDING_MM) | (counts < 1)
    # A real gap is a whole number of steps wide, give or take the rounding of each.
    gaps = ~uneven & (counts > 1)
    if gaps.any():
        missing = int((counts[gaps] - 1).sum())
        raise BadInputError(
            f'"{name}" lacks {_counted(missing, "slice")} (first gap after'
            f" {along_mm[int(np.argmax(gaps))]:.1f} mm); copy the whole series again."
        )
    grid_mm = np.linspace(along_mm[0], along_mm[-1], along_mm.size)
    drifts = np.abs(along_mm - grid_mm).max() > GRID_TOLERANCE * step_mm
    if uneven.any() or drifts:
        raise BadInputError(
            f'The slices of "{name}" are unevenly spaced ({steps_mm.min():.3g} to'
            f" {steps_mm.max():.3g} mm apart); choose a series with even spacing."
        )


def _check_straight(
    positions_mm: np.ndarray, along_mm: np.ndarray, normal: np.ndarray, name: str
) -> None:
    """Refuse a tilted gantry: there the slices shift sideways from one to the next."""
    from_first_mm = positions_mm - positions_mm[0]
    length_mm = along_mm - along_mm[0]
    sideways_mm = np.linalg.norm(from_first_mm - np.outer(length_mm, normal), axis=1)
    if sideways_mm.max() > SIDEWAYS_MM + SIDEWAYS_SHARE * length_mm[-1]:
        worst = int(np.argmax(sideways_mm))
        angle = np.degrees(np.arctan2(sideways_mm[worst], length_mm[worst]))
        raise BadInputError(
            f'The slices of "{name}" are not stacked at right angles (gantry tilt of about'
            f" {angle:.0f}°); correct the tilt or resample the scan first."
        )


def _decode(stack: _Stack, geometry: Geometry, name: str) -> np.ndarray:
    hu = np.empty(geometry.shape, dtype=np.int16)
    for index, item in enumerate(stack.slices):
        try:
            with quiet_itk():
                image = _reader(item.path).Execute()
        except RuntimeError as error:
            raise BadInputError(
                f'{item.path.name} in "{name}" cannot be read (truncated, damaged or in an unknown'
                " compression); copy or export the scan again."
            ) from error
        values = np.squeeze(sitk.GetArrayFromImage(image), axis=0)
        if values.max() > HIGHEST_POSSIBLE_HU:
            raise BadInputError(not_hounsfield_message(name, f"values reach {values.max():.6g}"))
        if values.dtype.kind == "f":
            values = np.rint(values)
        # Padding may lie below what int16 holds.
        hu[index] = np.maximum(values, np.iinfo(np.int16).min)
    return hu


def _header_warnings(stack: _Stack, geometry: Geometry) -> list[ScanWarning]:
    first = stack.first
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
    is_upright = first.direction is not None and bool(
        np.isclose(np.abs(first.direction), np.eye(3), atol=SAME_ORIENTATION).all()
    )
    if tilt.size and abs(tilt[0]) > LARGEST_STATED_TILT_DEGREES and is_upright:
        warnings.append(
            ScanWarning(
                "gantry_tilt",
                f"The header states a gantry tilt of {tilt[0]:.3g}°, but the slices lie straight;"
                " they are taken as corrected.",
            )
        )
    if any(_states_contrast(item) for item in stack.slices):
        warnings.append(contrast_warning("its header names a contrast agent"))
    if first.tags["lossy"] == "01":
        warnings.append(
            ScanWarning(
                "lossy_compression",
                "The images were compressed with loss; Hounsfield units are less exact.",
            )
        )
    return warnings


def _states_contrast(item: _Slice) -> bool:
    is_oral = "ORAL" in item.word("contrast_route")
    return not is_oral and item.word("contrast_agent") not in NO_CONTRAST


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
