"""The beginning of a batch, the first time and every time it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from CovidLungQuantLib.batch.batch import Batch
from CovidLungQuantLib.batch.cluster import available_cores, gpu_count, plan_workers
from CovidLungQuantLib.batch.found_scan import FoundScans
from CovidLungQuantLib.batch.identifiers import Identifiers, read_or_make_key
from CovidLungQuantLib.batch.places import WHO_IS_WHO_SUFFIX, Places
from CovidLungQuantLib.batch.plan import (
    Identified,
    Plan,
    check_plan,
    make_plan,
    read_plan,
    settings_of,
    take_up,
)
from CovidLungQuantLib.batch.records import forget_running, forget_scan
from CovidLungQuantLib.batch.tables import csv_text, write_private_text
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import OUTPUT_FILES
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.outputs.replacing import recover


def begin(
    batch: Batch,
    places: Places,
    found: FoundScans,
    model: LoadedModel,
    say: Callable[[str], None],
) -> Identified:
    """Compare with what was begun, and write down what is to be done."""
    earlier = read_plan(places)
    identifiers, key = _identifiers(batch, places, earlier is not None, say)
    settings = settings_of(
        batch.options,
        model.name,
        model.sha256,
        batch.keep_identifiers,
        scene=batch.scene,
        pdf=batch.pdf,
    )
    threads = _threads(batch, earlier, len(found.scans))
    identified = make_plan(
        found.scans,
        identifiers,
        {**settings, "id_column": batch.id_column, "threads": threads},
        keep_identifiers=batch.keep_identifiers,
        chosen_patients=batch.id_column is not None,
    )
    if earlier is not None:
        check_plan(earlier, identified.plan, places.out)
    changed = take_up(places, earlier, identified.plan)
    who_is_who = key.with_name(places.out.name + WHO_IS_WHO_SUFFIX)
    _write_who_is_who(who_is_who, identified)
    say(f"Which scan is which stands in {who_is_who}; keep it to yourself.")
    for note in found.notes:
        say(note)
    if earlier is not None:
        known = {scan.scan_id for scan in earlier.scans}
        new = sum(scan.scan_id not in known for scan in identified.plan.scans)
        if new:
            say(f"New scans in the input are added: {new}.")
        if changed:
            say(f"Scans whose files have changed since are measured anew: {changed}.")
    _tidy_up(batch, places, identified)
    return identified


def _identifiers(
    batch: Batch, places: Places, goes_on: bool, say: Callable[[str], None]
) -> tuple[Identifiers, Path]:
    key = batch.key or places.key
    if goes_on and not key.exists():
        raise BadInputError(
            f"The key {key.name}, with which the batch in {places.out.name} was begun, is not there"
            "; bring it back, or name it with --key."
        )
    identifiers, is_new = read_or_make_key(key)
    if is_new:
        say(f"The key of the identifiers is {key}; keep it, and keep it to yourself.")
    return identifiers, key


def _threads(batch: Batch, earlier: Plan | None, scan_count: int) -> int:
    """Threads of a worker: as asked for, as when the batch was begun, or a share of the cores.

    On another number a border that lies on the edge could move by a voxel, so it stays the same
    however many workers there are when a batch goes on.
    """
    if batch.threads is not None:
        return batch.threads
    if earlier is not None:
        return earlier.settings["threads"]
    if batch.scheduler is not None:
        return 1
    if batch.workers == 0:
        return available_cores()
    gpus = gpu_count(batch.options.device)
    return plan_workers(batch.workers, batch.memory_bytes, scan_count, gpus).threads


def _write_who_is_who(file: Path, identified: Identified) -> None:
    columns = ("scan_id", "patient_id", "patient", "study_date", "series", "place")
    rows = []
    for planned in identified.plan.scans:
        scan = identified.found[planned.scan_id]
        rows.append(
            {
                "scan_id": planned.scan_id,
                "patient_id": planned.patient_id,
                "patient": scan.patient,
                "study_date": scan.study_date.isoformat() if scan.study_date else "",
                "series": scan.series or "",
                "place": scan.place,
            }
        )
    write_private_text(file, csv_text(columns, rows))


def _tidy_up(batch: Batch, places: Places, identified: Identified) -> None:
    """Remove what a killed batch was in the midst of, and forget failures if that is wished."""
    forget_running(places)
    has_leftovers = any(path.name.startswith(".") for path in places.scans.iterdir())
    for scan in identified.plan.scans:
        if places.is_finished(scan.scan_id):
            continue
        if has_leftovers:
            recover(places.result(scan.scan_id), OUTPUT_FILES)
        if batch.retry_failed:
            forget_scan(places, scan.scan_id)
