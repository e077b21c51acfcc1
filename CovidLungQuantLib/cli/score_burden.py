"""`covidlungquant score-burden`: a CT score against the burden."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import text_file
from CovidLungQuantLib.cli.cohort_options import (
    TABLE_HELP,
    add_column_option,
    check_cohort_extra,
    whole_number_from,
)
from CovidLungQuantLib.cli.options import add_study_options
from CovidLungQuantLib.cli.printing import aligned, print_files, print_warnings
from CovidLungQuantLib.labels import DISCLAIMER

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands

EPILOG = f"""\
OUT holds correlations.csv (Spearman, also partial for time and for patient), fits.csv (linear and
quadratic), score-burden.json and score-burden.html. The formulas: Docs/methods.md.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "score-burden",
        help="a CT score against the burden, over a cohort",
        description="Compare a CT score with the burden, as Pan et al. 2021: Spearman's "
        "correlation, also partial for time and for patient; linear and quadratic fit beside the "
        "published curve.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=text_file, metavar="TABLE", help=TABLE_HELP)
    add_column_option(parser, "--score", "ct_score", "the score")
    add_column_option(parser, "--burden", "lesion_percent", "the burden")
    for flag, name, what in (
        ("--days", "days_from_onset", "days from the onset of symptoms"),
        ("--patient", "patient_id", "whose scan it is"),
        ("--group", None, "groups, correlated and coloured apart"),
    ):
        where = f" (default: {name} where the table has it)" if name else ""
        parser.add_argument(flag, metavar="COLUMN", help=f"column of {what}{where}")
    parser.add_argument(
        "--bootstraps",
        type=whole_number_from(100),
        default=1000,
        metavar="N",
        help="draws of patients for the limits (default: 1000)",
    )
    add_study_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Compare, write and print."""
    check_cohort_extra()

    from CovidLungQuantLib.cohort.score_burden import ScoreBurdenOptions, score_burden
    from CovidLungQuantLib.cohort.score_burden_files import (
        SCORE_BURDEN_FILES,
        correlation_text,
        write_score_burden,
    )
    from CovidLungQuantLib.files.cohort_tables import read_cohort_table
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=SCORE_BURDEN_FILES)
    table = read_cohort_table(chosen.table)
    options = ScoreBurdenOptions(
        score=chosen.score,
        burden=chosen.burden,
        days=chosen.days or table.first_of("days_from_onset"),
        patient=chosen.patient or table.first_of("patient_id"),
        group=chosen.group,
        bootstraps=chosen.bootstraps,
    )
    found = score_burden(table, options)
    with filled_folder(chosen.output, chosen.overwrite, SCORE_BURDEN_FILES) as folder:
        names = write_score_burden(folder, found, chosen.figures)
    print(aligned(correlation_text(found)))
    print_warnings(found.warnings)
    print_files(chosen.output, names)
