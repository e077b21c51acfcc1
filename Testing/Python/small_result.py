"""A folder of results that is quick to make and to open: two boxes of lung with four lesions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import CTVolume, Geometry
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.lesions.probability import DECISION_CODE
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.pipeline import measure
from CovidLungQuantLib.quantification import Provenance, Quantification

SHAPE = (40, 64, 80)
SPACING_MM = (4.5, 4.5, 6.0)
# Lesions (z, y, x): of both kinds, the largest; two of GGO; one of high opacity.
MIXED = (slice(10, 18), slice(30, 40), slice(18, 28))
UPPER = (slice(26, 31), slice(22, 28), slice(46, 52))
LOWER = (slice(9, 13), slice(34, 38), slice(52, 56))
DENSE = (slice(20, 23), slice(22, 25), slice(30, 33))
# Around LOWER, where the network almost saw lesion.
PENUMBRA = (slice(8, 14), slice(33, 39), slice(51, 57))


def small_ct() -> CTVolume:
    """Return a body of tissue with two boxes of lung and the lesions in them."""
    labels = small_labels()
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 10:54, 8:72] = 40
    for value, level_hu in ((1, -850), (2, -550), (3, -50)):
        hu[labels == value] = level_hu
    hu += np.random.default_rng(0).integers(-20, 21, SHAPE).astype(np.int16)
    geometry = Geometry(SHAPE, SPACING_MM, (-170.0, -140.0, -900.0), np.eye(3))
    return CTVolume(hu, geometry, "small scan")


def small_labels() -> np.ndarray:
    """Return its label map."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:34, 18:46, 14:38] = 1
    labels[6:34, 18:46, 43:64] = 1
    labels[MIXED] = 2
    labels[16:18, 30:40, 18:28] = 3
    labels[UPPER] = labels[LOWER] = 2
    labels[DENSE] = 3
    return labels


def small_probability() -> np.ndarray:
    """Return codes that made these lesions, with lower ones around the lower one."""
    labels = small_labels()
    codes = np.where(labels > 0, 5, 0).astype(np.uint8)
    codes[PENUMBRA] = DECISION_CODE - 20
    codes[labels > 1] = 200
    return codes


def small_quantification() -> Quantification:
    """Return it as a network would have left it."""
    measured = measure(small_ct(), small_labels(), lobe_option="automatic")
    provenance = Provenance(
        "0.1", "a model", "ab" * 32, "cpu", {"device": "cpu", "kinds": "density"}, {"all": 1.5}
    )
    return replace(measured, lesion_probability=small_probability(), provenance=provenance)


def write_small_result(folder: Path, scene: bool = False) -> tuple[Path, Path]:
    """Write its results and its scan; return (result folder, file of the scan)."""
    quantification = small_quantification()
    write_results(folder / "result", quantification, scene=scene)
    ct = quantification.ct
    write_image(folder / "scan.nrrd", ct.hu, ct.geometry)
    return folder / "result", folder / "scan.nrrd"
