"""The headers that DICOM results refer to: read, and repaired or refused where they fall short.

What identifies patient, study and slices is never made up: without it the results could not be
filed, or would point at the wrong slices. What follows from the geometry is filled in with a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError

if TYPE_CHECKING:
    from pydicom import Dataset

# What every image of an archive should state, if only as unknown; some exports leave it out.
PATIENT_AND_STUDY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
# Of these, values that DICOM does not allow are left out; no scan is identified by them.
MAY_BE_LEFT_OUT = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
SEXES = ("", "M", "F", "O")
# UID → what it names, for messages.
NEEDED_UIDS = {
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "series",
    "SOPInstanceUID": "slice",
    "SOPClassUID": "kind of image",
}

THICKNESS_CODE = "dicom_slice_thickness"
FRAME_OF_REFERENCE_CODE = "dicom_frame_of_reference"
PATIENT_AND_STUDY_CODE = "dicom_patient_and_study"


def read_source(
    files: Sequence[Path], slice_distance_mm: float
) -> tuple[list[Dataset], tuple[ScanWarning, ...]]:
    """Headers of the slices, fit to be referred to; the files stay as they are.

    Patient and study data that are absent are made empty, a missing slice thickness becomes the
    distance of the slices, a missing frame of reference gets a UID of its own, the same at each
    call. Text in several character sets is turned into UTF-8.

    Args:
        files: one for each slice, in the order of the scan's slices.
        slice_distance_mm: from one slice to the next.

    Returns:
        The headers, and what was filled in.

    Raises:
        BadInputError: a file is no longer there or no longer DICOM, or a UID is missing, invalid or
            there twice.
    """
    source = [_header(file) for file in files]
    _check_one_slice_a_file(source)
    for keyword, what in NEEDED_UIDS.items():
        _check_uid(source, files, keyword, what)
    _check_different_slices(source)
    warnings = (
        _fill_patient_and_study(source),
        _fill_thickness(source, slice_distance_mm),
        _fill_frame_of_reference(source),
    )
    return source, tuple(warning for warning in warnings if warning is not None)


def _header(file: Path) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        # Like the scan itself, a file may lack the preamble.
        dataset = dcmread(file, stop_before_pixels=True, force=True)
    except (OSError, InvalidDicomError) as error:
        raise BadInputError(
            f"{file.name} of the source series cannot be read any more; copy the scan again."
        ) from error
    if dataset.get("SpecificCharacterSet") and dataset["SpecificCharacterSet"].VM > 1:
        # Several at once, as East Asian names use, are more than highdicom takes.
        dataset.decode()
        dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def _check_one_slice_a_file(source: Sequence[Dataset]) -> None:
    if any("PerFrameFunctionalGroupsSequence" in dataset for dataset in source):
        raise BadInputError(
            "DICOM results refer to one file for each slice, and this scan keeps its slices in one "
            "file (enhanced CT); leave DICOM out."
        )


def _check_uid(source: Sequence[Dataset], files: Sequence[Path], keyword: str, what: str) -> None:
    from pydicom.uid import UID

    for dataset, file in zip(source, files, strict=True):
        uid = str(dataset.get(keyword) or "")
        if not UID(uid).is_valid:
            wrong = f"an invalid {keyword}" if uid else f"no {keyword}"
            raise BadInputError(
                f"{file.name} has {wrong}, so DICOM results cannot say which {what} they belong "
                "to; export the original series again or leave DICOM out."
            )


def _check_different_slices(source: Sequence[Dataset]) -> None:
    uids = {dataset.SOPInstanceUID for dataset in source}
    if len(uids) < len(source):
        raise BadInputError(
            f"The {len(source)} slices share {len(uids)} SOPInstanceUID"
            f"{'s' if len(uids) > 1 else ''}, so DICOM results could not say which slice they mean;"
            " export the original series again or leave DICOM out."
        )


def _fill_patient_and_study(source: Sequence[Dataset]) -> ScanWarning | None:
    left_out = []
    for keyword in PATIENT_AND_STUDY:
        for dataset in source:
            is_wrong = keyword in MAY_BE_LEFT_OUT and not _is_allowed(dataset, keyword)
            if is_wrong and keyword not in left_out:
                left_out.append(keyword)
            if is_wrong or keyword not in dataset:
                setattr(dataset, keyword, None if keyword.endswith(("Date", "Time")) else "")
    if not left_out:
        return None
    return ScanWarning(
        PATIENT_AND_STUDY_CODE,
        f"The headers of the series hold values that DICOM does not allow; the DICOM results leave "
        f"them out ({', '.join(left_out)}).",
    )


def _is_allowed(dataset: Dataset, keyword: str) -> bool:
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    if keyword not in dataset:
        return True
    try:
        element = dataset[keyword]
        validate_value(element.VR, element.value, RAISE)
    except (ValueError, TypeError, AttributeError, NotImplementedError):
        return False
    return keyword != "PatientSex" or str(element.value or "") in SEXES


def _fill_thickness(source: Sequence[Dataset], slice_distance_mm: float) -> ScanWarning | None:
    lacking = [dataset for dataset in source if not _has_thickness(dataset)]
    for dataset in lacking:
        dataset.SliceThickness = f"{slice_distance_mm:.6g}"
    if not lacking:
        return None
    return ScanWarning(
        THICKNESS_CODE,
        "The headers of the series state no slice thickness; the DICOM results give the distance "
        f"of the slices, {slice_distance_mm:.3g} mm, for it.",
    )


def _has_thickness(dataset: Dataset) -> bool:
    try:
        thickness_mm = float(dataset.SliceThickness)
    except (AttributeError, TypeError, ValueError):
        return False
    return math.isfinite(thickness_mm) and thickness_mm > 0


def _fill_frame_of_reference(source: Sequence[Dataset]) -> ScanWarning | None:
    from pydicom.uid import UID, generate_uid

    lacking = [
        dataset
        for dataset in source
        if not UID(str(dataset.get("FrameOfReferenceUID") or "")).is_valid
    ]
    if not lacking:
        return None
    if len(lacking) < len(source):
        raise BadInputError(
            f"{len(lacking)} of {len(source)} slices name no frame of reference (FrameOfReference"
            "UID), so DICOM results cannot say that all lie in one; export the original series "
            "again or leave DICOM out."
        )
    uid = generate_uid(entropy_srcs=[str(source[0].SeriesInstanceUID), "frame of reference"])
    for dataset in lacking:
        dataset.FrameOfReferenceUID = uid
    return ScanWarning(
        FRAME_OF_REFERENCE_CODE,
        "The headers of the series name no frame of reference; the DICOM results have one of their "
        "own, so that viewers may not lay them over other series.",
    )
