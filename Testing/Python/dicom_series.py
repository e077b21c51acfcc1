"""Writes small DICOM series to read in tests, as a scanner or an archive would leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

SPACING_MM = (0.8, 0.7, 2.5)
ORIGIN_MM = (-10.5, 20.25, -301.5)
SERIES_UID = "1.2.3.4.5"
INTERCEPT = -1024


def chest_hu(shape: tuple[int, int, int] = (12, 16, 20), seed: int = 0) -> np.ndarray:
    """Return noise around soft tissue with noise around lung inside it, int16 (z, y, x)."""
    random = np.random.default_rng(seed)
    hu = random.integers(0, 80, shape)
    hu[:, 4:-4, 4:-4] = random.integers(-900, -800, hu[:, 4:-4, 4:-4].shape)
    return hu.astype(np.int16)


def write_series(
    folder: Path,
    hu: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    origin_mm: tuple[float, float, float] = ORIGIN_MM,
    direction: np.ndarray | None = None,
    uid: str = SERIES_UID,
    number: int = 4,
    prefix: str = "slice",
    positions_mm: np.ndarray | None = None,
    syntax: UID = ExplicitVRLittleEndian,
    **tags: Any,
) -> list[Path]:
    """Write one file a slice; returns their paths in the order of `hu`.

    Files and instance numbers are shuffled. A tag given as None is left out; `positions_mm`
    overrides where the slices lie.
    """
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.eye(3) if direction is None else direction
    if positions_mm is None:
        steps_mm = np.arange(len(hu))[:, np.newaxis] * spacing_mm[2] * direction[:, 2]
        positions_mm = np.asarray(origin_mm) + steps_mm
    shuffled = np.random.default_rng(1).permutation(len(hu))
    paths = []
    for plane, position_mm, instance in zip(hu, positions_mm, shuffled, strict=True):
        dataset = _dataset(plane, uid, number, int(instance))
        dataset.ImagePositionPatient = [float(value) for value in position_mm]
        dataset.ImageOrientationPatient = direction[:, :2].T.ravel().tolist()
        dataset.PixelSpacing = [spacing_mm[1], spacing_mm[0]]
        dataset.SliceThickness = spacing_mm[2]
        for name, value in tags.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        if syntax != ExplicitVRLittleEndian:
            dataset.compress(syntax)
        path = folder / f"{prefix}{instance:03d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def edit(path: Path, **tags: Any) -> None:
    """Change tags of a file; one given as None is left out."""
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def _dataset(plane: np.ndarray, uid: str, number: int, instance: int) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(instance)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = uid
    dataset.FrameOfReferenceUID = "1.2.3.9"
    dataset.SeriesNumber = number
    dataset.InstanceNumber = instance
    dataset.PatientName = "Secret^Person"
    dataset.PatientID = "secret"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.BodyPartExamined = "CHEST"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    dataset.RescaleIntercept, dataset.RescaleSlope = INTERCEPT, 1
    dataset.PixelData = (plane.astype(np.int16) - INTERCEPT).astype("<i2").tobytes()
    return dataset
