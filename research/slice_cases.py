"""`python -m research.slice_cases SLICES -o DATASET`: single slices as cases of a training set.

SLICES is a folder of `.npz` files with `hu` and `labels` (y, x), cropped to the lungs. Around each
slice a frame of soft tissue is put, as the network sees a chest wall around the lungs of a scan;
there, lung or not is unknown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.names import CASE_CT_FILE, CASE_LABELS_FILE
from CovidLungQuantLib.labels import UNKNOWN_LUNG_VALUE

# On each side, as a share of the crop: lungs fill about three quarters of the body's width.
FRAME_SHARE = 0.15
SOFT_TISSUE_HU = 30
NOMINAL_SPACING_MM = (0.8, 0.8, 3.0)


def framed(array: np.ndarray, value: int) -> np.ndarray:
    """A slice (y, x) with a frame of `value`, as a volume of one slice (1, y, x)."""
    widths = [(round(FRAME_SHARE * size),) * 2 for size in array.shape]
    return np.pad(array, widths, constant_values=value)[None]


def read_slices(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, HU and labels (y, x) of every slice, by name.

    Raises:
        BadInputError: the folder holds none.
    """
    files = sorted(Path(folder).glob("*.npz"))
    if not files:
        raise BadInputError(f"No slices (.npz) are in {folder}; give the folder that holds them.")
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            yield file.stem, arrays["hu"], arrays["labels"]


def write_slice_cases(folder: Path, dataset: Path) -> int:
    """Write a case folder for every slice; returns how many."""
    count = 0
    for name, hu, labels in read_slices(folder):
        volume = framed(hu, SOFT_TISSUE_HU)
        geometry = Geometry(volume.shape, NOMINAL_SPACING_MM, (0.0, 0.0, 0.0), np.eye(3))
        write_image(dataset / name / CASE_CT_FILE, volume, geometry)
        write_image(dataset / name / CASE_LABELS_FILE, framed(labels, UNKNOWN_LUNG_VALUE), geometry)
        count += 1
    return count


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Make cases of single slices.")
    parser.add_argument("slices", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="dataset folder to write")
    arguments = parser.parse_args()
    print(f"{write_slice_cases(arguments.slices, arguments.output)} cases.")


if __name__ == "__main__":
    main()
