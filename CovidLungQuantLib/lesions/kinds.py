"""Telling GGO from high opacity inside lesions: the network's classes or a rule on density.

Every rule compares the density of the lesion around a voxel: the mean HU over the lesion voxels in
a square of 5 mm in its slice, so that noise, small vessels and the air beside a lesion do not
decide and the result is not peppered. The size was chosen on the readers' own lesions of five
scans, where 3 to 8 mm do about equally well and no smoothing does worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.anatomy.pulmonary_artery import estimate_pulmonary_artery_hu
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.progress import Poll, no_poll

SMOOTHING_MM = 5.0
# Pan et al. 2021: GGO from −750 to −350 HU, consolidation above.
LESION_ABOVE_HU = -750.0
HIGH_OPACITY_ABOVE_HU = -350.0
# Bartoli et al. 2022 compare with the pulmonary artery and state no margin. At the artery's own
# density hardly any consolidation is left: it holds open bronchi and shares voxels with lung. In
# the readers' lesions of five scans high opacity has Dice 0.18, 0.44 and 0.64 with a margin of 100,
# 200 and 400 HU; above 200 HU it would no longer be the artery that is compared with.
ARTERY_MARGIN_HU = 200.0
POSSIBLE_ARTERY_HU = (-100.0, 1000.0)

DENSITY = "density"
THRESHOLDS = "thresholds"
ARTERY = "artery"
NETWORK = "network"
# How GGO and high opacity can be told apart inside the lesions the network finds.
KIND_CHOICES: dict[str, str] = {
    DENSITY: "by density inside lesions, high opacity above −350 HU (Pan et al. 2021)",
    THRESHOLDS: "by the thresholds of Pan et al. 2021 inside lesions: normal lung below −750 HU, "
    "GGO from −750 to −350 HU, high opacity above",
    ARTERY: "by density relative to the pulmonary artery inside lesions (Bartoli et al. 2022): "
    f"high opacity from {ARTERY_MARGIN_HU:.0f} HU below the artery upwards",
    NETWORK: "by the network's own classes",
}


@dataclass(frozen=True, eq=False)
class KindsResult:
    """Lesions told apart.

    Attributes:
        labels: uint8 (z, y, x), values of `labels.py`.
        note: how it was done, with the numbers used; for the table's footnotes.
        warnings: of measuring the pulmonary artery.
    """

    labels: np.ndarray
    note: str
    warnings: tuple[ScanWarning, ...] = ()


def check_kinds(kinds: str, artery_hu: float | None = None) -> None:
    """Refuse an unknown choice, before any work.

    Raises:
        BadInputError: with what can be chosen.
    """
    if kinds not in KIND_CHOICES:
        raise BadInputError(
            f"“{kinds}” is no way to tell lesions apart; use one of {', '.join(KIND_CHOICES)}."
        )
    if artery_hu is None:
        return
    if kinds != ARTERY:
        raise BadInputError(
            "A density of the pulmonary artery is of use only where GGO and high opacity are told "
            f"apart by it; choose kinds “{ARTERY}” or leave it out."
        )
    lowest_hu, highest_hu = POSSIBLE_ARTERY_HU
    if not lowest_hu <= artery_hu <= highest_hu:
        raise BadInputError(
            f"{artery_hu:g} HU cannot be the density of the pulmonary artery; give a number from "
            f"{lowest_hu:.0f} to {highest_hu:.0f}.".replace("-", "−")
        )


def tell_kinds_apart(
    labels: np.ndarray,
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    anatomy: LungAnatomy,
    kinds: str = DENSITY,
    artery_hu: float | None = None,
    poll: Poll = no_poll,
    device: str = "cpu",
) -> KindsResult:
    """Relabel the lesions by the chosen rule.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`, with the network's own kinds.
        hu: int16 (z, y, x), upright.
        spacing_mm: voxel size (x, y, z).
        anatomy: of the same scan; only looked at to measure the pulmonary artery.
        kinds: one of `KIND_CHOICES`.
        artery_hu: the pulmonary artery's density where the user knows it; None measures it.
        poll: called between slices and steps; may raise `Cancelled`.
        device: where the lesions were found; a "cuda" device does this, too.

    Raises:
        BadInputError: unknown `kinds`, or an `artery_hu` that cannot be or is not used.
    """
    check_kinds(kinds, artery_hu)
    text = f"GGO and high opacity are told apart {KIND_CHOICES[kinds]}"
    if kinds == NETWORK:
        return KindsResult(labels, f"{text}.")
    text += f"; compared is the mean of the lesion over {SMOOTHING_MM:.0f} mm in its slice"
    if kinds == DENSITY:
        relabelled = classify_by_density(labels, hu, spacing_mm, poll=poll, device=device)
        return KindsResult(relabelled, f"{text}.")
    if kinds == THRESHOLDS:
        relabelled = classify_by_density(
            labels, hu, spacing_mm, lesion_above_hu=LESION_ABOVE_HU, poll=poll, device=device
        )
        return KindsResult(
            relabelled, f"{text}. What is as dark as normal lung is not counted as lesion."
        )
    if artery_hu is None:
        estimate = estimate_pulmonary_artery_hu(hu, anatomy, spacing_mm)
        artery_hu, warnings = estimate.hu, estimate.warnings
        origin = (
            f"median of {estimate.core_ml:.0f} mL of heart and great vessels"
            if estimate.core_ml
            else "assumed"
        )
    else:
        warnings, origin = (), "given by the user"
    threshold_hu = artery_hu - ARTERY_MARGIN_HU
    numbers = f"pulmonary artery {artery_hu:.0f} HU ({origin}), threshold {threshold_hu:.0f} HU"
    return KindsResult(
        classify_by_density(labels, hu, spacing_mm, threshold_hu, poll=poll, device=device),
        f"{text}; {numbers.replace('-', '−')}.",
        warnings,
    )


def classify_by_density(
    labels: np.ndarray,
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    high_opacity_above_hu: float = HIGH_OPACITY_ABOVE_HU,
    lesion_above_hu: float = -math.inf,
    poll: Poll = no_poll,
    device: str = "cpu",
) -> np.ndarray:
    """Make each lesion voxel high opacity, GGO or (below `lesion_above_hu`) normal lung.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`.
        hu: int16 (z, y, x).
        spacing_mm: voxel size (x, y, z).
        high_opacity_above_hu: of the smoothed density; see the top of this file.
        lesion_above_hu: likewise; by default every lesion voxel remains lesion.
        poll: called before each slice; may raise `Cancelled`.
        device: "cuda" works there, as far as its memory goes, anything else on the CPU.

    Returns:
        uint8 (z, y, x): `labels` with lesions relabelled, all else as it was.
    """
    size = smoothing_voxels(spacing_mm)
    if device == "cuda":
        # Whoever corrects a result needs no PyTorch.
        from CovidLungQuantLib.lesions.kinds_on_gpu import classify_on_gpu
        from CovidLungQuantLib.lesions.window_runner import is_out_of_memory

        try:
            return classify_on_gpu(
                labels, hu, size, high_opacity_above_hu, lesion_above_hu, device, poll
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    margins = tuple(voxels // 2 for voxels in size)
    relabelled = labels.copy()
    for index, plane in enumerate(labels):
        if plane.max() < GGO.value:
            continue
        poll()
        # What lies farther from a lesion than the filter reaches has no part in it.
        box = bounding_box(is_lesion(plane), margins)
        lesion = is_lesion(plane[box])
        weight = ndimage.uniform_filter(lesion.astype(np.float32), size)
        total = ndimage.uniform_filter(np.where(lesion, hu[index][box], np.float32(0)), size)
        mean_hu = total[lesion] / weight[lesion]
        kind = np.where(mean_hu > high_opacity_above_hu, HIGH_OPACITY.value, GGO.value)
        kind[mean_hu < lesion_above_hu] = NORMAL_LUNG.value
        relabelled[index][box][lesion] = kind
    return relabelled


def smoothing_voxels(spacing_mm: tuple[float, float, float]) -> tuple[int, int]:
    """Return `SMOOTHING_MM` in voxels along (y, x): odd, as an even number would lie aside."""
    rows, columns = (
        2 * max(0, round((SMOOTHING_MM / spacing - 1) / 2)) + 1
        for spacing in (spacing_mm[1], spacing_mm[0])
    )
    return rows, columns


def tell_added_apart(
    labels: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float], added: np.ndarray
) -> None:
    """Make added lesion GGO or high opacity by its density, in place; other keeps its kind.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`, lesion wherever `added`.
        hu: int16 (z, y, x).
        spacing_mm: voxel size (x, y, z).
        added: bool (z, y, x).
    """
    margins = tuple(size // 2 for size in smoothing_voxels(spacing_mm))
    for index in np.flatnonzero(added.any(axis=(1, 2))):
        box = (slice(index, index + 1), *bounding_box(added[index], margins))
        np.copyto(
            labels[box], classify_by_density(labels[box], hu[box], spacing_mm), where=added[box]
        )
