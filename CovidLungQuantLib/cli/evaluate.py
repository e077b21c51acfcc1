"""`covidlungquant evaluate`: label maps against a reader's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path
from CovidLungQuantLib.cli.options import add_study_options
from CovidLungQuantLib.cli.printing import aligned, number_text, print_files, print_warnings
from CovidLungQuantLib.cli.progress_bar import WRITE_FROM, shown_progress
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.progress import subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.cohort.evaluation import Evaluation


EPILOG = f"""\
Label maps (.seg.nrrd, .nrrd, .nii.gz, .nii, .mha) hold 0 background, 1 normal lung, 2 GGO,
3 high opacity; a reference may also hold 4, lesion of unknown class, which counts for the total
lesion only, and 255, lung or not is unknown, which is no lesion and is left out of the lung. In a
folder a case is a file NAME.nrrd or a folder NAME with labels.nrrd (and case.json, whose
class_inferred_slices count for the total lesion only) or segmentation.seg.nrrd.

OUT holds cases.csv (one row a case and structure), summary.csv (mean, SD, median, n),
agreement.csv (MAE, bias, limits of agreement, correlations), evaluation.json and evaluation.html.
What is undefined, such as Dice where the reference is empty, is left blank with the reason.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "evaluate",
        help="compare label maps with a reader's",
        description="Compare label maps with a reader's: Dice, volume similarity, surface "
        "distances, volumes and extents for each case, summed up with limits of agreement and "
        "correlations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        type=given_path,
        nargs="+",
        metavar="PRED REF",
        help="segmentation and reference, as many pairs as you like: two label maps, or two "
        "folders whose label maps are matched by name",
    )
    add_study_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Compare, write and print."""
    from CovidLungQuantLib.cohort.agreement_files import EVALUATION_FILES, write_evaluation
    from CovidLungQuantLib.cohort.evaluation import evaluate, find_pairs
    from CovidLungQuantLib.cohort.figures import check_figures_possible
    from CovidLungQuantLib.cohort.published_agreement import lesion_yardstick
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=EVALUATION_FILES)
    if chosen.figures:
        check_figures_possible()
    pairs, warnings = find_pairs(chosen.paths)
    with shown_progress() as progress:
        evaluation = evaluate(pairs, warnings, subrange(progress, 0.0, WRITE_FROM))
        progress(WRITE_FROM, "Writing the page")
        with filled_folder(chosen.output, chosen.overwrite, EVALUATION_FILES) as folder:
            names = write_evaluation(folder, evaluation, chosen.figures)
    print(f"\n{_evaluation_table(evaluation)}\n{lesion_yardstick()}")
    print_warnings(evaluation.warnings)
    print_files(chosen.output, names)


def _evaluation_table(evaluation: Evaluation) -> str:
    """Mean ± SD (number of cases) of the usual figures; the files hold the others."""
    shown = {
        "dice": "Dice",
        "volume_similarity": "volume similarity",
        "hausdorff95_mm": "95 % Hausdorff mm",
        "mean_surface_distance_mm": "surface distance mm",
        "volume_error_ml": "volume error mL",
    }
    lines: dict[tuple[str, str], list[str]] = {}
    for row in evaluation.summary:
        if row.measure in shown:
            mean, sd = number_text(row.summary.mean), number_text(row.summary.sd)
            cells = lines.setdefault((row.structure, row.cases), [])
            cells.append(f"{mean} ± {sd} ({row.summary.n})" if row.summary.n else "–")
    rows = [("mean ± SD (n)", "", *shown.values())]
    return aligned([*rows, *((*title, *cells) for title, cells in lines.items())])
