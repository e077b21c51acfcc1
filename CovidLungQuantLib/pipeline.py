"""The one way through: CT → lungs → lobes → lesions → numbers. The only file that knows the order.

On request, airways and vessels are found after the lesions, and the parenchyma is enhanced.

The button, the script, the command line and the batch all call `quantify`; after a manual
correction only `measure` runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from CovidLungQuantLib import __version__
from CovidLungQuantLib.anatomy.chest_orientation import check_chest_orientation
from CovidLungQuantLib.anatomy.label_map_fit import check_label_map
from CovidLungQuantLib.anatomy.lobe_fitting import fit_lobes_to_lungs
from CovidLungQuantLib.anatomy.lobes import LobeSegmentation, lobes_from_lungs, segment_lobes
from CovidLungQuantLib.anatomy.lost_lung import check_lungs
from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs, split_left_right
from CovidLungQuantLib.anatomy.segments import divide_into_segments
from CovidLungQuantLib.ct import (
    CTVolume,
    Geometry,
    ScanWarning,
    lps_oriented,
    orient_like,
    restore_orientation,
)
from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import is_lung
from CovidLungQuantLib.lesions.enhancement import RINGS, Enhancement, enhance_parenchyma
from CovidLungQuantLib.lesions.inference import LesionSegmentation, choose_device, segment_lesions
from CovidLungQuantLib.lesions.kinds import KindsResult, tell_kinds_apart
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.measures.airways_and_vessels import (
    measure_airways_and_vessels,
    missing_airways_or_vessels,
    volumes_note,
)
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.pipeline_extras import (
    check_airways_and_vessels,
    find_airways_and_vessels,
    find_extras,
    lobe_model,
    provenance_of,
    restored,
    restored_enhancement,
    restored_probability,
    timed,
)
from CovidLungQuantLib.progress import ProgressCallback, no_progress, polling, subrange
from CovidLungQuantLib.quantification import (
    GIVEN_LOBES,
    NO_LOBES,
    EnhancedScan,
    Options,
    Provenance,
    Quantification,
    check_choices,
)


def check_options(options: Options) -> None:
    """Refuse options that cannot be followed here, before a scan is read.

    Raises:
        BadInputError: unknown or missing device, or options `check_choices` refuses.
    """
    check_choices(options)
    choose_device(options.device)


def quantify(
    ct: CTVolume,
    options: Options | None = None,
    progress: ProgressCallback = no_progress,
    lobes: np.ndarray | None = None,
    show_lungs: Callable[[np.ndarray], None] | None = None,
) -> Quantification:
    """Segment the lungs, lobes and lesions of `ct` and measure them.

    Args:
        ct: the scan.
        options: what the user chose; None is the default.
        progress: progress callback.
        lobes: lobes the user already has, uint8 (z, y, x) on the scan's grid, values of
            `labels.LOBES`; they are cut to the lungs and filled up. None finds them as `options`
            say.
        show_lungs: called once with the lungs, long before the rest is there: uint8 (z, y, x) on
            the scan's grid, `labels.LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, 0 elsewhere.

    Raises:
        BadInputError: no lungs found, unknown model, lobes that leave a lung uncovered, or options
            `check_options` refuses.
        OutOfResourcesError: memory ran out, also on the CPU.
        Cancelled: `progress` raised it.
    """
    options = options or Options()
    check_options(options)
    timings: dict[str, float] = {}
    progress(0.0, "Loading the model")
    with timed(timings, "model"):
        model = load_model(options.model)
    found = _find(ct, options, model, lobes, timings, progress, show_lungs)
    with timed(timings, "measuring"):
        measured = _measured(
            ct,
            found.labels,
            subrange(progress, 0.92, 1.0),
            found.lobes,
            airways_and_vessels=found.airways_and_vessels,
        )
    return replace(
        measured,
        measurements=replace(
            measured.measurements, notes=(*measured.measurements.notes, *found.notes)
        ),
        enhancement=found.enhancement,
        warnings=(*measured.warnings, *found.warnings),
        lung_decisions=found.lung_decisions,
        lesion_probability=found.lesion_probability,
        provenance=provenance_of(model, found.device, options, lobes, timings),
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """What is found in a scan before it is measured, on its own grid; as in `Quantification`."""

    labels: np.ndarray
    lobes: np.ndarray | None
    airways_and_vessels: np.ndarray | None
    enhancement: Enhancement | None
    lung_decisions: np.ndarray | None
    lesion_probability: np.ndarray | None
    device: str
    notes: tuple[str, ...]
    warnings: tuple[ScanWarning, ...]


def _find(
    ct: CTVolume,
    options: Options,
    model: LoadedModel,
    given_lobes: np.ndarray | None,
    timings: dict[str, float],
    progress: ProgressCallback,
    show_lungs: Callable[[np.ndarray], None] | None,
) -> _Found:
    """Lungs, lobes and lesions; what they were made from is not kept, since it fills memory."""
    progress(0.01, "Checking how the patient lies")
    upright, orientation = lps_oriented(ct)
    spacing_mm = upright.geometry.spacing_mm
    with timed(timings, "lungs"):
        orientation_warnings = check_chest_orientation(upright.hu, spacing_mm)
        anatomy = segment_lungs(upright.hu, spacing_mm, subrange(progress, 0.02, 0.2))
    if show_lungs is not None:
        show_lungs(restore_orientation(anatomy.lungs, orientation))
    with timed(timings, "lobes"):
        found_lobes = _lobes_of(
            upright,
            anatomy.lungs,
            options.lobes,
            None if given_lobes is None else orient_like(given_lobes, orientation),
            subrange(progress, 0.2, 0.3),
        )
    with timed(timings, "lesions"):
        lesions, kinds = _find_lesions(
            upright, anatomy, model, options, subrange(progress, 0.3, 0.7)
        )
    extras = find_extras(upright, kinds.labels, anatomy, options, timings, progress)
    labels = restore_orientation(extras.labels, orientation)
    return _Found(
        labels=labels,
        lobes=restored(None if found_lobes is None else found_lobes.lobes, orientation),
        airways_and_vessels=restored(extras.airways_and_vessels, orientation),
        enhancement=(
            None
            if extras.enhancement is None
            else restored_enhancement(extras.enhancement, orientation)
        ),
        lung_decisions=restored(anatomy.decisions, orientation),
        lesion_probability=restored_probability(lesions.probability, labels, orientation),
        device=lesions.device,
        notes=(kinds.note, *extras.notes),
        warnings=(
            *orientation_warnings,
            *anatomy.warnings,
            *(found_lobes.warnings if found_lobes is not None else ()),
            *lesions.warnings,
            *kinds.warnings,
            *extras.warnings,
        ),
    )


def measure(
    ct: CTVolume,
    labels: np.ndarray,
    progress: ProgressCallback = no_progress,
    lobes: np.ndarray | None = None,
    lobe_option: str = NO_LOBES,
    airways_and_vessels: np.ndarray | None = None,
) -> Quantification:
    """Measure a label map that already exists; the lesion network does not run.

    Left and right lung are derived from the label map alone, and lobes are only cut to the lungs
    and filled up, so the same label map and lobes always give the same numbers, whoever drew them.

    Args:
        ct: the scan.
        labels: uint8 (z, y, x) on the scan's grid; values as in `labels.py`.
        progress: progress callback.
        lobes: uint8 (z, y, x) on the scan's grid, values of `labels.LOBES`, as found by an earlier
            run or given by the user.
        lobe_option: what to do without `lobes`: "automatic" finds them, "none" measures the lungs
            only.
        airways_and_vessels: uint8 (z, y, x) on the scan's grid, values of
            `labels.AIRWAYS_AND_VESSELS`, as found by an earlier run; only their volumes are
            measured.

    Raises:
        BadInputError: the label map, the lobes or the airways and vessels do not fit the scan, or
            the scan lies in another way than its header says.
        Cancelled: `progress` raised it.
    """
    check_labels(labels, ct.hu.shape)
    check_airways_and_vessels(airways_and_vessels, ct)
    upright, orientation = lps_oriented(ct)
    spacing_mm = upright.geometry.spacing_mm
    warnings = (
        *check_chest_orientation(upright.hu, spacing_mm),
        *check_label_map(upright.hu, orient_like(labels, orientation), spacing_mm),
    )
    measured = _measured(ct, labels, progress, lobes, lobe_option, airways_and_vessels)
    return replace(measured, warnings=(*measured.warnings, *warnings))


def _measured(
    ct: CTVolume,
    labels: np.ndarray,
    progress: ProgressCallback,
    lobes: np.ndarray | None,
    lobe_option: str = NO_LOBES,
    airways_and_vessels: np.ndarray | None = None,
) -> Quantification:
    """As `measure`, of a label map that fits the scan."""
    timings: dict[str, float] = {}
    with timed(timings, "measuring"):
        poll = polling(progress, 0.0, "Telling left from right lung")
        upright, orientation = lps_oriented(ct)
        spacing_mm = upright.geometry.spacing_mm
        upright_lungs = split_left_right(
            is_lung(orient_like(labels, orientation)), spacing_mm, poll
        )
        lungs = restore_orientation(upright_lungs, orientation)
        found = _lobes_of(
            upright,
            upright_lungs,
            lobe_option,
            None if lobes is None else orient_like(lobes, orientation),
            subrange(progress, 0.2, 0.6),
        )
        segments = None
        if found is not None:
            poll = polling(progress, 0.6, "Dividing the lobes into regions")
            segments = restore_orientation(divide_into_segments(found.lobes, poll), orientation)
        poll = polling(progress, 0.8, "Measuring")
        voxel_ml = ct.geometry.voxel_volume_ml
        measurements = measure_lungs(ct.hu, labels, lungs, voxel_ml, segments)
        if airways_and_vessels is not None:
            note = volumes_note(measure_airways_and_vessels(airways_and_vessels, labels, voxel_ml))
            measurements = replace(measurements, notes=(*measurements.notes, note))
        lung_warnings = check_lungs(upright.hu, upright_lungs, spacing_mm, poll)
        progress(1.0, "Measured")
    return Quantification(
        ct=ct,
        labels=labels,
        lungs=lungs,
        measurements=measurements,
        warnings=(
            *ct.warnings,
            *measurements.warnings,
            *lung_warnings,
            *(found.warnings if found is not None else ()),
        ),
        provenance=Provenance(
            software_version=__version__,
            model_name=None,
            model_sha256=None,
            device=None,
            options={"lobes": lobe_option if lobes is None else GIVEN_LOBES},
            timings_s=timings,
            **lobe_model(lobes, lobe_option),
        ),
        lobes=restored(None if found is None else found.lobes, orientation),
        segments=segments,
        airways_and_vessels=airways_and_vessels,
    )


def _lobes_of(
    upright: CTVolume,
    lungs: np.ndarray,
    option: str,
    given: np.ndarray | None,
    progress: ProgressCallback,
) -> LobeSegmentation | None:
    """The lobes of the lungs (upright): those given, or as the option says."""
    spacing_mm = upright.geometry.spacing_mm
    if given is not None:
        poll = polling(progress, 0.0, "Fitting the lobes to the lungs")
        return LobeSegmentation(
            fit_lobes_to_lungs(given, lungs, spacing_mm, "The lobe segmentation", poll)
        )
    if option == NO_LOBES:
        return None
    return segment_lobes(upright.hu, lungs, spacing_mm, progress)


def _find_lesions(
    upright: CTVolume,
    anatomy: LungAnatomy,
    model: LoadedModel,
    options: Options,
    progress: ProgressCallback,
) -> tuple[LesionSegmentation, KindsResult]:
    """Lesions as the network sees them, and told apart as the options say."""
    spacing_mm = upright.geometry.spacing_mm
    lesions = segment_lesions(
        upright.hu,
        spacing_mm,
        anatomy,
        model,
        options.device,
        progress,
        options.mirror,
        options.keep_probability,
    )
    poll = polling(progress, 1.0, "Telling GGO from high opacity")
    kinds = tell_kinds_apart(
        lesions.labels,
        upright.hu,
        spacing_mm,
        anatomy,
        options.kinds,
        options.artery_hu,
        poll,
        lesions.device,
    )
    return lesions, kinds


def find_lobes(ct: CTVolume, progress: ProgressCallback = no_progress) -> LobeSegmentation:
    """Find the lungs of a scan and divide them into lobes; nothing is measured.

    Args:
        ct: the scan.
        progress: progress callback.

    Returns:
        Lobes uint8 (z, y, x) on the scan's own grid, values of `labels.LOBES`, and the warnings of
        scan, lungs and lobes.

    Raises:
        BadInputError: no lungs found.
        Cancelled: `progress` raised it.
    """
    upright, orientation = lps_oriented(ct)
    spacing_mm = upright.geometry.spacing_mm
    anatomy = segment_lungs(upright.hu, spacing_mm, subrange(progress, 0.0, 0.5))
    found = segment_lobes(upright.hu, anatomy.lungs, spacing_mm, subrange(progress, 0.5, 1.0))
    return LobeSegmentation(
        restore_orientation(found.lobes, orientation),
        (*ct.warnings, *anatomy.warnings, *found.warnings),
    )


def lobes_of_lungs(lungs: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Divide a lung mask into lobes by its shape alone.

    Args:
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`.
        geometry: of the mask.

    Returns:
        uint8 (z, y, x) on the same grid, values of `labels.LOBES`.

    Raises:
        BadInputError: no lungs in it.
    """
    orientation = orientation_of(geometry)
    spacing_mm = oriented_geometry(geometry, orientation).spacing_mm
    lobes = lobes_from_lungs(orient_like(lungs, orientation), spacing_mm)
    return restore_orientation(lobes, orientation)


def enhance(
    ct: CTVolume,
    labels: np.ndarray,
    baseline: str = RINGS,
    find_sub_visual: bool = False,
    progress: ProgressCallback = no_progress,
) -> EnhancedScan:
    """Enhance a scan whose lungs and lesions are known; see `lesions.enhancement`.

    Args:
        ct: the scan.
        labels: uint8 (z, y, x) on the scan's grid; values as in `labels.py`.
        baseline: one of `lesions.enhancement.BASELINE_CHOICES`.
        find_sub_visual: look for sub-visual lesions too.
        progress: progress callback.

    Raises:
        BadInputError: the label map does not fit the scan or leaves too little parenchyma.
        Cancelled: `progress` raised it.
    """
    check_labels(labels, ct.hu.shape)
    upright, orientation = lps_oriented(ct)
    spacing_mm = upright.geometry.spacing_mm
    found = segment_lungs(upright.hu, spacing_mm, subrange(progress, 0.0, 0.3))
    upright_labels = orient_like(labels, orientation)
    airways, vessels = find_airways_and_vessels(
        upright, upright_labels, found, subrange(progress, 0.3, 0.8)
    )
    enhancement = enhance_parenchyma(
        upright.hu,
        upright_labels,
        airways,
        vessels,
        spacing_mm,
        baseline,
        find_sub_visual,
        subrange(progress, 0.8, 1.0),
    )
    return EnhancedScan(
        ct=ct,
        labels=labels,
        airways=restore_orientation(airways, orientation),
        vessels=restore_orientation(vessels, orientation),
        enhancement=restored_enhancement(enhancement, orientation),
        warnings=(
            *ct.warnings,
            *missing_airways_or_vessels(airways, vessels),
            *enhancement.warnings,
        ),
    )
