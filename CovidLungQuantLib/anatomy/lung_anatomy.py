"""What was found of body, airways and lungs; needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import AIRLESS_LUNG

# What a part that the lung network decided on was found by.
DECISION_METHOD_NAME = "lung network and threshold"
# Codes of the warnings that say where the lung network differs and what came of it.
LUNG_DECISION_CODES = (
    "airless_lung_counted",
    "fluid_counted_as_lung",
    "lung_added",
    "dense_lung_suspected",
    "gas_left_out",
    "pneumothorax_left_out",
    "tissue_left_out",
    "airway_left_out",
)


@dataclass(frozen=True, eq=False)
class LungAnatomy:
    """What `segment_lungs` found, on the grid of the scan, arrays (z, y, x).

    Attributes:
        lungs: uint8, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, 0 elsewhere; dense lesions, small
            vessels and small bronchi belong to the lung, trachea and main bronchi do not.
        body: bool, the trunk with everything in it; table and clothes excluded.
        airways: bool, lumen of trachea and main bronchi, as far as they can be followed safely.
        warnings: what the user should know.
        decisions: uint8, where the lung network differs from the threshold, values of
            `labels.LUNG_DECISIONS`; None where it does nowhere.
    """

    lungs: np.ndarray
    body: np.ndarray
    airways: np.ndarray
    warnings: tuple[ScanWarning, ...] = field(default=())
    decisions: np.ndarray | None = None

    @property
    def airless(self) -> np.ndarray:
        """Lung without air that the lung network took in, bool (z, y, x)."""
        if self.decisions is None:
            return np.zeros(self.lungs.shape, bool)
        return self.decisions == AIRLESS_LUNG.value
