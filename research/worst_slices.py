"""`python -m research.worst_slices DATASET PREDICTIONS -o PICTURE.png`.

Where a model errs most: for each case the axial slice with the largest wrongly labelled area. Label
maps alone are drawn, so that the picture holds nothing of a patient's scan. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.measures.structures import LESION, structure_mask
from CovidLungQuantLib.measures.structures import LUNG as LUNG_STRUCTURE
from CovidLungQuantLib.training.data import read_case
from CovidLungQuantLib.training.dataset import case_names

COLUMNS = 5
OUTSIDE, LUNG, AGREED, OVERLOOKED, WRONG = (
    (255, 255, 255),
    (222, 222, 222),
    (46, 139, 87),
    (65, 105, 225),
    (220, 60, 50),
)


def worst_slice(labels: np.ndarray, reference: np.ndarray) -> int:
    """Index of the slice where most voxels are lesion in one label map (z, y, x) only."""
    differing = structure_mask(labels, LESION) ^ structure_mask(reference, LESION)
    return int(differing.sum(axis=(1, 2)).argmax())


def comparison_picture(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Agreement of two slices (y, x) as colours, uint8 (y, x, 3)."""
    lesion, reference_lesion = structure_mask(labels, LESION), structure_mask(reference, LESION)
    picture = np.full((*labels.shape, 3), OUTSIDE, np.uint8)
    for label_map in (labels, reference):
        picture[structure_mask(label_map, LUNG_STRUCTURE)] = LUNG
    picture[lesion & reference_lesion] = AGREED
    picture[reference_lesion & ~lesion] = OVERLOOKED
    picture[lesion & ~reference_lesion] = WRONG
    return picture


def draw_worst_slices(dataset: Path, predictions: Path, output: Path) -> None:
    """Write the picture; `predictions` holds CASE.nrrd from `research.cross_validation`."""
    from matplotlib.figure import Figure

    names = [name for name in case_names(dataset) if (predictions / f"{name}.nrrd").is_file()]
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, 2.7 * rows), layout="constrained")
    places = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for place in places:
        place.axis("off")
    for place, name in zip(places, names, strict=False):
        reference = read_case(dataset, name).labels
        labels = read_label_file(predictions / f"{name}.nrrd").layers[..., 0]
        index = worst_slice(labels, reference)
        place.imshow(comparison_picture(labels[index], reference[index]), interpolation="nearest")
        place.set_title(f"{name}, slice {index + 1} of {len(labels)}", fontsize=10)
    figure.savefig(output, dpi=60)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Draw the worst slice of each case.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("predictions", type=Path, help="from research.cross_validation")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG to write")
    arguments = parser.parse_args()
    draw_worst_slices(arguments.dataset, arguments.predictions, arguments.output)


if __name__ == "__main__":
    main()
