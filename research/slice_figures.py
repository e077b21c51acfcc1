"""`python -m research.slice_figures MODEL SLICES -o TABLE.csv`: classes on single slices.

SLICES is the folder that `research.slice_cases` reads: slices of sure classes, cropped to the
lungs. No lungs can be found in one slice without a chest wall, so the network's answer is joined
with the reader's own; a model must not have seen any of the slices.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.sides import split_left_right
from CovidLungQuantLib.labels import UNKNOWN_LUNG_VALUE
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.measures.against_reader import MINIMUM_EXTENT_PERCENT
from CovidLungQuantLib.measures.structures import LUNG, structure_mask
from CovidLungQuantLib.training.data import AnnotatedScan
from CovidLungQuantLib.training.evaluation import CaseAgreement, evaluate_case
from research.slice_cases import NOMINAL_SPACING_MM, SOFT_TISSUE_HU, framed, read_slices
from research.tables import with_enough, write_rows

CLASSES = ("ggo", "high_opacity")


def slice_scan(name: str, hu: np.ndarray, labels: np.ndarray) -> AnnotatedScan:
    """A slice (y, x) in its frame of tissue, as a scan of one slice."""
    return AnnotatedScan(
        name,
        framed(hu, SOFT_TISSUE_HU).astype(np.int16),
        framed(labels, UNKNOWN_LUNG_VALUE).astype(np.uint8),
        NOMINAL_SPACING_MM,
    )


def readers_anatomy(scan: AnnotatedScan) -> LungAnatomy:
    """The reader's lungs, in a body that fills the slice."""
    lungs = structure_mask(scan.labels, LUNG)
    return LungAnatomy(
        lungs=split_left_right(lungs, scan.spacing_mm),
        body=np.ones(lungs.shape, bool),
        airways=np.zeros(lungs.shape, bool),
    )


def slice_figures(folder: Path, model: LoadedModel) -> Iterator[CaseAgreement]:
    """Figures of every slice."""
    for name, hu, labels in read_slices(folder):
        scan = slice_scan(name, hu, labels)
        yield evaluate_case(scan, readers_anatomy(scan), model)[0]


def class_dice(rows: list[dict[str, Any]], name: str, kind: str = "") -> tuple[int, float]:
    """How many slices hold enough of a class, and its mean Dice there.

    Args:
        rows: of the table.
        name: of `CLASSES`.
        kind: "" for classes told apart by density, "network_" for the network's own.
    """
    counted = with_enough(rows, name, MINIMUM_EXTENT_PERCENT)
    dice = [row[f"{kind}{name}_dice"] for row in counted]
    return len(dice), mean(dice) if dice else float("nan")


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Judge the classes of a model on single slices.")
    parser.add_argument("model", help="model name or file")
    parser.add_argument("slices", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="table to write (CSV)")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    found = map(asdict, slice_figures(arguments.slices, model))
    rows = write_rows(arguments.output, [field.name for field in fields(CaseAgreement)], found)
    for name in CLASSES:
        for kind, text in (("", "by density"), ("network_", "by the network")):
            count, dice = class_dice([dict(row) for row in rows], name, kind)
            print(f"{name}, {text}: Dice {dice:.3f} on {count} slices")


if __name__ == "__main__":
    main()
