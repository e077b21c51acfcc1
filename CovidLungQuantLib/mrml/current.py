"""A result as it is now in the scene: the segments with the numbers of the table that fits them.

What is written, saved or taught is always this, never what an earlier run has left in memory.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.mrml.segmentation import PROVENANCE_ATTRIBUTE
from CovidLungQuantLib.mrml.table import TableRecord

if TYPE_CHECKING:
    from CovidLungQuantLib.measures.measurements import Measurements
    from CovidLungQuantLib.quantification import Provenance, Quantification


def numbers_fit(measurements: Measurements, labels: np.ndarray, voxel_volume_ml: float) -> bool:
    """Return whether the volumes of both lungs are those of a label map (z, y, x)."""
    counts = np.bincount(labels.ravel(), minlength=HIGH_OPACITY.value + 1)
    both = measurements.region(BOTH_LUNGS_REGION)
    return all(
        math.isclose(volume_ml, counts[label.value] * voxel_volume_ml, rel_tol=1e-9, abs_tol=1e-9)
        for label, volume_ml in (
            (NORMAL_LUNG, both.normal_ml),
            (GGO, both.ggo_ml),
            (HIGH_OPACITY, both.high_opacity_ml),
        )
    )


def with_record(measured: Quantification, record: TableRecord) -> Quantification:
    """Return `measured`, whose arrays are those of now, with what a table says of them."""
    return replace(
        measured,
        measurements=record.measurements,
        warnings=record.warnings,
        provenance=_provenance(record.provenance),
    )


def provenance_of(segmentation_node: Any) -> Provenance | None:
    """Return what made a segmentation before anyone corrected it; None where that is unknown."""
    text = segmentation_node.GetAttribute(PROVENANCE_ATTRIBUTE)
    return _provenance(json.loads(text)) if text else None


def _provenance(values: dict[str, Any] | None) -> Provenance | None:
    # Only here: it loads PyTorch.
    from CovidLungQuantLib.quantification import Provenance

    return None if values is None else Provenance(**values)
