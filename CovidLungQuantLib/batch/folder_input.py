"""The scans in a folder tree: DICOM sorted into patients and studies by its headers, and images."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from CovidLungQuantLib.batch.found_scan import (
    FoundScan,
    FoundScans,
    dicom_date,
    names_in,
    names_of_path,
    patient_of,
)
from CovidLungQuantLib.ct.dicom.headers import DamagedFile, SliceHeader, counted, read_headers
from CovidLungQuantLib.ct.dicom.stacks import files_under, may_be_image
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import CASE_CT_FILE, OUTPUT_FILES, RESULT_FILE
from CovidLungQuantLib.progress import ProgressCallback, no_progress
from CovidLungQuantLib.vetting.images import IMAGE_SUFFIXES

# A cohort of several thousand scans, one file a slice.
MOST_FILES = 5_000_000
FILES_BETWEEN_LOOKS = 200
SEGMENTATION_SUFFIX = ".seg.nrrd"


@dataclass
class _Study:
    """CT files of one study as they come up, and what its first header says."""

    patient: str
    study_date: date | None
    files: list[Path] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


def scans_in_folder(
    root: Path, left_out: Path | None = None, progress: ProgressCallback = no_progress
) -> FoundScans:
    """Find every scan below a folder.

    DICOM files are sorted by the UID of their study, wherever they lie; a study is one scan, of
    which the series is read that `read_ct` would choose. Every image file is a scan, but for
    segmentations, results of this software, and what lies beside the ct.nrrd of an annotated case.

    Args:
        root: the folder.
        left_out: a folder within that is not looked into, such as that of the results.
        progress: called now and then with how many files were looked at; may raise `Cancelled`.

    Raises:
        BadInputError: the folder cannot be read, or holds no scan.
    """
    root = root.absolute()
    studies: dict[str, _Study] = {}
    damaged: dict[Path, list[Path]] = {}
    images: dict[Path, list[Path]] = {}
    others: set[str] = set()
    try:
        for number, file in enumerate(_looked_into(root, left_out)):
            if number % FILES_BETWEEN_LOOKS == 0:
                progress(0.0, f"Looking for scans: {number} files")
            if file.name.lower().endswith(IMAGE_SUFFIXES):
                images.setdefault(file.parent, []).append(file)
                continue
            found = read_headers(file)
            if isinstance(found, DamagedFile):
                damaged.setdefault(file.parent, []).append(file)
            elif found and found[0].word("modality") == "CT":
                _add(studies, found[0], root)
            elif found:
                others.add(_study_key(found[0], root))
    except OSError as error:
        raise BadInputError(
            f"The folder {root.name} cannot be read ({error.strerror}); check that it is there and "
            "that you may open it."
        ) from error
    scans = [
        *_dicom_scans(studies, damaged, root),
        *(
            _image_scan(file, root)
            for folder in sorted(images)
            for file in _of_case(images[folder])
        ),
    ]
    if not scans:
        raise BadInputError(
            f"The folder {root.name} holds no scan; give one with DICOM files, NRRD, NIfTI or "
            "MetaImage files, or a CSV list of them."
        )
    return FoundScans(tuple(scans), root, tuple(_notes(others - studies.keys(), scans)))


def first_ct_header(path: Path) -> SliceHeader | None:
    """Return the header of the first CT slice of a file or folder; None where there is none.

    Raises:
        BadInputError: the folder holds too many files.
        OSError: it cannot be read.
    """
    for file in files_under(path) if path.is_dir() else [path]:
        found = read_headers(file) if may_be_image(file) else []
        if not isinstance(found, DamagedFile) and found and found[0].word("modality") == "CT":
            return found[0]
    return None


def _looked_into(root: Path, left_out: Path | None) -> list[Path]:
    """Files that may be of a scan, in order; not those of results of this software."""
    files = [
        file
        for file in files_under(root, MOST_FILES)
        if left_out is None or left_out not in file.parents
    ]
    results = {file.parent for file in files if file.name == RESULT_FILE}
    return sorted(
        file
        for file in files
        if may_be_image(file)
        and not file.name.lower().endswith(SEGMENTATION_SUFFIX)
        and not (file.parent in results and file.name in OUTPUT_FILES)
    )


def _study_key(header: SliceHeader, root: Path) -> str:
    return header.tags["study_uid"] or str(header.path.parent.relative_to(root))


def _add(studies: dict[str, _Study], header: SliceHeader, root: Path) -> None:
    key = _study_key(header, root)
    study = studies.get(key)
    if study is None:
        study = studies[key] = _Study(
            patient_of(header) or key, dicom_date(header.tags["study_date"])
        )
    study.files.append(header.path)
    study.names.update(names_in(header))
    study.names.update(names_of_path(header.path, root))


def _dicom_scans(
    studies: dict[str, _Study], damaged: dict[Path, list[Path]], root: Path
) -> list[FoundScan]:
    """One scan a study, and one for each folder that holds nothing but damaged files."""
    folders = {file.parent for study in studies.values() for file in study.files}
    scans = []
    for key, study in studies.items():
        # The reader decides whether a damaged file may be one of its slices.
        own_folders = dict.fromkeys(file.parent for file in study.files)
        beside = [file for folder in own_folders for file in damaged.get(folder, ())]
        names = {*study.names, *(file.name for file in beside)}
        scans.append(
            FoundScan(
                identity=key,
                patient=study.patient,
                files=(*study.files, *beside),
                study_date=study.study_date,
                names=tuple(sorted(names)),
            )
        )
    for folder in sorted(damaged.keys() - folders):
        place = str(folder.relative_to(root))
        names = {name for file in damaged[folder] for name in names_of_path(file, root)}
        scans.append(
            FoundScan(place, place, files=tuple(damaged[folder]), names=tuple(sorted(names)))
        )
    return scans


def _of_case(files: list[Path]) -> list[Path]:
    """The scans among the images of one folder: of an annotated case its ct.nrrd alone."""
    return [file for file in files if file.name == CASE_CT_FILE] or files


def _image_scan(file: Path, root: Path) -> FoundScan:
    place = file.relative_to(root).as_posix()
    return FoundScan(place, place, path=file, names=tuple(names_of_path(file, root)))


def _notes(others: set[str], scans: list[FoundScan]) -> list[str]:
    notes = []
    if others:
        notes.append(
            f"{counted(len(others), 'study')} of other kinds than CT "
            f"{'is' if len(others) == 1 else 'are'} left out.".replace("studys", "studies")
        )
    unknown = sum(scan.path is not None for scan in scans)
    if unknown:
        notes.append(
            f"Image files do not say whose they are: {counted(unknown, 'scan')} "
            f"{'counts' if unknown == 1 else 'count'} as of different patients; a CSV list with the"
            " columns path and patient can say so."
        )
    return notes
