"""Scans in a folder that could become cases of a training set."""

from __future__ import annotations

from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import CASE_CT_FILE
from CovidLungQuantLib.vetting.images import IMAGE_SUFFIXES


def scans_in(folder: Path) -> list[Path]:
    """Image files and folders in a folder, each one scan, by name; without any, the folder itself.

    A folder with a case's scan in it stands for that file; hidden entries are passed over.

    Raises:
        BadInputError: it is no folder that can be looked into, or it is empty.
    """
    folder = folder.expanduser().absolute()
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        scans = [_scan(entry) for entry in entries if entry.is_dir() or _is_image(entry)]
    except OSError as error:
        raise BadInputError(
            f"{folder.name} cannot be looked into for scans ({error.strerror}); give a folder of "
            "scans."
        ) from error
    if not entries:
        raise BadInputError(f"{folder.name} is empty; give a folder of scans.")
    return scans or [folder]


def _is_image(file: Path) -> bool:
    name = file.name.lower()
    return name.endswith(IMAGE_SUFFIXES) and not name.endswith(".seg.nrrd")


def _scan(entry: Path) -> Path:
    case_ct = entry / CASE_CT_FILE
    return case_ct if case_ct.is_file() else entry
