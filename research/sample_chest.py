"""`python -m research.sample_chest CT -o FOLDER`: the chest to try the module on.

A real CT without pneumonia is cropped and reduced until it is small enough for the repository, and
lesions are painted into it as COVID-19 pneumonia lies: along the chest wall, more at the base and
at the back. What is lesion is known, since it was painted. The CT is lidc_0001 of LIDC-IDRI.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.airway_tree import segment_airways
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import CTVolume, lps_oriented, read_ct
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.training.synthetic_lesions import LesionRanges, paint_lesions
from research.false_positives import between_lungs

CT_FILE = "chest-with-painted-lesions.nrrd"
TRUTH_FILE = "chest-with-painted-lesions-truth.seg.nrrd"

# Of lidc_0001: from 30 mm below the lungs to its upper end, and the rows of body and table.
SLICES, ROWS = slice(8, 131), slice(30, 236)
HU_RANGE = (-1024, 600)
# What is rounded off is a tenth of this scan's noise.
HU_STEP = 4

SEED = 3
LESIONS = LesionRanges(
    count=(40, 40),
    radius_mm=(12.0, 34.0),
    flatness=(0.3, 0.6),
    edge_mm=(6.0, 12.0),
    roughness=(0.45, 0.85),
    grain_mm=(3.0, 7.0),
    ggo_hu=(-640.0, -480.0),
    unevenness=(0.25, 0.45),
    core_chance=0.35,
    core_hu=(-280.0, 0.0),
)
# How far from the chest wall lesions become rare, and how near to the mediastinum none begins.
DEPTH_MM = 4.0
MEDIASTINUM_MM = 15.0

SOFT_TISSUE_HU = (20, 90)
NOISE_WIDTH_VOXELS = 0.6


def cropped(ct: CTVolume) -> CTVolume:
    """The part of the scan that is kept, with HU in `HU_RANGE`."""
    hu = np.clip(ct.hu[SLICES, ROWS], *HU_RANGE).astype(np.int16)
    geometry = ct.geometry
    corner = geometry.ijk_to_lps @ [0.0, ROWS.start, SLICES.start, 1.0]
    depth, height, width = hu.shape
    x_mm, y_mm, z_mm = (float(place) for place in corner[:3])
    geometry = replace(geometry, shape=(depth, height, width), origin_mm=(x_mm, y_mm, z_mm))
    return CTVolume(hu, geometry, ct.name)


def chances_of_lesions(lungs: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """How likely a lesion begins at each voxel: by the chest wall, at the base and at the back.

    Args:
        lungs: uint8 (z, y, x), upright, sides of the lungs.
        spacing_mm: voxel size (x, y, z).

    Returns:
        float (z, y, x), to any scale; 0 outside the lungs.
    """
    middle = between_lungs(lungs)
    wall = (lungs == 0) & ~middle
    from_wall_mm, from_middle_mm = (
        ndimage.distance_transform_edt(~mask, sampling=spacing_mm[::-1]) for mask in (wall, middle)
    )
    z, y, _ = np.nonzero(lungs)
    up = np.clip((np.arange(lungs.shape[0]) - z.min()) / np.ptp(z), 0.0, 1.0)[:, None, None]
    back = np.clip((np.arange(lungs.shape[1]) - y.min()) / np.ptp(y), 0.0, 1.0)[:, None]
    near = np.exp(-from_wall_mm / DEPTH_MM) * (from_middle_mm > MEDIASTINUM_MM)
    return (lungs > 0) * near * (0.25 + (1.0 - up) ** 1.5) * (0.25 + back**1.5)


def with_noise(hu: np.ndarray, lesions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Give painted lesions, which are smooth, the noise that the scan has in soft tissue.

    Args:
        hu: int16 (z, y, x).
        lesions: bool (z, y, x).
        random: source of randomness.

    Returns:
        int16 (z, y, x).
    """
    lowest, highest = SOFT_TISSUE_HU
    detail = hu - ndimage.gaussian_filter(hu.astype(np.float32), (0.0, 1.5, 1.5))
    sd = 1.4826 * np.median(np.abs(detail[(hu > lowest) & (hu < highest)]))
    noise = ndimage.gaussian_filter(
        random.standard_normal(hu.shape), (0.0, NOISE_WIDTH_VOXELS, NOISE_WIDTH_VOXELS)
    )
    share = ndimage.gaussian_filter(lesions.astype(np.float32), 1.0)
    return np.rint(hu + share * noise * (sd / noise.std())).astype(np.int16)


def sample_chest(scan: CTVolume) -> tuple[CTVolume, np.ndarray]:
    """The chest with painted lesions, and its labels: what is painted, and the rest of the lungs.

    The lungs are those found before anything was painted. The same scan gives the same voxels.
    """
    ct = cropped(lps_oriented(scan)[0])
    spacing_mm = ct.geometry.spacing_mm
    anatomy = segment_lungs(ct.hu, spacing_mm)
    airways = segment_airways(ct.hu, anatomy, spacing_mm)
    random = np.random.default_rng(SEED)
    chances = chances_of_lesions(anatomy.lungs, spacing_mm)
    hu, labels = paint_lesions(ct.hu, anatomy.lungs, airways, spacing_mm, random, LESIONS, chances)
    hu = with_noise(hu, labels > NORMAL_LUNG.value, random)
    hu = np.clip(np.rint(hu / HU_STEP) * HU_STEP, *HU_RANGE).astype(np.int16)
    return replace(ct, hu=hu), labels


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Make the chest to try the module on.")
    parser.add_argument("ct", type=Path, help="lidc_0001")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    ct, labels = sample_chest(read_ct(arguments.ct))
    file = arguments.output / CT_FILE
    write_image(file, ct.hu, ct.geometry)
    write_segmentation(arguments.output / TRUTH_FILE, labels, ct.geometry)
    print(f"{file.stat().st_size / 1e6:.1f} MB, SHA-256 {_sha256(file)}")
    for label in (NORMAL_LUNG, GGO, HIGH_OPACITY):
        count = np.count_nonzero(labels == label.value)
        percent = 100.0 * count / np.count_nonzero(labels)
        print(f"{label.name}: {count * ct.geometry.voxel_volume_ml:.0f} mL, {percent:.1f} %")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
