"""What was found, as segmentation files (.seg.nrrd) that Slicer opens with names and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.files.seg_nrrd import write_seg_nrrd
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import AIRWAYS_AND_VESSELS, LABELS, LOBES, SUB_VISUAL_LESION


def write_segmentation(
    path: Path | str, labels: np.ndarray, geometry: Geometry, model_name: str | None = None
) -> None:
    """Write a label map as a Slicer segmentation, values 1, 2, 3 in one layer, gzip-compressed.

    The same input gives the same bytes.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        labels: label map (z, y, x); values as in `labels.py`.
        geometry: of the scan.
        model_name: the model that made it; None if a person drew or corrected it.

    Raises:
        BadInputError: the label map does not fit the scan or holds other values.
        OSError: the file cannot be written.
    """
    check_labels(labels, geometry.shape)
    write_seg_nrrd(Path(path), labels, geometry, LABELS, model_name)


def write_lobes(
    path: Path | str, lobes: np.ndarray, geometry: Geometry, method_name: str | None = None
) -> None:
    """Write the lobes as a Slicer segmentation, values 1…5 in one layer, gzip-compressed.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        lobes: uint8 (z, y, x), values of `labels.LOBES`.
        geometry: of the scan.
        method_name: what found them; None if the user gave them.

    Raises:
        OSError: the file cannot be written.
    """
    write_seg_nrrd(Path(path), lobes, geometry, LOBES, method_name)


def write_airways_and_vessels(
    path: Path | str, airways_and_vessels: np.ndarray, geometry: Geometry, method_name: str
) -> None:
    """Write airways (1) and vessels (2) as a Slicer segmentation of one layer, gzip-compressed.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        airways_and_vessels: uint8 (z, y, x), values of `labels.AIRWAYS_AND_VESSELS`.
        geometry: of the scan.
        method_name: what found them.

    Raises:
        OSError: the file cannot be written.
    """
    write_seg_nrrd(Path(path), airways_and_vessels, geometry, AIRWAYS_AND_VESSELS, method_name)


def write_sub_visual(
    path: Path | str, sub_visual: np.ndarray, geometry: Geometry, method_name: str
) -> None:
    """Write the sub-visual lesions as a Slicer segmentation, value 1, gzip-compressed.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        sub_visual: bool (z, y, x).
        geometry: of the scan.
        method_name: what found them.

    Raises:
        OSError: the file cannot be written.
    """
    write_seg_nrrd(Path(path), sub_visual, geometry, (SUB_VISUAL_LESION,), method_name)
