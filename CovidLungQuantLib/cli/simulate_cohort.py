"""`covidlungquant simulate-cohort`: tables of a cohort drawn at random, to try the statistics."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path
from CovidLungQuantLib.cli.cohort_options import whole_number_from
from CovidLungQuantLib.cli.options import add_debug_option, add_overwrite_option
from CovidLungQuantLib.cli.printing import print_files
from CovidLungQuantLib.labels import DISCLAIMER

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "simulate-cohort",
        help="tables of a cohort drawn at random, to try the statistics",
        description="Draw a cohort at random whose truth is known: serial scans after the curves "
        "of Pan et al. 2021 (serial.csv), outcomes after the odds ratios of Bartoli et al. 2022 "
        "(patients.csv), readers (readers.csv) and features (features.csv); truth.json says what "
        "they were drawn from.",
        epilog=DISCLAIMER,
    )
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="OUT",
        help="folder for the tables; must not exist yet",
    )
    parser.add_argument(
        "--seed",
        type=whole_number_from(0),
        default=0,
        metavar="N",
        help="of the draws (default: 0)",
    )
    add_overwrite_option(parser)
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Draw, write and print."""
    from CovidLungQuantLib.cohort.simulated_files import SIMULATED_FILES, write_simulated_cohort
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=SIMULATED_FILES)
    with filled_folder(chosen.output, chosen.overwrite, SIMULATED_FILES) as folder:
        names = write_simulated_cohort(folder, chosen.seed)
    print_files(chosen.output, names)
