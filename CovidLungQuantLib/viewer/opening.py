"""A folder of results, read again to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.counting import count
from CovidLungQuantLib.ct import CTVolume, ScanWarning, read_ct
from CovidLungQuantLib.display.numbers import decimal_text
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.lobes import read_lobes
from CovidLungQuantLib.files.names import (
    LOBES_FILE,
    PROBABILITY_FILE,
    RESULT_FILE,
    SCENE_FILE,
    SEGMENTATION_FILE,
)
from CovidLungQuantLib.files.scenes import read_ct_of_scene
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.files.tables import none_for_nan
from CovidLungQuantLib.labels import is_lung
from CovidLungQuantLib.measures.measurements import region_figures
from CovidLungQuantLib.progress import ProgressCallback, no_progress, subrange
from CovidLungQuantLib.quantification import Options, Provenance, Quantification
from CovidLungQuantLib.vetting import read_json, read_stored_image

# Means of the same voxels differ by rounding only.
SAME_MEAN_HU = 0.01

# Opens what was asked for, with a progress callback.
Opener = Callable[[ProgressCallback], "OpenedResult"]


@dataclass(frozen=True, eq=False)
class OpenedResult:
    """What a folder of results holds, before anything is measured.

    Attributes:
        folder: where it was read from.
        ct: the scan.
        labels: uint8 (z, y, x) on the scan's grid; values as in `labels.py`.
        machine_labels: the same as the network made it; None where that is not known.
        probability: uint8 (z, y, x), codes of `lesions.probability`; None where not kept.
        provenance: what made it; None where the folder does not say.
        warnings: of the run, as the folder says.
        notes: likewise.
    """

    folder: Path
    ct: CTVolume
    labels: np.ndarray
    machine_labels: np.ndarray | None = None
    probability: np.ndarray | None = None
    provenance: Provenance | None = None
    warnings: tuple[ScanWarning, ...] = ()
    notes: tuple[str, ...] = ()


def is_result(folder: Path | str) -> bool:
    """Whether a folder looks like a result of segment or measure."""
    return all((Path(folder) / name).is_file() for name in (RESULT_FILE, SEGMENTATION_FILE))


def check_has_ct(folder: Path, ct: Path | None) -> None:
    """Refuse a folder of results of which it is not known which scan it belongs to.

    Raises:
        BadInputError: neither holds it the scan, nor is the scan given.
    """
    if ct is None and not (folder / SCENE_FILE).is_file():
        raise BadInputError(
            f"{folder.name} does not hold the scan itself, as it was made without --scene; name "
            "the scan with --ct."
        )


def open_result(
    folder: Path | str, ct: Path | None = None, progress: ProgressCallback = no_progress
) -> OpenedResult:
    """Read a folder of results with its scan; nothing is measured.

    Args:
        folder: of segment or measure, or corrected in the viewer.
        ct: the scan; None takes that of the folder's scene.
        progress: progress callback.

    Raises:
        BadInputError: the folder holds no result, the scan is missing, or they do not belong
            together.
        OutOfResourcesError: the memory does not hold it.
    """
    folder = Path(folder)
    if not is_result(folder):
        raise BadInputError(
            f"{folder.name} holds no result ({RESULT_FILE} and {SEGMENTATION_FILE}); give a folder "
            "that segment or measure wrote."
        )
    check_has_ct(folder, ct)
    record = _read_record(folder)
    progress(0.0, "Reading the scan")
    scan = read_ct(ct) if ct is not None else read_ct_of_scene(folder / SCENE_FILE)
    progress(0.7, "Reading the segmentation")
    labels, warnings = read_segmentation(folder / SEGMENTATION_FILE, scan.geometry)
    _check_is_measured_scan(scan, labels, record, folder.name)
    provenance = record.provenance
    machine_labels = None
    if provenance is not None and provenance.is_automatic:
        machine_labels = labels.copy()
    elif is_result(folder.parent):
        machine_labels = _machine_labels_of(folder.parent, scan)
    progress(1.0, "Read")
    return OpenedResult(
        folder=folder,
        ct=replace(scan, warnings=(*scan.warnings, *warnings)),
        labels=labels,
        machine_labels=machine_labels,
        probability=_read_probability(folder, scan),
        provenance=provenance,
        warnings=record.warnings,
        notes=record.notes,
    )


def begun(opener: Opener) -> Opener:
    """Begin to open at once, in a thread, while the rest of the viewer is loaded.

    Returns:
        what waits for it and tells its progress from then on; raises what opening raises.
    """
    reports: list[ProgressCallback] = [no_progress]
    thread = ThreadPoolExecutor(1, "opening")
    opened = thread.submit(opener, lambda fraction, message: reports[-1](fraction, message))
    thread.shutdown(wait=False)

    def wait(progress: ProgressCallback) -> OpenedResult:
        reports.append(progress)
        return opened.result()

    return wait


def segment_first(
    ct: Path,
    folder: Path,
    options: Options,
    series: str | None = None,
    progress: ProgressCallback = no_progress,
) -> OpenedResult:
    """Segment a scan into a folder of results, as the command segment does, and open that.

    Raises:
        CovidLungQuantError: as `pipeline.quantify` and `outputs.folder.write_results`.
    """
    from CovidLungQuantLib.outputs.folder import write_results
    from CovidLungQuantLib.pipeline import quantify

    progress(0.0, "Reading the scan")
    scan = read_ct(ct, series)
    quantification = quantify(scan, options, subrange(progress, 0.05, 0.85))
    write_results(folder, quantification, scene=True, progress=subrange(progress, 0.85, 0.95))
    return open_result(folder, None, subrange(progress, 0.95, 1.0))


def measure_opened(
    opened: OpenedResult, progress: ProgressCallback = no_progress
) -> Quantification:
    """Measure what was opened, with the lobes of its folder, as the command measure does.

    Where counting gives the numbers that the folder says, no more is done.

    Raises:
        BadInputError: as `pipeline.measure`, or the folder's lobes cannot be read.
    """
    file = opened.folder / LOBES_FILE
    lobes = None
    if file.is_file():
        progress(0.0, "Reading the lobes")
        lobes = read_lobes(file, opened.ct.geometry)
    progress(0.3, "Counting")
    counted = count(opened.ct, opened.labels.copy(), lobes)
    if counted is not None and _figures(counted) == _read_record(opened.folder).figures:
        return counted
    # Imported here: it loads the network's libraries.
    from CovidLungQuantLib.pipeline import measure

    return measure(opened.ct, opened.labels.copy(), subrange(progress, 0.5, 1.0), lobes)


def _figures(counted: Quantification) -> list[dict[str, Any]]:
    return [none_for_nan(region_figures(region)) for region in counted.measurements.regions]


def _check_is_measured_scan(
    ct: CTVolume, labels: np.ndarray, record: _Record, folder_name: str
) -> None:
    """Refuse another scan on the same voxels, such as another reconstruction of it."""
    mean_hu = float(ct.hu[is_lung(labels)].mean(dtype=np.float64))
    if abs(mean_hu - record.mean_hu) > SAME_MEAN_HU:
        raise BadInputError(
            f"The lungs of this scan have {decimal_text(mean_hu, 2)} HU on average where "
            f"{folder_name} says {decimal_text(record.mean_hu, 2)}; give the scan it was measured "
            "on, or measure the segmentation again."
        )


def _machine_labels_of(folder: Path, ct: CTVolume) -> np.ndarray | None:
    """The label map that a corrected one was made from, where the folder around it holds it."""
    provenance = _read_record(folder).provenance
    if provenance is None or not provenance.is_automatic:
        return None
    return read_segmentation(folder / SEGMENTATION_FILE, ct.geometry)[0]


def _read_probability(folder: Path, ct: CTVolume) -> np.ndarray | None:
    """The codes of a folder that holds them; those that do not fit the scan are refused."""
    file = folder / PROBABILITY_FILE
    if not file.is_file():
        return None
    codes = read_stored_image(file).voxels
    if codes.shape != ct.hu.shape or codes.dtype != np.uint8:
        raise BadInputError(
            f"{file.name} in {folder.name} does not lie on the scan's voxels; remove it or segment "
            "again."
        )
    return codes


@dataclass(frozen=True)
class _Record:
    """What `result.json` says beside the numbers."""

    provenance: Provenance | None
    warnings: tuple[ScanWarning, ...]
    notes: tuple[str, ...]
    figures: list[dict[str, Any]]
    mean_hu: float


def _read_record(folder: Path) -> _Record:
    try:
        values = read_json(folder / RESULT_FILE)
        provenance = values["provenance"]
        return _Record(
            provenance=None if provenance is None else Provenance(**provenance),
            warnings=tuple(
                ScanWarning(str(warning["code"]), str(warning["message"]))
                for warning in values["warnings"]
            ),
            notes=tuple(str(note) for note in values["notes"]),
            figures=list(values["measurements"]),
            mean_hu=float(values["measurements"][0]["mean_hu"]),
        )
    except (BadInputError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{RESULT_FILE} in {folder.name} cannot be read; measure the segmentation again."
        ) from error
