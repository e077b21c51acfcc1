"""Scans without a reader's labels, as other networks see them.

The mean of the teachers' probabilities stands in for shares of labels (Hinton, Vinyals and Dean,
Distilling the Knowledge in a Neural Network, 2015). With one teacher that is self-training; with
several, such as the networks of all folds, one network learns what they say together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from CovidLungQuantLib.labels import BACKGROUND_VALUE, CLASS_COUNT
from CovidLungQuantLib.lesions.deciding import decide_labels
from CovidLungQuantLib.lesions.inference import lesion_probabilities
from CovidLungQuantLib.lesions.joining import joined_with_lungs
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.training.data import TaughtScan, read_scan_and_lungs


def read_taught_scan(path: Path, teachers: Sequence[LoadedModel], device: str) -> TaughtScan:
    """Read a scan and let every teacher see it and its mirror image.

    Args:
        path: of the CT.
        teachers: at least one.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        BadInputError: as `read_scan_and_lungs`, or no such device.
    """
    scan, anatomy = read_scan_and_lungs(path)
    spacing_mm = scan.geometry.spacing_mm
    mean = np.zeros((len(scan.hu), CLASS_COUNT, *scan.hu.shape[1:]), np.float16)
    for teacher in teachers:
        mean += lesion_probabilities(
            scan.hu, spacing_mm, anatomy, teacher, device, mirror=True
        ) / len(teachers)
    decided = np.stack([decide_labels(torch.from_numpy(plane).float()).numpy() for plane in mean])
    labels = joined_with_lungs(decided, scan.hu, anatomy, spacing_mm)
    return TaughtScan(scan.name, scan.hu, labels, agreed_with(mean, labels), spacing_mm)


def agreed_with(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities that do not contradict the finished labels on what is lung at all.

    Where the labels say background, all is background; elsewhere what the networks gave to
    background goes to the class of the label.

    Args:
        probabilities: float16 (z, class, y, x).
        labels: uint8 (z, y, x).

    Returns:
        float16, shape of `probabilities`.
    """
    label = labels[:, None]
    outside = label == BACKGROUND_VALUE
    agreed = np.where(outside, np.float16(0), probabilities)
    freed = np.where(outside, np.float16(1), probabilities[:, [BACKGROUND_VALUE]])
    agreed[:, BACKGROUND_VALUE] = 0
    np.put_along_axis(agreed, label, np.take_along_axis(agreed, label, axis=1) + freed, axis=1)
    return agreed
