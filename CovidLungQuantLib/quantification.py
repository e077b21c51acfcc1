"""What a run is asked for and what it gives: options, provenance and the quantification."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.ct import CTVolume, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.airways_and_vessels import (
    AIRWAYS_AND_VESSELS_CHOICES,
    FIND_AIRWAYS_AND_VESSELS,
    NO_AIRWAYS_AND_VESSELS,
    REMOVE_AIRWAYS_AND_VESSELS,
)
from CovidLungQuantLib.lesions.kinds import DENSITY, check_kinds
from CovidLungQuantLib.measures.lesion_islands import LesionIsland, map_islands
from CovidLungQuantLib.measures.measurements import Measurements
from CovidLungQuantLib.models.registry import model_path

if TYPE_CHECKING:
    from CovidLungQuantLib.lesions.enhancement import Enhancement

# Ways to come by the lobes.
AUTOMATIC_LOBES = "automatic"
NO_LOBES = "none"
GIVEN_LOBES = "given"


@dataclass(frozen=True)
class Options:
    """What the user may choose.

    Attributes:
        device: "auto", "cpu", "cuda" or "mps".
        model: name of a shipped model or path of a weights file; None is the default model.
        kinds: how GGO is told from high opacity inside lesions; see `lesions.kinds.KIND_CHOICES`.
        artery_hu: density of the pulmonary artery for kinds "artery"; None measures it.
        lobes: "automatic" or "none"; lobes given to `quantify` win.
        airways_and_vessels: "none", "find", or "remove" to take those that lie in normal lung out
            of the lesions, too; see `lesions.airways_and_vessels`.
        enhance: enhance the parenchyma, see `lesions.enhancement`; airways and vessels are then
            found whatever `airways_and_vessels` says.
        mirror: show the network the mirror image, too, and take the mean; takes twice its time.
        keep_probability: keep the network's lesion probability, so that its sensitivity can be
            changed afterwards; the label map is the same.
    """

    device: str = "auto"
    model: str | None = None
    kinds: str = DENSITY
    artery_hu: float | None = None
    lobes: str = AUTOMATIC_LOBES
    airways_and_vessels: str = NO_AIRWAYS_AND_VESSELS
    enhance: bool = False
    mirror: bool = False
    keep_probability: bool = False


def check_choices(options: Options) -> None:
    """Refuse options that nobody could follow; needs no PyTorch and says nothing of the device.

    Raises:
        BadInputError: unknown model, kinds, lobes or way with vessels, or a density that cannot be.
    """
    if options.lobes not in (AUTOMATIC_LOBES, NO_LOBES):
        raise BadInputError(
            f"“{options.lobes}” is no way to come by the lobes; use {AUTOMATIC_LOBES} or "
            f"{NO_LOBES}."
        )
    if options.airways_and_vessels not in AIRWAYS_AND_VESSELS_CHOICES:
        raise BadInputError(
            f"“{options.airways_and_vessels}” is nothing that can be done about airways and "
            f"vessels; use {NO_AIRWAYS_AND_VESSELS}, {FIND_AIRWAYS_AND_VESSELS} or "
            f"{REMOVE_AIRWAYS_AND_VESSELS}."
        )
    check_kinds(options.kinds, options.artery_hu)
    model_path(options.model)


@dataclass(frozen=True)
class Provenance:
    """What made a result; every field is written next to the numbers.

    `model_sha256` and `lung_model_sha256` are None where no network ran (measuring only).
    `lobe_model_name` and `lobe_model_sha256` are None where the lobes were given or not looked for.
    `lesion_margin` is that of `lesions.probability`; None where no network ran.
    `review` is what a reader decided, as `measures.review.Review.record` gives it; None where
    nobody did. `corrected_by` is the name that a reader typed who saved it as corrected.
    """

    software_version: str
    model_name: str | None
    model_sha256: str | None
    device: str | None
    options: dict[str, str | float | bool | None]
    timings_s: dict[str, float]
    lung_model_name: str | None = None
    lung_model_sha256: str | None = None
    lobe_model_name: str | None = None
    lobe_model_sha256: str | None = None
    lesion_margin: float | None = None
    review: list[dict[str, Any]] | None = None
    corrected_by: str | None = None

    @property
    def changed_voxels(self) -> int:
        """How many voxels of the network's label map a person has changed since."""
        return int(self.options.get("changed_voxels") or 0)

    @property
    def is_automatic(self) -> bool:
        """Whether the label map is as a network made it."""
        return self.model_name is not None and self.changed_voxels == 0


@dataclass(frozen=True, eq=False)
class Quantification:
    """A finished run.

    Attributes:
        ct: the scan it belongs to.
        labels: uint8 (z, y, x) on the scan's own grid; values as in `labels.py`.
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` / `RIGHT_LUNG_VALUE` wherever `labels` > 0.
        measurements: per region, with scores where there are lobes.
        lobes: uint8 (z, y, x), values of `labels.LOBES` wherever `labels` > 0; None without lobes.
        segments: uint8 (z, y, x), values of `labels.LUNG_SEGMENTS`, likewise.
        airways_and_vessels: uint8 (z, y, x), values of `labels.AIRWAYS_AND_VESSELS`, vessels inside
            the lungs only; None where not looked for.
        lesion_probability: uint8 (z, y, x), codes of `lesions.probability`, 0 outside the lungs;
            None where not kept.
        lung_decisions: uint8 (z, y, x), where the lung network differs from the threshold,
            values of `anatomy.lung_anatomy`; None where it did nowhere, or did not run.
        enhancement: arrays on the scan's own grid; None where not asked for, or impossible, which
            a warning then says.
        warnings: of the scan and of the run.
        provenance: what made it.
    """

    ct: CTVolume
    labels: np.ndarray
    lungs: np.ndarray
    measurements: Measurements
    warnings: tuple[ScanWarning, ...] = field(default=())
    provenance: Provenance | None = None
    lobes: np.ndarray | None = None
    segments: np.ndarray | None = None
    airways_and_vessels: np.ndarray | None = None
    enhancement: Enhancement | None = None
    lung_decisions: np.ndarray | None = None
    lesion_probability: np.ndarray | None = None

    @cached_property
    def lesion_islands(self) -> tuple[LesionIsland, ...]:
        """The lesions one by one, largest first, worked out when first asked for."""
        return map_islands(
            self.labels,
            self.ct.geometry.spacing_mm,
            lobes=self.lobes,
            lungs=self.lungs,
            hu=self.ct.hu,
            probability=self.lesion_probability,
        ).islands


@dataclass(frozen=True, eq=False)
class EnhancedScan:
    """An enhanced scan with what was taken out of it; arrays (z, y, x) on the scan's own grid.

    Attributes:
        ct: the scan it belongs to.
        labels: uint8, the lesions that were kept out of the baseline; values as in `labels.py`.
        airways: bool, lumen of trachea and bronchi.
        vessels: bool, arteries and veins inside the lungs.
        enhancement: the enhanced volume and its numbers.
        warnings: of the scan and of the run.
    """

    ct: CTVolume
    labels: np.ndarray
    airways: np.ndarray
    vessels: np.ndarray
    enhancement: Enhancement
    warnings: tuple[ScanWarning, ...] = field(default=())
