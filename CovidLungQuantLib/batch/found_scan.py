"""A scan of the cohort as it lies on the disk, with all that must not get out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from CovidLungQuantLib.ct.dicom.headers import SliceHeader

# Tags by which somebody could be known; what stands there is taken out of every sentence.
IDENTIFYING_TAGS = (
    "patient_name",
    "patient_id",
    "birth_date",
    "study_date",
    "study_uid",
    "series_uid",
    "instance_uid",
    "frame_of_reference_uid",
)


@dataclass(frozen=True)
class FoundScan:
    """A scan to measure.

    Attributes:
        identity: what its identifier is made from: the UID of its study, or its place in the input.
        patient: what the patient's identifier is made from; scans of one patient share it.
        path: image file or DICOM folder; None where `files` are given.
        files: DICOM files of one study.
        series: UID or number, where a DICOM folder holds several.
        study_date: ISO date; None where it is not known.
        carried: columns of the user's list that go with the scan into the tables.
        names: texts by which somebody could be known.
        days_from_first_scan: as the user's list says; None counts them from the dates.
    """

    identity: str
    patient: str
    path: Path | None = None
    files: tuple[Path, ...] = ()
    series: str | None = None
    study_date: date | None = None
    carried: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    days_from_first_scan: str | None = None

    @property
    def place(self) -> str:
        """Where it lies, for the user's own list of who is who."""
        return str(self.path or Path(os.path.commonpath([file.parent for file in self.files])))

    def fingerprint(self) -> str:
        """Return size and time of its files: another one tells that the scan has changed."""
        files = self.files
        if self.path is not None:
            files = tuple(_files_of(self.path))
        size, newest = 0, 0
        for file in files:
            try:
                status = file.stat()
            except OSError:
                continue
            size += status.st_size
            newest = max(newest, int(status.st_mtime))
        return f"{len(files)}-{size}-{newest}"


@dataclass(frozen=True)
class FoundScans:
    """What an input holds.

    Attributes:
        scans: to measure, in the order they were found or listed.
        root: folder without which nothing of them can be read.
        notes: sentences on what was left out or is not known.
    """

    scans: tuple[FoundScan, ...]
    root: Path
    notes: tuple[str, ...] = ()


def patient_of(header: SliceHeader) -> str:
    """Return what tells the patient of a DICOM header from others; "" where nothing does."""
    tags = header.tags
    if tags["patient_id"]:
        return tags["patient_id"]
    name, birth_date = tags["patient_name"], tags["birth_date"]
    return f"{name} {birth_date}" if name else ""


def names_in(header: SliceHeader) -> list[str]:
    """Return the texts of a DICOM header by which somebody could be known, names also in parts."""
    texts = [header.tags[tag] for tag in IDENTIFYING_TAGS]
    parts = header.tags["patient_name"].replace("^", " ").replace("=", " ").split()
    return [*texts, *parts]


def names_of_path(path: Path, root: Path) -> list[str]:
    """Return the names of a file and of its folders within the input, with and without suffix."""
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        parts = path.parts[1:]
    resolved = path.resolve()
    names = {*parts, path.name, resolved.name}
    names |= {str(place) for place in (path, path.parent, resolved, resolved.parent)}
    for name in (path.name, resolved.name):
        while Path(name).suffix:
            name = Path(name).stem
            names.add(name)
    return sorted(names)


def dicom_date(text: str) -> date | None:
    """Return a DICOM or ISO date; None where the text is none."""
    digits = text.strip().replace("-", "").replace(".", "")
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def _files_of(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    return (Path(folder, name) for folder, _, names in os.walk(path) for name in names)


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the innermost folder that all paths lie in."""
    parents = [path.absolute().parent for path in paths]
    try:
        return Path(os.path.commonpath(parents))
    except ValueError:
        # On several drives.
        return parents[0]
