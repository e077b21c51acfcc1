"""A small scan with one airway, one vessel and one lesion, enhanced."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.ct import CTVolume, Geometry, ScanWarning
from CovidLungQuantLib.labels import AIRWAYS, GGO, NORMAL_LUNG, VESSELS
from CovidLungQuantLib.lesions.enhancement import enhance_parenchyma
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.quantification import Provenance, Quantification

SHAPE = (30, 60, 60)
SPACING_MM = (1.0, 1.0, 1.0)
PARENCHYMA_HU = -840
LUNG = (slice(2, 28), slice(2, 58), slice(2, 58))
AIRWAY = (slice(10, 28), slice(44, 48), slice(44, 48))
VESSEL = (slice(2, 28), slice(10, 14), slice(10, 50))
LESION = (slice(10, 20), slice(30, 40), slice(30, 40))
WARNING = ScanWarning("few_rings", "A warning of the enhancement.")


def an_enhanced_quantification(direction: np.ndarray | None = None) -> Quantification:
    """Return a finished run with airways, vessels and the enhanced scan; no network ran."""
    hu = np.full(SHAPE, 40, np.int16)
    labels, airways_and_vessels = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    hu[LUNG], labels[LUNG] = PARENCHYMA_HU, NORMAL_LUNG.value
    hu[AIRWAY], airways_and_vessels[AIRWAY] = -1000, AIRWAYS.value
    hu[VESSEL], airways_and_vessels[VESSEL] = 30, VESSELS.value
    hu[LESION], labels[LESION] = PARENCHYMA_HU + 300, GGO.value
    if direction is not None:
        flips = tuple(slice(None, None, int(sign)) for sign in np.diag(direction)[::-1])
        hu, labels, airways_and_vessels = (
            np.ascontiguousarray(array[flips]) for array in (hu, labels, airways_and_vessels)
        )
    geometry = Geometry(
        SHAPE, SPACING_MM, (1.0, 2.0, 3.0), np.eye(3) if direction is None else direction
    )
    enhancement = enhance_parenchyma(
        hu,
        labels,
        airways_and_vessels == AIRWAYS.value,
        airways_and_vessels == VESSELS.value,
        SPACING_MM,
        find_sub_visual=True,
    )
    lungs = (labels > 0).astype(np.uint8)
    return Quantification(
        ct=CTVolume(hu, geometry, "one vessel"),
        labels=labels,
        lungs=lungs,
        measurements=measure_lungs(hu, labels, lungs, geometry.voxel_volume_ml),
        warnings=(WARNING,),
        provenance=Provenance("0.1", "a model", "ab" * 32, "cpu", {"enhance": True}, {"all": 1.5}),
        airways_and_vessels=airways_and_vessels,
        enhancement=enhancement,
    )
