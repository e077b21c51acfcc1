"""A batch from beginning to end: find the scans, measure each, set out what came of it.

It can be killed at any moment. A result folder takes its name when all is in it, and what else is
remembered lies in small files that are replaced whole; the tables are made from these. So the same
call goes on where the last one was, and ends in the same tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from CovidLungQuantLib.batch.batch import Batch, BatchResult, BatchStopped, Standing
from CovidLungQuantLib.batch.beginning import begin
from CovidLungQuantLib.batch.cluster import check_dask
from CovidLungQuantLib.batch.folder_input import scans_in_folder
from CovidLungQuantLib.batch.found_scan import FoundScans
from CovidLungQuantLib.batch.list_input import scans_in_list
from CovidLungQuantLib.batch.lock import BatchLock
from CovidLungQuantLib.batch.measuring import Measuring
from CovidLungQuantLib.batch.places import Places
from CovidLungQuantLib.batch.scan_task import disk_full_sentence
from CovidLungQuantLib.batch.tables import taken_columns
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import DISK_FULL_ERRORS
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.models.registry import model_path
from CovidLungQuantLib.outputs.folder import check_scene_possible
from CovidLungQuantLib.outputs.pdf import check_pdf_possible
from CovidLungQuantLib.pipeline import check_options
from CovidLungQuantLib.progress import ProgressCallback, no_progress

LIST_SUFFIX = ".csv"


def run_batch(
    batch: Batch,
    tell: Callable[[Standing], None] = lambda standing: None,
    say: Callable[[str], None] = lambda sentence: None,
    progress: ProgressCallback = no_progress,
) -> BatchResult:
    """Measure every scan of a cohort, or go on with that.

    Args:
        batch: what is asked for.
        tell: called after each scan and about twice a second; may raise to stop.
        say: called with what the user should know, a sentence each.
        progress: of looking for scans, and of the scan at hand without Dask; may raise `Cancelled`.

    Raises:
        BadInputError: nothing was begun: the input, the output folder or an option cannot be used.
        BatchStopped: disk, share, scheduler or workers are gone; the same call goes on.
    """
    batch, model = _checked(batch)
    found = _find(batch, progress)
    places = Places(batch.out)
    try:
        for folder in (places.own, places.running, places.scans):
            folder.mkdir(parents=True, exist_ok=True)
        lost: list[bool] = []
        with BatchLock(places.lock, lambda: lost.append(True)) as lock:
            identified = begin(batch, places, found, model, say)
            measuring = Measuring(batch, places, identified, model, found.root, lock)
            measuring.tell, measuring.say, measuring.progress = tell, say, progress
            measuring.has_lost_lock = lambda: bool(lost)
            return measuring.to_the_end()
    except OSError as error:
        if error.errno in DISK_FULL_ERRORS:
            raise BatchStopped(disk_full_sentence(batch.out)) from error
        raise BatchStopped(
            f"The output folder {batch.out.name} cannot be used ({error.strerror}); see that it can"
            " be written to, and start the batch again."
        ) from error


def _checked(batch: Batch) -> tuple[Batch, LoadedModel]:
    """The request with absolute paths, after all that can be refused without looking for scans."""
    source, out = (Path(p).expanduser().absolute() for p in (batch.source, batch.out))
    check_options(batch.options)
    if batch.pdf:
        check_pdf_possible()
    if batch.scene:
        check_scene_possible()
    if batch.workers != 0 or batch.scheduler is not None:
        check_dask()
    if batch.id_column is not None and source.suffix.lower() != LIST_SUFFIX:
        raise BadInputError(
            "An identifier column belongs to a CSV list; give one, or leave --id-column out."
        )
    model = load_model(batch.options.model)
    file = model_path(batch.options.model)
    options = batch.options
    if options.model is not None and file == Path(options.model):
        # By path: workers may run in other folders.
        options = replace(options, model=str(file.absolute()))
    _check_output(out)
    key = None if batch.key is None else batch.key.expanduser().absolute()
    if key is not None and key.is_relative_to(out):
        raise BadInputError(
            f"The key would lie in the output folder {out.name}, which may be passed on; keep it "
            "elsewhere."
        )
    return replace(batch, source=source, out=out, options=options, key=key), model


def _check_output(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInputError(f"The output {out.name} is not a folder; choose another name.")
    if not out.exists() or Places(out).plan.exists():
        return
    try:
        foreign = sorted(p.name for p in out.iterdir() if p not in (Places(out).own,))
    except OSError as error:
        raise BadInputError(
            f"The output folder {out.name} cannot be looked into ({error.strerror}); choose "
            "another."
        ) from error
    if set(foreign) - {Places(out).scans.name}:
        raise BadInputError(
            f"The output folder {out.name} holds other files ({foreign[0]}) and is left alone; "
            "choose a new folder, or that of a batch that is to go on."
        )


def _find(batch: Batch, progress: ProgressCallback) -> FoundScans:
    if batch.source.suffix.lower() == LIST_SUFFIX and not batch.source.is_dir():
        return scans_in_list(batch.source, taken_columns(), batch.id_column, batch.keep_identifiers)
    if not batch.source.is_dir():
        raise BadInputError(
            f"The input {batch.source.name} is neither a folder nor a CSV list; give the folder of "
            "the scans, or a list of them."
        )
    return scans_in_folder(batch.source, batch.out, progress)
