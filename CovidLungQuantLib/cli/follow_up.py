"""`covidlungquant follow-up`: changes from scan to scan of one patient."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import finite_number, given_path
from CovidLungQuantLib.cli.options import add_study_options
from CovidLungQuantLib.cli.printing import aligned, print_files, print_warnings
from CovidLungQuantLib.labels import DISCLAIMER

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "follow-up",
        aliases=["compare"],
        help="changes from scan to scan of one patient, from their results",
        description="Compare results of one patient in the order of time: changes in mL and "
        "percentage points for each lung and lobe, with a curve.",
        epilog=DISCLAIMER,
    )
    parser.add_argument(
        "results", type=given_path, nargs="+", metavar="OUT", help="folders of segment or measure"
    )
    parser.add_argument(
        "--days", type=_days, metavar="0,7,21", help="day of each, for the curve (default: 1, 2, …)"
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="compare results whose GGO and high opacity were told apart by different rules",
    )
    add_study_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Compare, write and print."""
    from CovidLungQuantLib.cohort.figures import check_figures_possible
    from CovidLungQuantLib.cohort.follow_up import follow_up
    from CovidLungQuantLib.cohort.follow_up_files import CHANGE_FILES, change_text, write_follow_up
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=CHANGE_FILES)
    if chosen.figures:
        check_figures_possible()
    found = follow_up(chosen.results, chosen.days, chosen.anyway)
    with filled_folder(chosen.output, chosen.overwrite, CHANGE_FILES) as folder:
        names = write_follow_up(folder, found, chosen.figures)
    print(aligned(change_text(found)))
    print_warnings(found.warnings)
    print_files(chosen.output, names)


def _days(text: str) -> list[float]:
    """Numbers parted by commas; as `finite_number`."""
    return [finite_number(part) for part in text.split(",")]
