"""The one way through: CT → lungs → lobes → lesions → numbers. The only file that knows the order.

On request, airways and vessels are found after the lesions, and the parenchyma is enhanced.

The button, the script, the command line and the batch all call `quantify`; after a manual
correction only `measure` runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from CovidLungQuantLib import __version__
from CovidLungQuantLib.anatomy.airway_tree import segment_airways
from CovidLungQuantLib.anatomy.lobe_labels import fit_lobes_to_lungs
from CovidLungQuantLib.anatomy.lobe_weights import LOBE_MODEL_FILE, shipped_lobe_model_sha256
from CovidLungQuantLib.anatomy.lobes import LobeSegmentation, segment_lobes
from CovidLungQuantLib.anatomy.lungs import LungAnatomy, segment_lungs, split_left_right
from CovidLungQuantLib.anatomy.segments import divide_into_segments
from CovidLungQuantLib.anatomy.vessels import segment_vessels
from CovidLungQuantLib.ct import (
    CTVolume,
    Orientation,
    ScanWarning,
    lps_oriented,
    orient_like,
    restore_orientation,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import AIRWAYS, VESSELS, is_lung
from CovidLungQuantLib.lesions.airways_and_vessels import (
    FIND_TUBES,
    NO_TUBES,
    REMOVE_TUBES,
    remove_tubes,
)
from CovidLungQuantLib.lesions.enhancement import RINGS, Enhancement, enhance_parenchyma
from CovidLungQuantLib.lesions.inference import choose_device, segment_lesions
from CovidLungQuantLib.lesions.kinds import DENSITY, check_kinds, tell_kinds_apart
from CovidLungQuantLib.lesions.lesion_model import load_model
from CovidLungQuantLib.measures.airways_and_vessels import (
    measure_airways_and_vessels,
    missing_airways_or_vessels,
    removal_note,
    volumes_note,
)
from CovidLungQuantLib.measures.measurements import Measurements, measure_lungs
from CovidLungQuantLib.measures.volumes import check_labels
from CovidLungQuantLib.progress import ProgressCallback, no_progress, subrange

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
        enhance: enhance the parenchyma, see `lesions.enhancement`; airways and vessels are then found
            whatever `airways_and_vessels` says.
        mirror: show the network the mirror image, too, and take the mean; takes twice its time.
    """

    device: str = "auto"
    model: str | None = None
    kinds: str = DENSITY
    artery_hu: float | None = None
    lobes: str = AUTOMATIC_LOBES
    airways_and_vessels: str = NO_TUBES
    enhance: bool = False
    mirror: bool = False


@dataclass(frozen=True)
class Provenance:
    """What made a result; every field is written next to the numbers.

    `model_sha256` is None where no network ran (measuring only). `lobe_model_name` and
    `lobe_model_sha256` are None where the lobes were given or not looked for.
    """

    software_version: str
    model_name: str | None
    model_sha256: str | None
    device: str | None
    options: dict[str, str | float | bool | None]
    timings_s: dict[str, float]
    lobe_model_name: str | None = None
    lobe_model_sha256: str | None = None

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


def check_options(options: Options) -> None:
    """Refuse options that cannot be followed here, before a scan is read.

    Raises:
        BadInputError: unknown or missing device, unknown kinds, lobes or way with vessels, or a
            density that cannot be.
    """
    if options.lobes not in (AUTOMATIC_LOBES, NO_LOBES):
        raise BadInputError(
            f"“{options.lobes}” is no way to come by the lobes; use {AUTOMATIC_LOBES} or "
            f"{NO_LOBES}."
        )
    if options.airways_and_vessels not in (NO_TUBES, FIND_TUBES, REMOVE_TUBES):
        raise BadInputError(
            f"“{options.airways_and_vessels}” is nothing that can be done about airways and "
            f"vessels; use {NO_TUBES}, {FIND_TUBES} or {REMOVE_TUBES}."
        )
    choose_device(options.device)
    check_kinds(options.kinds, options.artery_hu)


def quantify(
    ct: CTVolume,
    options: Options | None = None,
    progress: ProgressCallback = no_progress,
    lobes: np.ndarray | None = None,
) -> Quantification:
    """Segment the lungs, lobes and lesions of `ct` and measure them.

    Args:
        ct: the scan.
        options: what the user chose; None is the default.
        progress: progress callback.
        lobes: lobes the user already has, uint8 (z, y, x) on the scan's grid, values of
            `labels.LOBES`; they are cut to the lungs and filled up. None finds them as `options`
            say.

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
    with _timed(timings, "model"):
        model = load_model(options.model)
    upright, orientation = lps_oriented(ct)
    with _timed(timings, "lungs"):
        anatomy = segment_lungs(
            upright.hu, upright.geometry.spacing_mm, subrange(progress, 0.02, 0.2)
        )
    with _timed(timings, "lobes"):
        found_lobes = _lobes_of(
            upright,
            anatomy.lungs,
            options.lobes,
            None if lobes is None else orient_like(lobes, orientation),
            subrange(progress, 0.2, 0.3),
        )
    with _timed(timings, "lesions"):
        lesions = segment_lesions(
            upright.hu,
            upright.geometry.spacing_mm,
            anatomy,
            model,
            options.device,
            subrange(progress, 0.3, 0.7),
            options.mirror,
        )
        kinds = tell_kinds_apart(
            lesions.labels,
            upright.hu,
            upright.geometry.spacing_mm,
            anatomy,
            options.kinds,
            options.artery_hu,
        )
    extras = _find_extras(upright, kinds.labels, anatomy, options, timings, progress)
    labels = restore_orientation(extras.labels, orientation)
    with _timed(timings, "measuring"):
        measured = measure(
            ct,
            labels,
            subrange(progress, 0.92, 1.0),
            _restored(None if found_lobes is None else found_lobes.lobes, orientation),
            airways_and_vessels=_restored(extras.airways_and_vessels, orientation),
        )
    return Quantification(
        ct=ct,
        labels=labels,
        lungs=measured.lungs,
        measurements=replace(
            measured.measurements,
            notes=(*measured.measurements.notes, kinds.note, *extras.notes),
        ),
        lobes=measured.lobes,
        segments=measured.segments,
        airways_and_vessels=measured.airways_and_vessels,
        enhancement=_restored_enhancement(extras.enhancement, orientation),
        warnings=(
            *measured.warnings,
            *anatomy.warnings,
            *(found_lobes.warnings if found_lobes is not None else ()),
            *lesions.warnings,
            *kinds.warnings,
            *extras.warnings,
        ),
        provenance=Provenance(
            software_version=__version__,
            model_name=model.name,
            model_sha256=model.sha256,
            device=lesions.device,
            # A result travels; the folders of the computer that made it do not.
            options={
                **asdict(options),
                "model": options.model and Path(options.model).name,
                "lobes": options.lobes if lobes is None else GIVEN_LOBES,
            },
            timings_s=timings,
            **_lobe_model(lobes, options.lobes),
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
        BadInputError: the label map, the lobes or the airways and vessels do not fit the scan.
        Cancelled: `progress` raised it.
    """
    check_labels(labels, ct.hu.shape)
    if airways_and_vessels is not None and airways_and_vessels.shape != ct.hu.shape:
        raise BadInputError(
            "The airways and vessels do not lie on the voxels of the scan; find them again."
        )
    timings: dict[str, float] = {}
    with _timed(timings, "measuring"):
        progress(0.0, "Telling left from right lung")
        upright, orientation = lps_oriented(ct)
        upright_labels = orient_like(labels, orientation)
        spacing_mm = upright.geometry.spacing_mm
        upright_lungs = split_left_right(is_lung(upright_labels), spacing_mm)
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
            progress(0.6, "Dividing the lobes into regions")
            segments = restore_orientation(divide_into_segments(found.lobes), orientation)
        progress(0.8, "Measuring")
        voxel_ml = ct.geometry.voxel_volume_ml
        measurements = measure_lungs(ct.hu, labels, lungs, voxel_ml, segments)
        if airways_and_vessels is not None:
            note = volumes_note(measure_airways_and_vessels(airways_and_vessels, labels, voxel_ml))
            measurements = replace(measurements, notes=(*measurements.notes, note))
        progress(1.0, "Measured")
    return Quantification(
        ct=ct,
        labels=labels,
        lungs=lungs,
        measurements=measurements,
        warnings=(
            *ct.warnings,
            *measurements.warnings,
            *(found.warnings if found is not None else ()),
        ),
        provenance=Provenance(
            software_version=__version__,
            model_name=None,
            model_sha256=None,
            device=None,
            options={"lobes": lobe_option if lobes is None else GIVEN_LOBES},
            timings_s=timings,
            **_lobe_model(lobes, lobe_option),
        ),
        lobes=_restored(None if found is None else found.lobes, orientation),
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
        progress(0.0, "Fitting the lobes to the lungs")
        return LobeSegmentation(
            fit_lobes_to_lungs(given, lungs, spacing_mm, "The lobe segmentation")
        )
    if option == NO_LOBES:
        return None
    return segment_lobes(upright.hu, lungs, spacing_mm, progress)


def _lobe_model(given: np.ndarray | None, option: str) -> dict[str, str]:
    """Fields of `Provenance` that say what found the lobes."""
    if given is not None or option == NO_LOBES:
        return {}
    return {
        "lobe_model_name": LOBE_MODEL_FILE.stem,
        "lobe_model_sha256": shipped_lobe_model_sha256(),
    }


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


def enhance(
    ct: CTVolume,
    labels: np.ndarray,
    baseline: str = RINGS,
    find_sub_visual: bool = False,
    progress: ProgressCallback = no_progress,
) -> EnhancedScan:
    """Enhance the parenchyma of a scan whose lungs and lesions are known; see `lesions.enhancement`.

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
    airways, vessels = _find_airways_and_vessels(
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
        enhancement=_restored_enhancement(enhancement, orientation),
        warnings=(
            *ct.warnings,
            *missing_airways_or_vessels(airways, vessels),
            *enhancement.warnings,
        ),
    )


@dataclass(frozen=True, eq=False)
class _Extras:
    """What a run finds on request after the lesions; arrays upright, as in `Quantification`."""

    labels: np.ndarray
    airways_and_vessels: np.ndarray | None = None
    enhancement: Enhancement | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[ScanWarning, ...] = ()


def _find_extras(
    upright: CTVolume,
    labels: np.ndarray,
    anatomy: LungAnatomy,
    options: Options,
    timings: dict[str, float],
    progress: ProgressCallback,
) -> _Extras:
    """Airways, vessels and the enhanced scan as far as the options ask for them."""
    if options.airways_and_vessels == NO_TUBES and not options.enhance:
        return _Extras(labels)
    spacing_mm = upright.geometry.spacing_mm
    with _timed(timings, "airways and vessels"):
        airways, vessels = _find_airways_and_vessels(
            upright, labels, anatomy, subrange(progress, 0.7, 0.85)
        )
        tubes = np.zeros(labels.shape, np.uint8)
        tubes[vessels] = VESSELS.value
        tubes[airways] = AIRWAYS.value
        notes: tuple[str, ...] = ()
        if options.airways_and_vessels == REMOVE_TUBES:
            network_labels = labels
            labels = remove_tubes(network_labels, airways, vessels, spacing_mm)
            notes = (removal_note(network_labels, labels, upright.geometry.voxel_volume_ml),)
    warnings = missing_airways_or_vessels(airways, vessels)
    enhancement = None
    if options.enhance:
        with _timed(timings, "enhancement"):
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
    return _Extras(labels, tubes, enhancement, notes, warnings)


def _find_airways_and_vessels(
    upright: CTVolume, labels: np.ndarray, found: LungAnatomy, progress: ProgressCallback
) -> tuple[np.ndarray, np.ndarray]:
    """Airways and vessels, bool (z, y, x); upright."""
    spacing_mm = upright.geometry.spacing_mm
    # The lungs of the label map count: lesions were added to them, or someone corrected them.
    anatomy = replace(found, lungs=split_left_right(is_lung(labels), spacing_mm))
    airways = segment_airways(upright.hu, anatomy, spacing_mm, subrange(progress, 0.0, 0.6))
    vessels = segment_vessels(upright.hu, anatomy, spacing_mm, subrange(progress, 0.6, 1.0))
    return airways, vessels


def _restored(array: np.ndarray | None, orientation: Orientation) -> np.ndarray | None:
    return None if array is None else restore_orientation(array, orientation)


def _restored_enhancement(
    enhancement: Enhancement | None, orientation: Orientation
) -> Enhancement | None:
    if enhancement is None:
        return None
    return replace(
        enhancement,
        enhanced_hu=restore_orientation(enhancement.enhanced_hu, orientation),
        tubes=restore_orientation(enhancement.tubes, orientation),
        sub_visual=_restored(enhancement.sub_visual, orientation),
    )


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start
