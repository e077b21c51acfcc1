"""What went wrong, as one sentence and an exit code; loads nothing heavy."""

from __future__ import annotations

import csv
import errno
import sys
from contextlib import suppress
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError, CovidLungQuantError, OutOfResourcesError
from CovidLungQuantLib.files.disk import DISK_FULL_ERRORS
from CovidLungQuantLib.printable import masked, shortened

PROGRAM = "covidlungquant"


def explain(error: BaseException) -> int:
    """Print what went wrong as one sentence and return the exit code."""
    known = known_error(error)
    if known is None:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        say(f"unexpected error ({reason}); run again with --debug and report it.")
        return CovidLungQuantError.exit_code
    say(str(known))
    return known.exit_code


def say(message: str) -> None:
    """Print a message on one line to stderr, if there still is one."""
    # Where nobody listens, the exit code still says it.
    with suppress(OSError, ValueError):
        print(f"{PROGRAM}: {on_one_line(message)}", file=sys.stderr, flush=True)


def known_error(error: BaseException) -> CovidLungQuantError | None:
    """The error as one of ours, also where a library or the system raised it; None if unknown."""
    if isinstance(error, CovidLungQuantError):
        return error
    if _is_out_of_memory(error):
        return OutOfResourcesError(
            "The memory ran out; close other programs or use a machine with more memory."
        )
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0] or "a library"
        return BadInputError(
            f"The package {package}, which this needs, cannot be loaded ({error}); install this "
            "software again."
        )
    if isinstance(error, RecursionError):
        return BadInputError(
            "A file that was given is nested too deeply to be read; make it again or leave it out."
        )
    if isinstance(error, UnicodeError | csv.Error):
        return BadInputError(
            f"A text or table that was given cannot be read ({error}); save it as UTF-8, tables as "
            "CSV."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return _of_the_system(error)
    return None


def on_one_line(text: str) -> str:
    """Text with a blank for each line's end and nothing that a terminal would obey."""
    parts = (part.strip() for part in text.splitlines())
    line = " ".join(part for part in parts if part)
    return masked(line)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    # ITK and torch raise RuntimeError where C++ cannot allocate.
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "bad_alloc" in text or "bad allocation" in text or "can't allocate memory" in text
    )


def _of_the_system(error: OSError) -> CovidLungQuantError:
    """What the system refused: a file that vanished, a folder that may not be read, a full disk."""
    if error.errno in DISK_FULL_ERRORS:
        return OutOfResourcesError(
            "The disk is full, so nothing was written; free some space and run again."
        )
    name = Path(error.filename).name if isinstance(error.filename, str) else ""
    what = f"“{shortened(name)}”" if name else "A file"
    return BadInputError(
        f"{what} cannot be read or written ({error.strerror}); check that it is there and that you "
        "may use it."
    )
