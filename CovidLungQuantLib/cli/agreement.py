"""`covidlungquant agreement`: the software and readers, from tables of their numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import text_file
from CovidLungQuantLib.cli.options import add_study_options
from CovidLungQuantLib.cli.printing import aligned, number_text, print_files, print_warnings
from CovidLungQuantLib.cli.progress_bar import shown_progress
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER

if TYPE_CHECKING:
    from pathlib import Path

    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.cohort.observer_segmentations import ObserverSegmentations
    from CovidLungQuantLib.cohort.reader_tables import Comparison


EPILOG = f"""\
A table has one line a case and one column an observer:

  case,measure,automatic,reader1,reader2,reader1_repeat
  p01,lesion extent (%),12.1,11.8,13.0,12.4
  p02,lesion extent (%),3.4,2.9,,3.0

"automatic" is the software, any other column a reader, NAME_repeat the second reading of NAME,
NAME_repeat2 the third. "measure" may be left out; the file's name then names the measure. Empty
cells are missing values. Commas, semicolons or tabs part the columns. Or one line a reading:

  case,measure,reader,session,value
  p01,lesion extent (%),reader1,2,12.4

With --segmentations LIST.csv label maps are compared, Dice among the rest; one line a reading:

  case,reader,session,segmentation
  p01,automatic,1,results/p01/segmentation.seg.nrrd
  p01,reader1,2,anna-again/p01.seg.nrrd

OUT holds table2.csv (all comparisons, as Table 2 of Bartoli et al. 2022), agreement.csv (more on
each), icc.csv (intraclass correlations; needs the extra cohort), agreement.json, agreement.html,
and with segmentations dice.csv.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "agreement",
        help="agreement of the software and readers, from tables of their numbers",
        description="Compare the software with readers, readers with each other and repeated "
        "readings: MAE, bias with limits of agreement, correlations, paired Wilcoxon test, ICC; "
        "Dice of segmentations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tables", type=text_file, nargs="*", metavar="TABLE.csv", help="see below")
    parser.add_argument(
        "--segmentations",
        type=text_file,
        metavar="LIST.csv",
        help="compare the segmentations of a list instead of tables of numbers; see below",
    )
    add_study_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Compare, write and print."""
    if bool(chosen.tables) == (chosen.segmentations is not None):
        raise BadInputError(
            "Give tables of numbers, or a list of segmentations with --segmentations; not both."
        )

    from CovidLungQuantLib.cohort.agreement_files import (
        SEGMENTATION_AGREEMENT_FILES,
        write_agreement,
    )
    from CovidLungQuantLib.cohort.figures import check_figures_possible
    from CovidLungQuantLib.cohort.published_agreement import lesion_yardstick
    from CovidLungQuantLib.cohort.reader_tables import compare_observers, tables_of_files
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=SEGMENTATION_AGREEMENT_FILES)
    if chosen.figures:
        check_figures_possible()
    segmentations = None if chosen.segmentations is None else _compared(chosen.segmentations)
    tables = segmentations.tables if segmentations else tables_of_files(chosen.tables)
    comparisons = [comparison for table in tables for comparison in compare_observers(table)]
    with filled_folder(chosen.output, chosen.overwrite, SEGMENTATION_AGREEMENT_FILES) as folder:
        names = write_agreement(folder, tables, comparisons, chosen.figures, segmentations)
    if segmentations:
        print(f"\n{_dice_table(segmentations)}\n")
        print_warnings(segmentations.warnings)
    print(f"{_comparison_table(comparisons)}\n{lesion_yardstick()}")
    print_files(chosen.output, names)


def _compared(file: Path) -> ObserverSegmentations:
    from CovidLungQuantLib.cohort.observer_segmentations import (
        compare_segmentations,
        read_segmentation_list,
    )

    cases = read_segmentation_list(file)
    with shown_progress() as progress:
        return compare_segmentations(cases, progress)


def _dice_table(found: ObserverSegmentations) -> str:
    rows: list[tuple[str, ...]] = [("Dice, mean ± SD (n)", "", "")]
    for item in found.overlaps:
        summary = item.summary
        mean, sd = number_text(summary.mean), number_text(summary.sd)
        pair = f"{item.first} - {item.second}"
        rows.append((f"{item.structure}: {pair}", item.kind, f"{mean} ± {sd} ({summary.n})"))
    return aligned(rows)


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    rows: list[tuple[str, ...]] = [
        ("", "", "n", "MAE", "bias", "limits of", "agreement", "r", "rho", "Wilcoxon p")
    ]
    for item in comparisons:
        agreement = item.agreement
        numbers = (
            agreement.mean_absolute_error,
            agreement.bias,
            agreement.lower_limit,
            agreement.upper_limit,
            agreement.pearson,
            agreement.spearman,
            agreement.wilcoxon_p,
        )
        rows.append(
            (
                f"{item.measure}: {item.first} - {item.second}",
                item.kind,
                str(agreement.n),
                *(number_text(value) for value in numbers),
            )
        )
    return aligned(rows)
