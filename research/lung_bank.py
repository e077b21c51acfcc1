"""Scans with known lungs on the grid of the lung network: what it learns from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.anatomy.lung_network import (
    AIRWAY_CLASS,
    GAS_CLASS,
    LUNG_CLASSES,
    LUNG_NETWORK_CLASSES,
    onto_grid,
)
from CovidLungQuantLib.anatomy.sides import split_left_right
from CovidLungQuantLib.anatomy.threshold_lungs import BodyAndAir, find_body_and_air
from CovidLungQuantLib.cli.options import add_same_patient_option
from CovidLungQuantLib.ct import lps_oriented, orient_like, read_ct
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.files.names import CASE_CT_FILE, CASE_LABELS_FILE
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE, UNKNOWN_LUNG_VALUE
from CovidLungQuantLib.training.data import fold_names

CONTOURS_FILE = "lungs_left1_right2_tumour3.nrrd"
TUMOUR_VALUE = 3
# Air of the body that is no lung and no airway, and this far from both, lies in stomach or bowel.
GAS_HU = -500
SMALLEST_GAS_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class LungScan:
    """A scan on the grid of the network.

    Attributes:
        name: of its folder.
        hu: int16 (z, y, x).
        shares: uint8 (LUNG_NETWORK_CLASSES, z, y, x), share of each class × 255.
        known: bool (z, y, x), where lung or not is known.
        body: bool (z, y, x).
    """

    name: str
    hu: Tensor
    shares: Tensor
    known: Tensor
    body: Tensor

    def on(self, device: str) -> LungScan:
        """The scan with its arrays on a device."""
        return LungScan(
            self.name,
            *(part.to(device) for part in (self.hu, self.shares, self.known, self.body)),
        )


def read_lung_scan(folder: Path, cache: Path | None = None) -> LungScan:
    """Read a scan with a reader's lungs, or, where there are none, with those the threshold finds.

    Args:
        folder: a case of a training set, a scan with contours of both lungs, or a scan alone.
        cache: folder to keep the result in.
    """
    file = None if cache is None else cache / f"{folder.name}.pt"
    if file is not None and file.exists():
        return LungScan(folder.name, **torch.load(file, weights_only=True))
    scan = _prepared(folder)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        values = {"hu": scan.hu, "shares": scan.shares, "known": scan.known, "body": scan.body}
        torch.save(values, file)
    return scan


@dataclass(frozen=True, eq=False)
class KnownLungs:
    """A scan upright on its own grid, arrays (z, y, x).

    Attributes:
        hu: int16.
        lungs: uint8, left and right lung: a reader's, or those the threshold finds.
        known: bool, where lung or not is known.
        anatomy: what the threshold finds.
        spacing_mm: voxel size (x, y, z).
    """

    hu: np.ndarray
    lungs: np.ndarray
    known: np.ndarray
    anatomy: BodyAndAir
    spacing_mm: tuple[float, float, float]


def known_lungs(folder: Path) -> KnownLungs:
    """Read a scan with its lungs; `folder` as in `read_lung_scan`."""
    ct_file = folder / CASE_CT_FILE
    ct, orientation = lps_oriented(read_ct(ct_file if ct_file.exists() else folder))
    spacing_mm = ct.geometry.spacing_mm
    anatomy = find_body_and_air(ct.hu, spacing_mm)
    lungs, known = anatomy.lungs, np.ones(ct.hu.shape, bool)
    if (folder / CASE_LABELS_FILE).exists():
        labels = read_label_file(folder / CASE_LABELS_FILE).layers[..., 0]
        labels = orient_like(labels, orientation)
        known = labels != UNKNOWN_LUNG_VALUE
        lungs = split_left_right((labels > 0) & known, spacing_mm)
    elif (folder / CONTOURS_FILE).exists():
        contours = orient_like(read_label_file(folder / CONTOURS_FILE).layers[..., 0], orientation)
        known = contours != TUMOUR_VALUE
        lungs = np.where(known, contours, 0).astype(np.uint8)
    return KnownLungs(ct.hu, lungs, known, anatomy, spacing_mm)


def _prepared(folder: Path) -> LungScan:
    scan = known_lungs(folder)
    lungs, anatomy, spacing_mm = scan.lungs, scan.anatomy, scan.spacing_mm
    classes = {
        LEFT_LUNG_VALUE: lungs == LEFT_LUNG_VALUE,
        RIGHT_LUNG_VALUE: lungs == RIGHT_LUNG_VALUE,
        AIRWAY_CLASS: anatomy.airways & (lungs == 0),
    }
    shares = torch.zeros(LUNG_NETWORK_CLASSES, *onto_grid(lungs, spacing_mm).shape)
    for value, mask in classes.items():
        shares[value] = onto_grid(mask, spacing_mm)
    hu = onto_grid(scan.hu, spacing_mm)
    body = onto_grid(anatomy.body, spacing_mm) > 0.5
    taken = torch.nn.functional.max_pool3d(shares.sum(0)[None], 3, 1, 1)[0]
    shares[GAS_CLASS] = ((hu < GAS_HU) & body & (taken < SMALLEST_GAS_SHARE)).float()
    shares[0] = 1 - shares.sum(0).clamp(0, 1)
    return LungScan(
        folder.name,
        hu.round().to(torch.int16),
        (shares * 255).round().to(torch.uint8),
        onto_grid(scan.known, spacing_mm) > 0.99,
        body,
    )


def lungs_of_shares(shares: Tensor) -> Tensor:
    """Share of either lung, float 0…1, from (classes, z, y, x)."""
    return shares[list(LUNG_CLASSES)].sum(0)


def scan_folders(folders: Sequence[Path]) -> list[Path]:
    """Every folder given, or, of a folder of scans, each of its scans."""
    found: list[Path] = []
    for folder in folders:
        inside = sorted(file.parent for file in folder.glob(f"*/{CASE_CT_FILE}"))
        found += inside or [folder]
    return found


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """Options of a command that works on the scans of a fold."""
    parser.add_argument("scans", type=Path, nargs="+", help="scans, or folders of scans")
    parser.add_argument("--fold", type=int, help="the fold whose scans are left out, from 0")
    parser.add_argument("--folds", type=int, default=3)
    add_same_patient_option(parser)


def chosen_scans(arguments: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Folders of the scans to learn from and of those left out; without a fold, all are both."""
    folders = {folder.name: folder for folder in scan_folders(arguments.scans)}
    names = left_out = sorted(folders)
    if arguments.fold is not None:
        names, left_out = fold_names(names, arguments.fold, arguments.folds, arguments.same_patient)
    return [folders[name] for name in names], [folders[name] for name in left_out]
