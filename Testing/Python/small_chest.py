"""A chest small enough to be worked out by hand, with its label map and measurements."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.anatomy.segments import divide_into_segments
from CovidLungQuantLib.ct import CTVolume, Geometry, ScanWarning
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LEFT_LUNG_VALUE, NORMAL_LUNG
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.quantification import Provenance, Quantification

SHAPE = (12, 20, 24)
MODEL_NAME = "a model"
WARNING = ScanWarning("thick_slices", 'Slices are 6 mm thick – "blurred"; see a:b.')
# Turned about all three axes; exactly what numpy makes of it is kept everywhere.
OBLIQUE = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
OBLIQUE = OBLIQUE * np.sign(np.linalg.det(OBLIQUE))


def a_ct(direction: np.ndarray = OBLIQUE, name: str = "small chest") -> CTVolume:
    """Return a body with two lungs in air; lungs are parted at x = 12."""
    hu = np.full(SHAPE, -1000, dtype=np.int16)
    hu[:, 2:18, 1:23] = 40
    hu[2:10, 4:16, 3:11] = -850
    hu[2:10, 4:16, 13:21] = -850
    hu += np.random.default_rng(1).integers(-20, 20, SHAPE).astype(np.int16)
    geometry = Geometry(SHAPE, (0.7, 0.71, 2.1), (10.3, -20.7, 1000 / 3), direction)
    return CTVolume(hu, geometry, name)


VOXEL_ML = a_ct().geometry.voxel_volume_ml
LUNG_VOXELS = 2 * 8 * 12 * 8


def a_label_map() -> np.ndarray:
    """Return normal lung in both lungs, GGO in one and high opacity in the other."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[2:10, 4:16, 3:11] = NORMAL_LUNG.value
    labels[2:10, 4:16, 13:21] = NORMAL_LUNG.value
    labels[3:6, 5:9, 4:8] = GGO.value
    labels[5:8, 10:14, 15:18] = HIGH_OPACITY.value
    return labels


def labels_at(time_point: int) -> np.ndarray:
    """Return the label map at one of three time points: 48, 96 and 12 voxels of GGO."""
    labels = a_label_map()
    if time_point == 1:
        labels[6:9, 5:9, 4:8] = 2
    if time_point == 2:
        labels[3:6, 5:9, 5:8] = 1
    return labels


def a_lobe_map(lungs: np.ndarray) -> np.ndarray:
    """Return three lobes in one lung and two in the other, one above the other."""
    lobes = np.zeros(SHAPE, dtype=np.uint8)
    lobes[:4], lobes[4:7], lobes[7:] = 3, 2, 1
    left = np.where(np.arange(SHAPE[0]) < 6, 5, 4).astype(np.uint8)[:, None, None]
    return np.where(lungs == LEFT_LUNG_VALUE, left, lobes) * (lungs > 0).astype(np.uint8)


def a_quantification(
    ct: CTVolume | None = None,
    labels: np.ndarray | None = None,
    model_name: str | None = MODEL_NAME,
    lobes: bool = False,
) -> Quantification:
    """Return a finished run without having run the network; with lobes if asked for."""
    ct = ct or a_ct()
    labels = a_label_map() if labels is None else labels
    lungs = (labels > 0).astype(np.uint8)
    lungs[:, :, 12:] *= 2
    lobe_map = a_lobe_map(lungs) if lobes else None
    segments = None if lobe_map is None else divide_into_segments(lobe_map)
    return Quantification(
        ct=ct,
        labels=labels,
        lungs=lungs,
        measurements=measure_lungs(ct.hu, labels, lungs, ct.geometry.voxel_volume_ml, segments),
        lobes=lobe_map,
        segments=segments,
        warnings=(WARNING,),
        provenance=Provenance("0.1", model_name, "ab" * 32, "cpu", {"device": "cpu"}, {"all": 1.5}),
    )
