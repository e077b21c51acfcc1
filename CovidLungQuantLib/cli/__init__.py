"""The command line: one file a command, each with `add_parser` and `run`."""

from CovidLungQuantLib.cli.program import main

__all__ = ["main"]
