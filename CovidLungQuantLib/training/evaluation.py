"""How well label maps agree with a reader's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, UNKNOWN_LUNG_VALUE
from CovidLungQuantLib.lesions.inference import segment_lesions
from CovidLungQuantLib.lesions.kinds import classify_by_density
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.measures.against_reader import class_slices
from CovidLungQuantLib.measures.overlap import dice
from CovidLungQuantLib.measures.structures import LESION, LUNG, structure_mask
from CovidLungQuantLib.training.data import AnnotatedScan

THRESHOLD_BASELINE_HU = -650


@dataclass(frozen=True)
class CaseAgreement:
    """Agreement of one case; volumes in mL, Dice NaN where the reader marked nothing.

    Voxels of which the reader did not know whether they are lung count as no lesion and are left
    out of lung and extents. Class figures are taken on the slices without lesion of unknown class
    (see `measures.against_reader.class_slices`), with the kinds told apart by density; `network_…`
    are those of the network's own classes. `sure_slices` counts those of them that hold lesion.
    """

    case: str
    reference_extent_percent: float
    extent_percent: float
    reference_lesion_ml: float
    lesion_ml: float
    lesion_dice: float
    lung_dice: float
    lesion_inside_lungs_percent: float
    sure_slices: int
    ggo_dice: float
    high_opacity_dice: float
    network_ggo_dice: float
    network_high_opacity_dice: float
    reference_ggo_ml: float
    ggo_ml: float
    reference_high_opacity_ml: float
    high_opacity_ml: float
    threshold_lesion_dice: float


def threshold_lesions(scan: AnnotatedScan) -> np.ndarray:
    """The baseline to beat: smoothed HU above −650 inside the reader's own lungs, as booleans.

    A median filter and an opening, slice by slice, take away noise and most vessels.
    """
    smooth = ndimage.median_filter(scan.hu, size=(1, 5, 5))
    dense = (smooth > THRESHOLD_BASELINE_HU) & structure_mask(scan.labels, LUNG)
    row, column = np.ogrid[-2:3, -2:3]
    return ndimage.binary_opening(dense, structure=(row**2 + column**2 <= 4)[None])


def evaluate_case(
    scan: AnnotatedScan, anatomy: LungAnatomy, model: LoadedModel, mirror: bool = False
) -> tuple[CaseAgreement, np.ndarray]:
    """Run `model` on a scan and compare; returns the figures and the label map.

    `mirror` takes the mean with the mirror image, as in `segment_lesions`.
    """
    network_labels = segment_lesions(
        scan.hu, scan.spacing_mm, anatomy, model, "cpu", mirror=mirror
    ).labels
    labels = classify_by_density(network_labels, scan.hu, scan.spacing_mm)
    return compare_with_reader(scan, anatomy, labels, network_labels), labels


def compare_with_reader(
    scan: AnnotatedScan, anatomy: LungAnatomy, labels: np.ndarray, network_labels: np.ndarray
) -> CaseAgreement:
    """Figures for one label map, uint8 (z, y, x), against the reader's.

    `network_labels` are the same lesions with the network's own classes.
    """
    voxel_ml = float(np.prod(scan.spacing_mm)) / 1000.0
    reference_lesion = structure_mask(scan.labels, LESION)
    lesion = structure_mask(labels, LESION)
    counted = class_slices(scan.labels)

    def on_counted_slices(label_map: np.ndarray, value: int) -> np.ndarray:
        return label_map[counted] == value

    def volume_ml(mask: np.ndarray) -> float:
        return float(np.count_nonzero(mask) * voxel_ml)

    ggo = on_counted_slices(labels, GGO.value)
    reference_ggo = on_counted_slices(scan.labels, GGO.value)
    high_opacity = on_counted_slices(labels, HIGH_OPACITY.value)
    reference_high_opacity = on_counted_slices(scan.labels, HIGH_OPACITY.value)
    lungs = structure_mask(labels, LUNG) & (scan.labels != UNKNOWN_LUNG_VALUE)
    reference_lungs = structure_mask(scan.labels, LUNG)
    return CaseAgreement(
        case=scan.name,
        reference_extent_percent=_percent(reference_lesion, reference_lungs),
        extent_percent=_percent(lesion & lungs, lungs),
        reference_lesion_ml=volume_ml(reference_lesion),
        lesion_ml=volume_ml(lesion),
        lesion_dice=dice(lesion, reference_lesion),
        lung_dice=dice(lungs, reference_lungs),
        lesion_inside_lungs_percent=_percent(
            reference_lesion & (anatomy.lungs > 0), reference_lesion
        ),
        sure_slices=int(np.count_nonzero(reference_lesion[counted].any(axis=(1, 2)))),
        ggo_dice=dice(ggo, reference_ggo),
        high_opacity_dice=dice(high_opacity, reference_high_opacity),
        network_ggo_dice=dice(on_counted_slices(network_labels, GGO.value), reference_ggo),
        network_high_opacity_dice=dice(
            on_counted_slices(network_labels, HIGH_OPACITY.value), reference_high_opacity
        ),
        reference_ggo_ml=volume_ml(reference_ggo),
        ggo_ml=volume_ml(ggo),
        reference_high_opacity_ml=volume_ml(reference_high_opacity),
        high_opacity_ml=volume_ml(high_opacity),
        threshold_lesion_dice=dice(threshold_lesions(scan), reference_lesion),
    )


def _percent(part: np.ndarray, whole: np.ndarray) -> float:
    count = np.count_nonzero(whole)
    return float(100.0 * np.count_nonzero(part) / count) if count else float("nan")
