"""`covidlungquant training-set`: which case to correct next, and what fine-tuning did."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path
from CovidLungQuantLib.cli.options import add_debug_option, add_device_option
from CovidLungQuantLib.cli.printing import aligned
from CovidLungQuantLib.cli.progress_bar import shown_progress
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.training.expected_gain import RankedCase

EPILOG = f"""\
Both shipped models run on every scan that they have not seen, about a minute each; what they find
is kept in model-disagreement.json of the training set, by hashes only. Ctrl-C stops it; scans that
are done need not be run again. training-set.html names scans of --candidates by their number.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "training-set",
        help="rank the cases of a training set: which to correct next",
        description="Rank the cases of a training set by expected gain (where the shipped models "
        "disagree and nobody has changed much), show what the last fine-tuning did, and write "
        "both as training-set.html into the folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset", type=given_path, metavar="DATASET", help="folder of the training set"
    )
    parser.add_argument(
        "--candidates",
        type=given_path,
        metavar="FOLDER",
        help="folder of scans (image files, or a folder for each) that could be corrected and "
        "added; those that are cases already are left out",
    )
    parser.add_argument(
        "--no-models",
        dest="models",
        action="store_false",
        help="run no model: rank by what is known already",
    )
    add_device_option(parser, "where the models run")
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Rank, write and print."""
    from CovidLungQuantLib.training.candidates import scans_in
    from CovidLungQuantLib.training.expected_gain import (
        GAIN_DEFINITION,
        ranked_by_what_is_known,
    )
    from CovidLungQuantLib.training.training_set_page import write_training_set_page

    dataset = chosen.dataset.expanduser().absolute()
    candidates: list[Path] = []
    if chosen.candidates is not None and not chosen.models:
        raise BadInputError(
            "Scans that are not in the set can only be ranked by running the models; leave out "
            "--no-models or --candidates."
        )
    if chosen.models:
        from CovidLungQuantLib.training.model_disagreement import rank_training_set

        if chosen.candidates is not None:
            candidates = scans_in(chosen.candidates)
        with shown_progress() as progress:
            cases = rank_training_set(dataset, candidates, chosen.device, progress)
    else:
        cases = ranked_by_what_is_known(dataset)
    page = write_training_set_page(dataset, cases)
    print(aligned(_rows(cases)))
    print()
    names = {case.name for case in cases}
    for case in cases:
        print(printable(f"{case.name}: {case.next_step}"))
    for number, path in enumerate(candidates, start=1):
        if f"scan {number}" in names:
            print(printable(f"scan {number} is {path.name}"))
    print(f"\n{GAIN_DEFINITION}\n{DISCLAIMER}\nWritten to {printable(str(page))}")


def _rows(cases: list[RankedCase]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("", "expected gain mL", "labels", "changed mL", "changed %", "disputed mL", "Dice lesion")
    ]
    for case in cases:
        found = case.disagreement
        rows.append(
            (
                case.name,
                _cell(case.expected_gain_ml, 1),
                case.state,
                _cell(case.changed_ml, 1),
                _cell(case.changed_percent, 1),
                _cell(case.disputed_ml, 1),
                _cell(math.nan if found is None else found.lesion_dice, 3),
            )
        )
    return rows


def _cell(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"
