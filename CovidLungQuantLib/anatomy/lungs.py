"""Body, airways and both lungs of a chest CT: by their air, and as the lung network sees them.

`threshold_lungs` finds the aerated lungs with fine borders, `lung_network` says on a coarse grid
what is lung though it holds no air, and what holds air and is no lung; `lung_agreement` states the
one rule that joins both. Arrays are (z, y, x) and upright: x grows to the patient's Left, y to
Posterior, z to Superior.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from CovidLungQuantLib.anatomy.airless_lung import (
    SMALLEST_TOLD_ML,
    airless_lungs,
    airless_warning,
)
from CovidLungQuantLib.anatomy.lung_agreement import JoinedLungs, join_lungs, removed_ml
from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lung_network import (
    AIRWAY_CLASS,
    ELSEWHERE_CLASS,
    GAS_CLASS,
    PNEUMOTHORAX_CLASS,
    ChestNetwork,
    onto_grid,
    shares_on_grid,
)
from CovidLungQuantLib.anatomy.lung_weights import shipped_lung_network
from CovidLungQuantLib.anatomy.sides import split_left_right
from CovidLungQuantLib.anatomy.threshold_lungs import NO_LUNGS_MESSAGE, find_body_and_air
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import LUNG_REGIONS
from CovidLungQuantLib.progress import ProgressCallback, no_progress, polling, subrange

__all__ = ["segment_lungs", "split_left_right"]

Spacing = tuple[float, float, float]

SMALLEST_LUNGS_ML = 200.0
CUT_AREA_MM2 = 500.0
# What is said of parts that the network took for one of its classes.
LEFT_OUT_WARNINGS = {
    GAS_CLASS: ScanWarning(
        "gas_left_out",
        "What looks like gas of stomach or bowel does not count as lung ({ml:.0f} mL); compare "
        "with the scan.",
    ),
    PNEUMOTHORAX_CLASS: ScanWarning(
        "pneumothorax_left_out",
        "What looks like a pneumothorax does not count as lung ({ml:.0f} mL); compare with the "
        "scan.",
    ),
    ELSEWHERE_CLASS: ScanWarning(
        "tissue_left_out",
        "What looks like tissue beside the lungs does not count as lung ({ml:.0f} mL); compare "
        "with the scan.",
    ),
    AIRWAY_CLASS: ScanWarning(
        "airway_left_out",
        "What looks like large airways does not count as lung ({ml:.0f} mL); compare with the "
        "scan.",
    ),
}


def segment_lungs(
    hu: np.ndarray,
    spacing_mm: Spacing,
    progress: ProgressCallback = no_progress,
    network: ChestNetwork | None = None,
) -> LungAnatomy:
    """Find body, airways and both lungs.

    Args:
        hu: int16 Hounsfield units (z, y, x), upright (x→Left, y→Posterior, z→Superior).
        spacing_mm: voxel size (x, y, z).
        progress: progress callback; may raise `Cancelled`.
        network: on the CPU; the shipped one by default.

    Raises:
        BadInputError: there are no lungs in the scan.
    """
    found = find_body_and_air(hu, spacing_mm, subrange(progress, 0.0, 0.9))
    if not found.lungs.any():
        # The network alone would see lungs in a head: nobody lives without air in them.
        raise BadInputError(NO_LUNGS_MESSAGE)
    poll = polling(progress, 0.9, "Looking for dense lung")
    coarse_hu = onto_grid(hu, spacing_mm, poll)
    shares = shares_on_grid(coarse_hu, network or shipped_lung_network(), poll)
    joined = join_lungs(hu, found, shares, spacing_mm, poll, coarse_hu.numpy())
    poll()
    if (joined.lungs > 0).sum() * float(np.prod(spacing_mm)) / 1000 < SMALLEST_LUNGS_ML:
        raise BadInputError(NO_LUNGS_MESSAGE)
    decisions = joined.decisions
    warnings = _cut_warning(joined.lungs, spacing_mm)
    if decisions is not None:
        poll()
        warnings += (
            *map(airless_warning, airless_lungs(hu, joined.added, joined.lungs, spacing_mm)),
            *_suspicions(joined, spacing_mm),
            *left_out_warnings(joined, spacing_mm),
        )
    progress(1.0, "Found the lungs")
    return LungAnatomy(joined.lungs, found.body, found.airways, warnings, decisions)


def _suspicions(joined: JoinedLungs, spacing_mm: Spacing) -> Iterator[ScanWarning]:
    """What may be lung without air, but is not counted."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    for value, region in LUNG_REGIONS.items():
        volume_ml = float((joined.suspected == value).sum()) * voxel_ml
        if volume_ml >= SMALLEST_TOLD_ML:
            yield ScanWarning(
                "dense_lung_suspected",
                f"{volume_ml:.0f} mL beside the {region} may be lung without air, but the lung "
                "network is not sure and they do not count; compare with the scan and add what is "
                "lung by hand.",
            )


def left_out_warnings(joined: JoinedLungs, spacing_mm: Spacing) -> Iterator[ScanWarning]:
    """What the network took out of the lungs, all of it, with its millilitres.

    Little of one class stands with the class of which there is most.
    """
    volumes_ml = {
        network_class: removed_ml(joined, network_class, spacing_mm)
        for network_class in LEFT_OUT_WARNINGS
    }
    most = max(volumes_ml, key=lambda network_class: volumes_ml[network_class])
    little = {
        network_class
        for network_class, volume_ml in volumes_ml.items()
        if volume_ml < SMALLEST_TOLD_ML and network_class != most
    }
    volumes_ml[most] += sum(volumes_ml.pop(network_class) for network_class in little)
    for network_class, volume_ml in volumes_ml.items():
        if volume_ml > 0:
            warning = LEFT_OUT_WARNINGS[network_class]
            yield replace(warning, message=warning.message.format(ml=volume_ml))


def _cut_warning(lungs: np.ndarray, spacing_mm: Spacing) -> tuple[ScanWarning, ...]:
    """A warning where the lungs reach an end or a side of the scan; nothing otherwise.

    Whether the volumes found are plausible is for `measures` to say, after every correction too.
    """
    x_mm, y_mm, z_mm = spacing_mm
    found = lungs > 0
    ends_mm2 = {
        "bottom": found[0].sum() * x_mm * y_mm,
        "top": found[-1].sum() * x_mm * y_mm,
        "side": max(
            found[:, :, [0, -1]].sum(axis=(0, 1)).max() * y_mm * z_mm,
            found[:, [0, -1], :].sum(axis=(0, 2)).max() * x_mm * z_mm,
        ),
    }
    cut = [name for name, area_mm2 in ends_mm2.items() if area_mm2 > CUT_AREA_MM2]
    if not cut:
        return ()
    return (
        ScanWarning(
            "lungs_cut",
            f"The lungs are cut at the {' and '.join(cut)} of the scan, so volumes are too small "
            "and percentages hold for the part seen only.",
        ),
    )
