"""The command line: `covidlungquant COMMAND`, such as segment, measure, lobes or evaluate.

Exit codes: 0 done, 2 bad input, 3 out of memory or disk, 130 cancelled, 1 an unexpected error.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from CovidLungQuantLib import __version__, cli
from CovidLungQuantLib.cli.arguments import given_text
from CovidLungQuantLib.cli.explaining import PROGRAM, explain
from CovidLungQuantLib.cli.stopping import CANCELLED
from CovidLungQuantLib.cli.streams import exit_code_of_output, patient_streams
from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable

# Help names these first; the file of another command needs no entry.
ORDER = (
    "segment",
    "batch",
    "view",
    "measure",
    "evaluate",
    "agreement",
    "follow_up",
    "timecourse",
    "score_burden",
    "prognosis",
    "radiomics",
    "simulate_cohort",
    "lobes",
    "enhance",
    "phantom",
    "export",
    "training_set",
    "train",
    "fine_tune",
    "info",
)


def find_commands() -> list[ModuleType]:
    """The files of this folder that have an `add_parser`, in the order of help."""
    names = sorted(
        (file.name for file in pkgutil.iter_modules(cli.__path__) if file.name != "__main__"),
        key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name),
    )
    modules = (importlib.import_module(f"{cli.__name__}.{name}") for name in names)
    return [module for module in modules if hasattr(module, "add_parser")]


# Found when this file is loaded, so that what cannot be loaded is said before anything is run.
COMMANDS = find_commands()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors go to stderr as one sentence."""
    with patient_streams() as output:
        try:
            exit_code = _run_command(arguments)
        except SystemExit as stop:
            # Of argparse, after help or a usage that is wrong.
            raise SystemExit(exit_code_of_output(output, int(stop.code or 0))) from None
        except KeyboardInterrupt:
            exit_code = explain(Cancelled(CANCELLED))
        return exit_code_of_output(output, exit_code)


def _run_command(arguments: Sequence[str] | None) -> int:
    try:
        chosen = command_line().parse_args(arguments)
    except CovidLungQuantError as error:
        return explain(error)
    try:
        chosen.run(chosen)
    except Exception as error:
        if chosen.debug:
            raise
        return explain(error)
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser to which a text without another type is a `given_text`.

    Its errors, and those of its commands, repeat no escape sequence.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("type", None, given_text)

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and end with 2."""
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
    for module in COMMANDS:
        module.add_parser(commands)
    return parser
