"""The numbers of a result that was measured before, taken up again by counting alone.

Counting is quick. What takes long when measuring, checking that scan, lungs and lobes are what they
seem to be, need not be done again where counting gives the numbers that are already known.
"""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.anatomy.segments import divide_into_segments
from CovidLungQuantLib.anatomy.sides import split_left_right
from CovidLungQuantLib.ct import CTVolume, lps_oriented, orient_like, restore_orientation
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import BACKGROUND_VALUE, LOBES, is_lung
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.quantification import Quantification


def count(ct: CTVolume, labels: np.ndarray, lobes: np.ndarray | None) -> Quantification | None:
    """Return a label map with its numbers, to be compared with those that are known.

    Args:
        ct: the scan.
        labels: uint8 (z, y, x) on the scan's grid; values as in `labels.py`.
        lobes: uint8 (z, y, x), values of `labels.LOBES`, as they were measured with; or None.

    Returns:
        As `pipeline.measure`, but for provenance and for what that checks and warns of besides;
        None where the lobes are not exactly the lungs, so that these are to be divided anew.

    Raises:
        BadInputError: the label map does not fit the scan.
    """
    check_labels(labels, ct.hu.shape)
    upright, orientation = lps_oriented(ct)
    lung = is_lung(labels)
    segments = None
    if lobes is None:
        sides = split_left_right(orient_like(lung, orientation), upright.geometry.spacing_mm)
        lungs = restore_orientation(sides, orientation)
    else:
        lungs = lungs_of_lobes(lobes)
        if ((lungs != BACKGROUND_VALUE) != lung).any():
            return None
        upright_lobes = orient_like(lobes, orientation)
        segments = restore_orientation(divide_into_segments(upright_lobes), orientation)
    measurements = measure_lungs(ct.hu, labels, lungs, ct.geometry.voxel_volume_ml, segments)
    return Quantification(
        ct=ct,
        labels=labels,
        lungs=lungs,
        measurements=measurements,
        warnings=(*ct.warnings, *measurements.warnings),
        lobes=lobes,
        segments=segments,
    )


def lungs_of_lobes(lobes: np.ndarray) -> np.ndarray:
    """Return left and right lung, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, of lobes."""
    lung = np.full(256, BACKGROUND_VALUE, np.uint8)
    for lobe in LOBES:
        lung[lobe.value] = lobe.lung_value
    return lung[lobes]
