"""What a batch is to do: written once, and what is asked for later is compared with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from CovidLungQuantLib import __version__
from CovidLungQuantLib.batch.found_scan import FoundScan
from CovidLungQuantLib.batch.identifiers import Identifiers
from CovidLungQuantLib.batch.places import Places
from CovidLungQuantLib.batch.records import forget_scan
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import replace_text
from CovidLungQuantLib.quantification import Options
from CovidLungQuantLib.vetting import read_json

FORMAT = 1


@dataclass(frozen=True)
class PlannedScan:
    """A scan as the tables know it; holds no name, path or UID.

    Attributes:
        scan_id: keyed hash, or what the user chose.
        patient_id: likewise.
        days_from_first_scan: of the patient; "" where not known.
        study_date: ISO date, only if the user asked for it; else "".
        carried: columns of the user's list.
        fingerprint: of its files.
    """

    scan_id: str
    patient_id: str
    days_from_first_scan: str = ""
    study_date: str = ""
    carried: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True)
class Plan:
    """A batch.

    Attributes:
        settings: all that changes what is measured or written, by name.
        key_check: of the key that made the identifiers.
        scans: in the order of the tables.
    """

    settings: dict[str, Any]
    key_check: str
    scans: tuple[PlannedScan, ...]


@dataclass(frozen=True)
class Identified:
    """A plan, and which scan on the disk each identifier stands for."""

    plan: Plan
    found: dict[str, FoundScan]


def settings_of(
    options: Options, model_name: str, model_sha256: str, keep_identifiers: bool, **files: bool
) -> dict[str, Any]:
    """Return what must be the same when a batch goes on; the device may be another."""
    chosen = {name: value for name, value in asdict(options).items() if name != "device"}
    return {
        **chosen,
        "model": model_name,
        "model_sha256": model_sha256,
        "keep_identifiers": keep_identifiers,
        **files,
        "software_version": __version__,
    }


def make_plan(
    scans: Sequence[FoundScan],
    identifiers: Identifiers,
    settings: dict[str, Any],
    *,
    keep_identifiers: bool = False,
    chosen_patients: bool = False,
) -> Identified:
    """Give every scan its identifiers and put them in the order of the tables.

    Args:
        scans: as they were found.
        identifiers: make the keyed hashes.
        settings: from `settings_of`.
        keep_identifiers: name scans and patients as the input does, with dates.
        chosen_patients: the user chose a column that identifies patients.
    """
    first_dates = _first_dates(scans)
    planned, found = [], {}
    for scan in scans:
        is_told = keep_identifiers or chosen_patients
        patient_id = scan.patient if is_told else identifiers.patient_id(scan.patient)
        label = scan.patient if is_told else ""
        scan_id = identifiers.scan_id(scan.identity, label)
        days = scan.days_from_first_scan
        if days is None:
            first = first_dates.get(scan.patient)
            known = scan.study_date is not None and first is not None
            days = str((scan.study_date - first).days) if known else ""  # type: ignore[operator]
        study_date = scan.study_date.isoformat() if keep_identifiers and scan.study_date else ""
        found[scan_id] = scan
        planned.append(
            PlannedScan(scan_id, patient_id, days, study_date, scan.carried, scan.fingerprint())
        )
    planned.sort(key=_order)
    return Identified(Plan(settings, identifiers.check, tuple(planned)), found)


def _first_dates(scans: Sequence[FoundScan]) -> dict[str, date]:
    first: dict[str, date] = {}
    for scan in scans:
        if scan.study_date is not None:
            first[scan.patient] = min(first.get(scan.patient, scan.study_date), scan.study_date)
    return first


def _order(scan: PlannedScan) -> tuple[str, float, str]:
    """By patient and time; the order of the input could tell names that are in alphabetical one."""
    days = float(scan.days_from_first_scan) if scan.days_from_first_scan else float("inf")
    return scan.patient_id, days, scan.scan_id


def check_plan(earlier: Plan, plan: Plan, out: Path) -> None:
    """Refuse to go on with a batch in another way than it was begun.

    Raises:
        BadInputError: another key, other options, or scans of the batch are missing in the input.
    """
    if earlier.key_check != plan.key_check:
        raise BadInputError(
            f"The key is not the one that the batch in {out.name} was begun with, so no scan could "
            "be told again; name that one with --key, or choose a new output folder."
        )
    for name, value in plan.settings.items():
        before = earlier.settings.get(name)
        if before != value:
            raise BadInputError(
                f"The batch in {out.name} was begun with {name.replace('_', ' ')} “{before}”, not "
                f"“{value}”; go on in the same way, or choose a new output folder."
            )
    missing = {scan.scan_id for scan in earlier.scans} - {scan.scan_id for scan in plan.scans}
    if missing:
        raise BadInputError(
            f"Of the {len(earlier.scans)} scans of the batch in {out.name}, {len(missing)} are not "
            "in the input any more; bring them back, or choose a new output folder."
        )


def read_plan(places: Places) -> Plan | None:
    """Read the plan of a batch that was begun; None where none was.

    Raises:
        BadInputError: it cannot be read.
    """
    if not places.plan.exists():
        return None
    try:
        content = read_json(places.plan)
        if content["format"] != FORMAT:
            raise KeyError
        scans = tuple(PlannedScan(**scan) for scan in content["scans"])
        if type(content["settings"]["threads"]) is not int:
            raise TypeError
        return Plan(content["settings"], content["key_check"], scans)
    except (BadInputError, KeyError, TypeError) as error:
        raise BadInputError(
            f"What the batch in {places.out.name} was begun with cannot be read; choose a new "
            "output folder."
        ) from error


def write_plan(places: Places, plan: Plan) -> None:
    """Write the plan in the place of an earlier one, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "format": FORMAT,
        "settings": plan.settings,
        "key_check": plan.key_check,
        "scans": [asdict(scan) for scan in plan.scans],
    }
    replace_text(places.plan, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def take_up(places: Places, earlier: Plan | None, plan: Plan) -> int:
    """Make the plan that of the output folder; a scan whose files have changed is done anew.

    Returns:
        how many those are.

    Raises:
        OSError: something cannot be written or removed.
    """
    before = {} if earlier is None else {scan.scan_id: scan for scan in earlier.scans}
    changed = [
        scan.scan_id
        for scan in plan.scans
        if scan.scan_id in before and before[scan.scan_id].fingerprint != scan.fingerprint
    ]
    for scan_id in changed:
        # Before the plan is written: a kill in between finds them changed again.
        shutil.rmtree(places.result(scan_id), ignore_errors=True)
        forget_scan(places, scan_id)
    write_plan(places, plan)
    return len(changed)
