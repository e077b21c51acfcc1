"""The command line: one file a command, each with `add_parser` and `run`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from CovidLungQuantLib.cli.explaining import explain, say
from CovidLungQuantLib.errors import Cancelled

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors go to stderr as one sentence."""
    try:
        with _stopped_at_once():
            # Here, since it takes a second in which Ctrl-C may come or a package be missing.
            from CovidLungQuantLib.cli import program
    except Exception as error:
        return explain(error)
    return program.run(arguments)


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process while there is nothing to clean up yet.

    An exception would do only where no import in between takes it for a missing package.
    """

    def stop(number: int, frame: object) -> None:
        say(Cancelled("Cancelled; nothing was written."))
        os._exit(Cancelled.exit_code)

    earlier = {}
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
    ):
        # Otherwise whoever started this has other plans, as has a shell for what runs behind.
        if signal.getsignal(number) == usual:
            try:
                earlier[number] = signal.signal(number, stop)
            except ValueError:
                break  # Not in the main thread, where no signal arrives.
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
