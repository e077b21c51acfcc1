"""The steps of a run that are made on request, what made a result, and the way back to its grid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib import __version__
from CovidLungQuantLib.anatomy.airway_tree import segment_airways
from CovidLungQuantLib.anatomy.lobe_weights import LOBE_MODEL_FILE, shipped_lobe_model_sha256
from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lung_weights import LUNG_MODEL_FILE, shipped_lung_model_sha256
from CovidLungQuantLib.anatomy.lungs import split_left_right
from CovidLungQuantLib.anatomy.vessels import segment_vessels
from CovidLungQuantLib.ct import CTVolume, Orientation, ScanWarning, restore_orientation
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import AIRWAYS, VESSELS, is_lung
from CovidLungQuantLib.lesions.airways_and_vessels import (
    NO_AIRWAYS_AND_VESSELS,
    REMOVE_AIRWAYS_AND_VESSELS,
    remove_airways_and_vessels,
)
from CovidLungQuantLib.lesions.enhancement import Enhancement, enhance_parenchyma
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.lesions.probability import LESION_MARGIN
from CovidLungQuantLib.measures.airways_and_vessels import missing_airways_or_vessels, removal_note
from CovidLungQuantLib.memory import give_back_memory
from CovidLungQuantLib.progress import ProgressCallback, subrange
from CovidLungQuantLib.quantification import GIVEN_LOBES, NO_LOBES, Options, Provenance


@dataclass(frozen=True, eq=False)
class Extras:
    """What a run finds on request after the lesions; arrays upright, as in `Quantification`."""

    labels: np.ndarray
    airways_and_vessels: np.ndarray | None = None
    enhancement: Enhancement | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[ScanWarning, ...] = ()


def find_extras(
    upright: CTVolume,
    labels: np.ndarray,
    anatomy: LungAnatomy,
    options: Options,
    timings: dict[str, float],
    progress: ProgressCallback,
) -> Extras:
    """Airways, vessels and the enhanced scan as far as the options ask for them."""
    if options.airways_and_vessels == NO_AIRWAYS_AND_VESSELS and not options.enhance:
        return Extras(labels)
    spacing_mm = upright.geometry.spacing_mm
    with timed(timings, "airways and vessels"):
        airways, vessels = find_airways_and_vessels(
            upright, labels, anatomy, subrange(progress, 0.7, 0.85)
        )
        airways_and_vessels = np.zeros(labels.shape, np.uint8)
        airways_and_vessels[vessels] = VESSELS.value
        airways_and_vessels[airways] = AIRWAYS.value
        notes: tuple[str, ...] = ()
        if options.airways_and_vessels == REMOVE_AIRWAYS_AND_VESSELS:
            network_labels = labels
            labels = remove_airways_and_vessels(network_labels, airways, vessels, spacing_mm)
            notes = (removal_note(network_labels, labels, upright.geometry.voxel_volume_ml),)
    warnings = missing_airways_or_vessels(airways, vessels)
    enhancement = None
    if options.enhance:
        with timed(timings, "enhancement"):
            try:
                enhancement = enhance_parenchyma(
                    upright.hu,
                    labels,
                    airways,
                    vessels,
                    spacing_mm,
                    find_sub_visual=True,
                    progress=subrange(progress, 0.85, 0.92),
                )
                warnings = (*warnings, *enhancement.warnings)
            except BadInputError as error:
                # The numbers of the lesions hold without it.
                warnings = (*warnings, ScanWarning("not_enhanced", str(error)))
    return Extras(labels, airways_and_vessels, enhancement, notes, warnings)


def find_airways_and_vessels(
    upright: CTVolume, labels: np.ndarray, found: LungAnatomy, progress: ProgressCallback
) -> tuple[np.ndarray, np.ndarray]:
    """Airways and vessels, bool (z, y, x); upright."""
    spacing_mm = upright.geometry.spacing_mm
    # The lungs of the label map count: lesions were added to them, or someone corrected them.
    anatomy = replace(found, lungs=split_left_right(is_lung(labels), spacing_mm))
    airways = segment_airways(upright.hu, anatomy, spacing_mm, subrange(progress, 0.0, 0.6))
    vessels = segment_vessels(upright.hu, anatomy, spacing_mm, subrange(progress, 0.6, 1.0))
    return airways, vessels


def check_airways_and_vessels(airways_and_vessels: np.ndarray | None, ct: CTVolume) -> None:
    """Refuse airways and vessels of another grid than the scan's.

    Raises:
        BadInputError: they do not lie on its voxels.
    """
    if airways_and_vessels is not None and airways_and_vessels.shape != ct.hu.shape:
        raise BadInputError(
            "The airways and vessels do not lie on the voxels of the scan; find them again."
        )


def provenance_of(
    model: LoadedModel,
    device: str,
    options: Options,
    lobes: np.ndarray | None,
    timings: dict[str, float],
) -> Provenance:
    """What made the result of a whole run; `lobes` are those the user gave."""
    return Provenance(
        software_version=__version__,
        model_name=model.name,
        model_sha256=model.sha256,
        device=device,
        options={
            **asdict(options),
            # A result travels; the folders of the computer that made it do not.
            "model": options.model and Path(options.model).name,
            "lobes": options.lobes if lobes is None else GIVEN_LOBES,
        },
        timings_s=timings,
        lesion_margin=LESION_MARGIN,
        lung_model_name=LUNG_MODEL_FILE.stem,
        lung_model_sha256=shipped_lung_model_sha256(),
        **lobe_model(lobes, options.lobes),
    )


def lobe_model(given: np.ndarray | None, option: str) -> dict[str, Any]:
    """Fields of `Provenance` that say what found the lobes."""
    if given is not None or option == NO_LOBES:
        return {}
    return {
        "lobe_model_name": LOBE_MODEL_FILE.stem,
        "lobe_model_sha256": shipped_lobe_model_sha256(),
    }


def restored(array: np.ndarray | None, orientation: Orientation) -> np.ndarray | None:
    """An upright array on the scan's own grid; None stays None."""
    return None if array is None else restore_orientation(array, orientation)


def restored_probability(
    probability: np.ndarray | None, labels: np.ndarray, orientation: Orientation
) -> np.ndarray | None:
    """Codes of lesion probability (upright) on the scan's own grid, 0 outside its lungs."""
    if probability is None:
        return None
    return np.where(is_lung(labels), restore_orientation(probability, orientation), np.uint8(0))


def restored_enhancement(enhancement: Enhancement, orientation: Orientation) -> Enhancement:
    """An upright enhanced scan on the scan's own grid."""
    return replace(
        enhancement,
        enhanced_hu=restore_orientation(enhancement.enhanced_hu, orientation),
        airways_and_vessels=restore_orientation(enhancement.airways_and_vessels, orientation),
        sub_visual=restored(enhancement.sub_visual, orientation),
    )


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Note how many seconds a step took; memory it needed on its way is given back."""
    start = time.perf_counter()
    yield
    give_back_memory()
    timings[name] = time.perf_counter() - start
