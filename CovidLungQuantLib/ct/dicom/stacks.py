"""What a DICOM folder holds: its images in stacks of parallel slices, the best first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from CovidLungQuantLib.ct.dicom.headers import (
    DamagedFile,
    SliceHeader,
    counted,
    read_headers,
)
from CovidLungQuantLib.ct.dicom.one_scan import check_header
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.regular_file import check_regular_file, is_folder

DICOM_DIRECTORY_NAME = "DICOMDIR"
# Far more than the largest study has; who gives a whole disk is told so.
MOST_FILES = 200_000

# Integer strings have 32 bits.
LARGEST_NUMBER = 1 << 31
AXIAL_COSINE = 0.7
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


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a DICOM folder, or one stack of it where a series holds several.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber; None where the header has none.
        description: SeriesDescription, as the scanner's operator wrote it.
        modality: such as "CT" or "MR".
        slice_count: how many slices.
        is_axial: whether the slices are.
        is_volume: whether it is a CT of at least two slices, no scout view and no colour or other
            images that are not in Hounsfield units.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    slice_count: int
    is_axial: bool
    is_volume: bool


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel slices of one size from one series."""

    slices: tuple[SliceHeader, ...]

    @property
    def first(self) -> SliceHeader:
        return self.slices[0]

    @property
    def uid(self) -> str:
        return self.first.tags["series_uid"]

    @property
    def number(self) -> int | None:
        numbers = self.first.numbers("series_number")
        return int(numbers[0]) if numbers.size and abs(numbers[0]) < LARGEST_NUMBER else None

    @property
    def modality(self) -> str:
        return self.first.word("modality")

    @property
    def is_axial(self) -> bool:
        direction = self.first.direction
        return direction is None or bool(abs(direction[2, 2]) >= AXIAL_COSINE)

    @cached_property
    def is_volume(self) -> bool:
        if self.modality != "CT" or self.first.is_localizer or len(self.slices) < 2:
            return False
        try:
            check_header(self.slices, "")
        except BadInputError:
            return False
        return True

    @property
    def title(self) -> str:
        number = "without a number" if self.number is None else str(self.number)
        return f"series {number} ({counted(len(self.slices), 'slice')})"

    @property
    def full_title(self) -> str:
        return f"{self.modality or 'unknown'} {self.title}"

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

    def info(self) -> SeriesInfo:
        """What `list_series` tells of it."""
        return SeriesInfo(
            uid=self.uid,
            number=self.number,
            description=self.first.tags["series_description"],
            modality=self.modality,
            slice_count=len(self.slices),
            is_axial=self.is_axial,
            is_volume=self.is_volume,
        )


@dataclass(frozen=True, eq=False)
class Folder:
    """The DICOM images under a path, best stack first, and the files that cannot be read."""

    name: str
    stacks: tuple[Stack, ...]
    damaged: tuple[DamagedFile, ...]


def is_directory_file(path: Path) -> bool:
    """Tell whether a file is the DICOMDIR that stands for its folder."""
    return path.name.upper() == DICOM_DIRECTORY_NAME


def read_folder(path: Path) -> Folder:
    """Read the headers of all DICOM images of a folder, or of the folder of a file.

    Sub-folders are included, linked ones too; a single file stands for its own folder only.

    Raises:
        BadInputError: the path is missing, unreadable or holds no DICOM images.
    """
    path = path.expanduser().resolve()
    if not is_folder(path):
        check_regular_file(path, "file or folder")
    root = path.parent if path.is_file() else path
    is_alone = path.is_file() and not is_directory_file(path)
    try:
        return read_files(sorted(root.iterdir() if is_alone else files_under(root)), root.name)
    except OSError as error:
        raise BadInputError(
            f'"{root.name}" cannot be read ({error.strerror}); check that you may open it.'
        ) from error


def read_files(files: Iterable[Path], name: str) -> Folder:
    """Read the headers of all DICOM images among files.

    Args:
        files: in their order; hidden ones and DICOMDIR are passed over.
        name: how messages call what they lie in.

    Raises:
        BadInputError: none is a DICOM image.
        OSError: a file cannot be opened.
    """
    slices: list[SliceHeader] = []
    damaged: list[DamagedFile] = []
    for file in files:
        if not may_be_image(file):
            continue
        found = read_headers(file)
        if isinstance(found, DamagedFile):
            damaged.append(found)
        else:
            slices += found
    if not slices:
        raise BadInputError(_nothing_found_message(name, damaged))
    return Folder(name, _stacks(slices), tuple(damaged))


def may_be_image(file: Path) -> bool:
    """Tell by its name and kind whether a file is looked into at all."""
    return not file.name.startswith(".") and not is_directory_file(file) and file.is_file()


def titles(stacks: Sequence[Stack]) -> str:
    """Name stacks, as in a list."""
    return ", ".join(stack.full_title for stack in stacks)


def files_under(root: Path, most_files: int = MOST_FILES) -> Iterator[Path]:
    """All files below a folder; links to folders are followed, each folder once.

    A link to a folder around the given one leads out of the scan, and is not followed.

    Raises:
        BadInputError: there are more than `most_files`.
        OSError: the folder itself cannot be read.
    """

    def complain(error: OSError) -> None:
        if Path(error.filename) == root:
            raise error

    around = {_identity(folder) for folder in root.parents}
    seen = set()
    count = 0
    for folder, folders, files in os.walk(root, onerror=complain, followlinks=True):
        seen.add(_identity(Path(folder)))
        new = []
        for name in sorted(folders):
            identity = _identity(Path(folder, name))
            if identity not in seen and identity not in around:
                seen.add(identity)
                new.append(name)
        folders[:] = new
        count += len(files)
        if count > most_files:
            raise BadInputError(
                f'"{root.name}" holds more than {most_files} files; give the folder of one CT scan.'
            )
        yield from (Path(folder, name) for name in files)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _nothing_found_message(name: str, damaged: list[DamagedFile]) -> str:
    if damaged:
        return (
            f'None of the {counted(len(damaged), "DICOM file")} in "{name}" can be read'
            f" ({damaged[0].reason}); copy the scan again."
        )
    return (
        f'"{name}" holds no DICOM images; give the folder of one CT scan, or an NRRD, NIfTI or'
        " MetaImage file itself."
    )


def _stacks(slices: list[SliceHeader]) -> tuple[Stack, ...]:
    groups: list[list[SliceHeader]] = []
    for item in slices:
        for group in groups:
            if item.is_stackable_with(group[0]):
                group.append(item)
                break
        else:
            groups.append([item])
    return tuple(sorted((Stack(tuple(group)) for group in groups), key=lambda s: s.rank))
