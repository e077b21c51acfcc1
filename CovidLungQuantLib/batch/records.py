"""What a batch remembers of scans that went wrong, one small file each, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from CovidLungQuantLib.batch.places import Places
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import replace_text
from CovidLungQuantLib.vetting import read_json

REFUSED, CRASHED, OUT_OF_MEMORY, UNEXPECTED = "refused", "crashed", "out of memory", "unexpected"
# How often a scan is tried that takes its worker along.
MOST_ATTEMPTS = 2


@dataclass(frozen=True)
class Failure:
    """Why a scan has no result.

    Attributes:
        kind: "refused", "crashed", "out of memory" or "unexpected".
        reason: one sentence.
        attempts: how often it was tried.
    """

    kind: str
    reason: str
    attempts: int = 1


def write_failure(places: Places, scan_id: str, failure: Failure) -> None:
    """Set a scan aside; raises OSError where that cannot be written."""
    _write(places.failures / f"{scan_id}.json", asdict(failure))


def read_failures(places: Places, scan_ids: Sequence[str]) -> dict[str, Failure]:
    """Return which of the scans are set aside."""
    found = {}
    for scan_id in scan_ids:
        file = places.failures / f"{scan_id}.json"
        if not file.exists():
            continue
        try:
            found[scan_id] = Failure(**read_json(file))
        except (BadInputError, TypeError):
            # Not worth a batch: the scan is tried again.
            continue
    return found


def count_crash(places: Places, scan_id: str) -> int:
    """Note that a worker died in a scan; returns how often one did. Raises OSError."""
    file = places.crashes / f"{scan_id}.json"
    count = crashes_of(places, scan_id) + 1
    _write(file, {"count": count})
    return count


def crashes_of(places: Places, scan_id: str) -> int:
    """Return how often a worker died in a scan."""
    try:
        return int(read_json(places.crashes / f"{scan_id}.json")["count"])
    except (BadInputError, KeyError, TypeError, ValueError):
        return 0


def forget_scan(places: Places, scan_id: str) -> None:
    """Forget what went wrong with a scan, so that it is tried again."""
    for folder in (places.failures, places.crashes):
        (folder / f"{scan_id}.json").unlink(missing_ok=True)


def forget_running(places: Places) -> None:
    """Forget what was begun when an earlier batch was ended: nothing runs now."""
    for file in places.running.glob("*"):
        file.unlink(missing_ok=True)


def _write(file: Path, content: dict[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, json.dumps(content, ensure_ascii=False) + "\n")
