"""The command line: one file a command, each with `add_parser` and `run`."""

from __future__ import annotations

from collections.abc import Sequence

from CovidLungQuantLib.cli.explaining import explain
from CovidLungQuantLib.cli.stopping import CANCELLED, stoppable
from CovidLungQuantLib.errors import Cancelled

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors go to stderr as one sentence."""
    try:
        with stoppable():
            try:
                # Here, since it takes a while in which Ctrl-C may come, and a package may be
                # missing.
                from CovidLungQuantLib.cli import program
            except ImportError as error:
                return explain(error)
            return program.run(arguments)
    except KeyboardInterrupt:
        return explain(Cancelled(CANCELLED))
