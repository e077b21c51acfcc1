"""`covidlungquant timecourse`: curves of a cohort over the days from onset."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import finite_number, given_text, text_file
from CovidLungQuantLib.cli.cohort_options import (
    TABLE_HELP,
    add_column_option,
    check_cohort_extra,
    columns_list,
    whole_number_from,
)
from CovidLungQuantLib.cli.options import add_study_options
from CovidLungQuantLib.cli.printing import aligned, print_files, print_warnings
from CovidLungQuantLib.cli.progress_bar import WRITE_FROM, shown_progress
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.progress import subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands

EPILOG = f"""\
The table has one row a scan: whose it is, days from the onset of symptoms, and figures:

  scan_id,patient_id,days_from_onset,group,ct_score,lesion_percent,ggo_percent,high_opacity_percent
  s001,p01,6,moderate,4,2.1,1.8,0.3

OUT holds curves.csv (coefficients, r², p, peak, mixed model), bands.csv, visits.csv (Mann-Whitney),
patients.csv, group_tests.csv, timecourse.json and timecourse.html. The formulas: Docs/methods.md.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "timecourse",
        help="curves of a cohort over the days from onset, by group",
        description="Fit cubic curves through the origin to serial scans of a cohort, as Pan et "
        "al. 2021: by group, with a band, peak and mixed model; compare groups at visits.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=text_file, metavar="TABLE", help=TABLE_HELP)
    add_column_option(parser, "--days", "days_from_onset", "days from the onset of symptoms")
    add_column_option(parser, "--patient", "patient_id", "whose scan it is")
    add_column_option(parser, "--group", None, "groups, such as severity (default: no groups)")
    parser.add_argument(
        "--measures",
        type=columns_list,
        default=(),
        metavar="COLUMN,COLUMN",
        help="what to follow (default: ct_score, lesion_percent, ggo_percent and "
        "high_opacity_percent, as far as the table has them)",
    )
    parser.add_argument(
        "--visits",
        type=_days,
        default=(0.0, 7.0, 14.0),
        metavar="0,7,14",
        help="days at which groups are compared (default: 0,7,14)",
    )
    parser.add_argument(
        "--visits-from",
        choices=("first", "onset"),
        default="first",
        help="count visits from a patient's first scan (default) or from onset",
    )
    parser.add_argument(
        "--window",
        type=finite_number,
        default=3.0,
        metavar="DAYS",
        help="how far from a visit's day a scan may lie (default: 3)",
    )
    parser.add_argument(
        "--bootstraps",
        type=whole_number_from(100),
        default=2000,
        metavar="N",
        help="draws of patients for the band (default: 2000)",
    )
    parser.add_argument(
        "--no-mixed",
        dest="mixed",
        action="store_false",
        help="leave the mixed model out, which takes the longest",
    )
    parser.add_argument(
        "--published", action="store_true", help="draw the curves that Pan et al. published, too"
    )
    add_study_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Fit, write and print."""
    check_cohort_extra()
    if chosen.window < 0:
        raise BadInputError("The window of visits is negative; give 0 days or more.")

    from CovidLungQuantLib.cohort.timecourse import TimecourseOptions, timecourse
    from CovidLungQuantLib.cohort.timecourse_files import (
        TIMECOURSE_FILES,
        curves_text,
        write_timecourse,
    )
    from CovidLungQuantLib.files.cohort_tables import read_cohort_table
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=TIMECOURSE_FILES)
    table = read_cohort_table(chosen.table)
    options = TimecourseOptions(
        days=chosen.days,
        patient=chosen.patient,
        group=chosen.group,
        measures=chosen.measures,
        visits=chosen.visits,
        visits_from_onset=chosen.visits_from == "onset",
        window_days=chosen.window,
        bootstraps=chosen.bootstraps,
        mixed=chosen.mixed,
    )
    with shown_progress() as progress:
        found = timecourse(table, options, subrange(progress, 0.0, WRITE_FROM))
        progress(WRITE_FROM, "Writing the page")
        with filled_folder(chosen.output, chosen.overwrite, TIMECOURSE_FILES) as folder:
            names = write_timecourse(folder, found, chosen.figures, chosen.published)
    print(f"\n{aligned(curves_text(found))}")
    print_warnings(found.warnings)
    print_files(chosen.output, names)


def _days(text: str) -> tuple[float, ...]:
    return tuple(finite_number(part) for part in given_text(text).split(","))
