"""One scan from its files to its result folder, in whatever process a worker runs.

Whatever goes wrong comes back as an outcome, never as an exception: what the scan is to blame for
sets it aside, what would befall every scan stops the batch.
"""

from __future__ import annotations

import gc
import platform
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from CovidLungQuantLib import __version__
from CovidLungQuantLib.batch.found_scan import FoundScan
from CovidLungQuantLib.batch.identifiers import without_names
from CovidLungQuantLib.batch.lock import holds
from CovidLungQuantLib.batch.places import Places
from CovidLungQuantLib.batch.records import OUT_OF_MEMORY, REFUSED, UNEXPECTED
from CovidLungQuantLib.batch.thumbnail import write_thumbnail
from CovidLungQuantLib.ct import CTVolume, read_ct
from CovidLungQuantLib.ct.dicom import read_dicom_files
from CovidLungQuantLib.errors import BadInputError, Cancelled, OutOfResourcesError
from CovidLungQuantLib.files.disk import DISK_FULL_ERRORS
from CovidLungQuantLib.files.names import THUMBNAIL_FILE
from CovidLungQuantLib.lesions.lesion_model import load_model
from CovidLungQuantLib.memory import give_back_memory
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.pipeline import quantify
from CovidLungQuantLib.progress import ProgressCallback, no_progress
from CovidLungQuantLib.quantification import Options, Quantification
from CovidLungQuantLib.threads import computing_threads

# Kinds of outcomes beside those of failures.
FINISHED, WORKER_LOST, STOP = "finished", "worker lost", "stop"
SECONDS_BETWEEN_LOOKS = 2.0
PROBE_BYTES = 1 << 16


@dataclass(frozen=True)
class ScanTask:
    """What a worker needs to know of a scan.

    Attributes:
        scan_id: what it is called.
        scan: where it lies; its names do not leave the worker.
        options: of the run.
        model_sha256: of the weights that the batch uses.
        out: output folder of the batch.
        token: of its lock, while it runs.
        root: folder without which no scan can be read.
        attempt: from 1.
        threads: to compute with; results may depend on it in the last digit.
        keep_identifiers: leave names in results and sentences.
        scene: write scene.mrb, too.
        pdf: write the report as PDF, too.
        software_version: of whoever asks.
    """

    scan_id: str
    scan: FoundScan
    options: Options
    model_sha256: str
    out: Path
    token: str
    root: Path
    attempt: int = 1
    threads: int = 1
    keep_identifiers: bool = False
    scene: bool = False
    pdf: bool = False
    software_version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """What came of a scan.

    Attributes:
        kind: "finished", a kind of failure of `records`, "worker lost" or "stop".
        sentence: why, without names; empty where it is finished.
        peak_mib: the most memory its process has had so far.
    """

    kind: str
    sentence: str = ""
    peak_mib: float = 0.0


def measure_scan(task: ScanTask, progress: ProgressCallback = no_progress) -> Outcome:
    """Measure one scan and write its result folder, unless that is there already."""
    if task.software_version != __version__:
        return Outcome(
            STOP,
            f"The worker on {platform.node()} has version {__version__} of this software, not "
            f"{task.software_version}; install the same on all computers.",
        )
    places = Places(task.out)
    if not holds(places.lock, task.token):
        return Outcome(
            STOP,
            f"The worker on {platform.node()} does not see {task.out} as it is here; give an output"
            " folder that lies on a share, at the same place on all computers.",
        )
    if places.is_finished(task.scan_id):
        return Outcome(FINISHED, peak_mib=peak_mib())
    marker = running_marker(places, task.scan_id, task.attempt)
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        # A worker has begun it and is gone; a scheduler has passed it on.
        return Outcome(WORKER_LOST)
    except OSError as error:
        return Outcome(STOP, _not_written(task, error))
    try:
        with computing_threads(task.threads):
            return _measured(task, _while_wanted(task, places, progress))
    finally:
        with suppress(OSError):
            marker.unlink()
        # A worker stays as small as its largest scan.
        gc.collect()
        give_back_memory()


def running_marker(places: Places, scan_id: str, attempt: int) -> Path:
    """The file that tells that a worker has begun a scan."""
    return places.running / f"{scan_id}-{attempt}"


def _measured(task: ScanTask, progress: ProgressCallback) -> Outcome:
    try:
        model = load_model(task.options.model)
        if model.sha256 != task.model_sha256:
            raise BadInputError(f"The weights of {model.name} are not those the batch began with.")
    except (BadInputError, OSError) as error:
        return Outcome(STOP, f"On {platform.node()}: {error}")
    del model
    try:
        ct = _read(task)
        quantification = quantify(ct, task.options, progress)
    except Cancelled:
        return Outcome(STOP, "The batch that asked for this scan has ended.")
    except (OutOfResourcesError, MemoryError):
        return Outcome(OUT_OF_MEMORY, _memory_sentence(), peak_mib())
    except BadInputError as error:
        return _refused(task, error)
    except OSError as error:
        return _refused(task, error)
    except Exception as error:
        return _unexpected(task, error)
    return _written(task, quantification)


def _read(task: ScanTask) -> CTVolume:
    """The scan, under its identifier."""
    if task.scan.path is not None:
        ct = read_ct(task.scan.path, task.scan.series)
    else:
        ct, _ = read_dicom_files(task.scan.files, task.scan_id)
    if task.keep_identifiers:
        return ct
    warnings = tuple(replace(item, message=_said(task, item.message)) for item in ct.warnings)
    return replace(ct, name=task.scan_id, warnings=warnings)


def _said(task: ScanTask, sentence: str) -> str:
    if task.keep_identifiers:
        return sentence
    return without_names(sentence, task.scan.names, task.scan_id)


def _refused(task: ScanTask, error: Exception) -> Outcome:
    """The scan's own fault, unless nothing can be read any more."""
    if not is_there(task.root):
        return Outcome(
            STOP,
            f"The folder {task.root.name or task.root} with the scans can no longer be read; bring "
            "it back and start the batch again.",
        )
    if isinstance(error, OSError):
        reason = f"Its files cannot be read ({error.strerror}); check that they are there."
        return Outcome(REFUSED, reason, peak_mib())
    return Outcome(REFUSED, _said(task, str(error)), peak_mib())


def _unexpected(task: ScanTask, error: Exception) -> Outcome:
    first_line = str(error).strip().partition("\n")[0]
    reason = _said(task, f"{type(error).__name__}: {first_line}")
    return Outcome(
        UNEXPECTED,
        f"An unexpected error came up ({reason}); run “segment --debug” on it and report it.",
        peak_mib(),
    )


def _memory_sentence() -> str:
    return (
        "The memory ran out in this scan; run the batch again with --retry-failed and fewer "
        "--workers, or a higher --memory-limit."
    )


def _written(task: ScanTask, quantification: Quantification) -> Outcome:
    places = Places(task.out)

    def thumbnail(folder: Path) -> list[str]:
        write_thumbnail(folder / THUMBNAIL_FILE, quantification)
        return [THUMBNAIL_FILE]

    try:
        write_results(
            places.result(task.scan_id),
            quantification,
            overwrite=True,
            scene=task.scene,
            pdf=task.pdf,
            further=thumbnail,
        )
    except OutOfResourcesError:
        return Outcome(STOP, disk_full_sentence(task.out))
    except (BadInputError, OSError) as error:
        problem = _problem_with(places)
        if problem is not None:
            return Outcome(STOP, _not_written(task, problem))
        return Outcome(REFUSED, _said(task, str(error)), peak_mib())
    except Exception as error:
        return _unexpected(task, error)
    return Outcome(FINISHED, peak_mib=peak_mib())


def disk_full_sentence(out: Path) -> str:
    """What to say where the output folder's disk is full."""
    return (
        f"The disk of {out.name} is full; free some space and start the batch again, which goes on "
        "where it was."
    )


def _not_written(task: ScanTask, error: OSError) -> str:
    if error.errno in DISK_FULL_ERRORS:
        return disk_full_sentence(task.out)
    return (
        f"Nothing can be written to {task.out.name} any more ({error.strerror}); bring it back and "
        "start the batch again, which goes on where it was."
    )


def _problem_with(places: Places) -> OSError | None:
    """Why nothing can be written to the output folder; None if something can."""
    probe = places.running / f"probe-{platform.node()}-{time.monotonic_ns()}"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
        probe.unlink()
    except OSError as error:
        return error
    return None


def is_there(root: Path) -> bool:
    """Tell whether a folder can be looked into and is not empty, as an unmounted share's is."""
    try:
        return any(root.iterdir())
    except OSError:
        return False


def _while_wanted(task: ScanTask, places: Places, progress: ProgressCallback) -> ProgressCallback:
    """Progress that raises `Cancelled` once the batch that asked is gone."""
    last = time.monotonic()

    def show(fraction: float, message: str) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LOOKS:
            if not holds(places.lock, task.token):
                raise Cancelled("The batch has ended.")
            last = time.monotonic()
        progress(fraction, message)

    return show


def peak_mib() -> float:
    """Return the most memory that this process has had, in MiB; 0 where that is not known."""
    if sys.platform == "win32":
        return 0.0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1024.0**2 if sys.platform == "darwin" else 1024.0)
