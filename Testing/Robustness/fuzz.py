"""`python -m Testing.Robustness.fuzz --count 2000`: damaged files by the thousand, door by door.

Each input depends on the door, the seed and its number alone, so `--door nrrd --seed 1 --first 123
--count 1 --keep FOLDER` makes one again. A worker process reads them, so that a death or a hang is
found and told, too.
"""

from __future__ import annotations

import argparse
import faulthandler
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError
from Testing.Robustness.door import (
    DIED,
    FINE,
    NO_MEMORY,
    NO_SENTENCE,
    OTHER,
    REFUSED,
    UNEXPECTED,
    Door,
    Seed,
)
from Testing.Robustness.doors import all_doors

SECONDS_AN_INPUT = 20
MOST_MEMORY_BYTES = 8 << 30
LONGEST_SENTENCE = 700
FOUND_MARK = "@"


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    index: int
    kind: str
    detail: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether it may be so."""
        return self.kind in FINE


def outcomes(door: Door, seed: int, first: int, count: int, folder: Path) -> Iterator[Outcome]:
    """Read damaged inputs of a door in this process.

    Args:
        door: to try.
        seed: of the random numbers.
        first: number of the first input.
        count: of inputs.
        folder: for the files; the last one stays.
    """
    valid: dict[int, Any] = {}
    for index in range(first, first + count):
        which = index % len(door.seeds)
        example = door.seeds[which]
        home = folder / f"{door.name}{which}"
        path = home / example.file_name
        if which not in valid:
            valid[which] = _read_valid(example, home)
        rng = np.random.default_rng([seed, zlib.crc32(door.name.encode()), index])
        for name, content in example.damaged(rng).items():
            (home / name).write_bytes(content)
        yield _outcome(door, example, index, path, valid[which])


def _read_valid(example: Seed, home: Path) -> Any:
    home.mkdir(parents=True, exist_ok=True)
    for name, content in example.beside.items():
        (home / name).write_bytes(content)
    path = home / example.file_name
    path.write_bytes(example.content)
    return example.read(path)


def _outcome(door: Door, example: Seed, index: int, path: Path, before: Any) -> Outcome:
    try:
        after = example.read(path)
        kind = door.judge(example, path, before, after)
        return Outcome(index, kind, example.file_name if kind == OTHER else "")
    except (BadInputError, OutOfResourcesError) as error:
        kind = REFUSED if isinstance(error, BadInputError) else NO_MEMORY
        return Outcome(index, kind if is_one_sentence(str(error)) else NO_SENTENCE, str(error))
    except Exception as error:  # whatever else is what is looked for
        return Outcome(index, UNEXPECTED, f"{type(error).__name__}: {error}"[:200])


def is_one_sentence(text: str) -> bool:
    """Tell whether a message is one line that can be shown and ends as a sentence does."""
    has_controls = any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in text)
    return not has_controls and text.endswith(".") and len(text) < LONGEST_SENTENCE


def _work(door: Door, chosen: argparse.Namespace, folder: Path) -> None:
    """Print each outcome that counts, in the worker process."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    except ImportError:
        # Not on Windows.
        pass
    found = outcomes(door, chosen.seed, chosen.first, chosen.count, folder)
    faulthandler.enable()
    for index in range(chosen.first, chosen.first + chosen.count):
        faulthandler.dump_traceback_later(SECONDS_AN_INPUT, exit=True)
        outcome = next(found)
        print(f"{FOUND_MARK}{index}\t{outcome.kind}\t{outcome.detail.splitlines()[:1]}", flush=True)
    faulthandler.cancel_dump_traceback_later()


def _outcomes_of_workers(name: str, chosen: argparse.Namespace, folder: Path) -> Iterator[Outcome]:
    """Outcomes of one door; a worker that dies is told and the next one goes on behind it."""
    first, end = chosen.first, chosen.first + chosen.count
    while first < end:
        command = [sys.executable, "-m", "Testing.Robustness.fuzz", "--worker", "--door", name]
        command += ["--seed", str(chosen.seed), "--first", str(first), "--count", str(end - first)]
        with subprocess.Popen(
            [*command, "--keep", str(folder)],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as worker:
            for line in worker.stdout:
                if line.startswith(FOUND_MARK):
                    index, kind, detail = line[1:].rstrip("\n").split("\t", 2)
                    first = int(index) + 1
                    yield Outcome(int(index), kind, detail)
        if first < end:
            yield Outcome(first, DIED, f"exit code {worker.returncode}")
            first += 1


def main(arguments: list[str] | None = None) -> int:
    """Try the doors and tell what was found; 1 where something was."""
    parser = argparse.ArgumentParser(prog="Testing.Robustness.fuzz", description=__doc__)
    parser.add_argument("--door", choices=sorted(all_doors()), help="one door (default: all)")
    parser.add_argument("--count", type=int, default=2000, help="inputs a door")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="folder for the files; the last of each stays")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.worker:
        _work(all_doors()[chosen.door], chosen, chosen.keep)
        return 0
    is_fine = True
    with tempfile.TemporaryDirectory() as temporary:
        for name in [chosen.door] if chosen.door else sorted(all_doors()):
            counts: Counter[str] = Counter()
            for outcome in _outcomes_of_workers(name, chosen, chosen.keep or Path(temporary)):
                counts[outcome.kind] += 1
                if not outcome.is_fine:
                    is_fine = False
                    print(
                        f"  {name} --seed {chosen.seed} --first {outcome.index} --count 1: "
                        f"{outcome.kind} {outcome.detail}"
                    )
            print(f"{name}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
