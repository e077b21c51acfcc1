"""The command line: `covidlungquant COMMAND`, such as segment, measure, lobes or evaluate.

Exit codes: 0 done, 2 bad input, 3 out of memory or disk, 130 cancelled, 1 an unexpected error.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from CovidLungQuantLib import __version__
from CovidLungQuantLib.cli import (
    agreement,
    enhance,
    evaluate,
    export,
    fine_tune,
    follow_up,
    info,
    lobes,
    measure,
    phantom,
    segment,
    train,
)
from CovidLungQuantLib.cli.options import PROGRAM
from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError, OutOfResourcesError
from CovidLungQuantLib.files.disk import DISK_FULL_ERRORS
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable

# In the order in which help names them.
COMMANDS = (
    segment,
    measure,
    evaluate,
    agreement,
    follow_up,
    lobes,
    enhance,
    phantom,
    export,
    train,
    fine_tune,
    info,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors go to stderr as one sentence."""
    chosen = command_line().parse_args(arguments)
    try:
        with _termination_cancels():
            chosen.run(chosen)
    except Exception as error:
        if chosen.debug:
            raise
        return _explain(error)
    except KeyboardInterrupt:
        return _explain(Cancelled("Cancelled; nothing was written."))
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser, as those of its commands, whose errors repeat no escape sequence."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def command_line() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = _Parser(
        prog=PROGRAM,
        description="Quantify COVID-19 pneumonia on chest CT.",
        epilog=DISCLAIMER,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


@contextmanager
def _termination_cancels() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, with its cleaning up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        earlier = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Not in the main thread, where no signal arrives.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _explain(error: BaseException) -> int:
    """Print what went wrong as one sentence and return the exit code."""
    if _is_out_of_memory(error):
        error = OutOfResourcesError(
            "The memory ran out; close other programs or use a machine with more memory."
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRORS:
        error = OutOfResourcesError("The disk is full; free some space and run again.")
    if isinstance(error, CovidLungQuantError):
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    what = printable(f"{type(error).__name__}: {_first_line(error)}")
    print(
        f"{PROGRAM}: unexpected error ({what}); run again with --debug and report it.",
        file=sys.stderr,
    )
    return CovidLungQuantError.exit_code


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # ITK and torch raise RuntimeError where C++ cannot allocate.
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "bad_alloc" in text or "bad allocation" in text or "can't allocate memory" in text
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
