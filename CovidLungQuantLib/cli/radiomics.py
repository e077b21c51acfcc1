"""`covidlungquant radiomics`: regions for PyRadiomics, and its features against the scans' bias."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import text_file
from CovidLungQuantLib.cli.cohort_options import (
    TABLE_HELP,
    add_column_option,
    check_cohort_extra,
    columns_list,
)
from CovidLungQuantLib.cli.options import add_study_options
from CovidLungQuantLib.cli.printing import aligned, print_files
from CovidLungQuantLib.cli.progress_bar import WRITE_FROM, shown_progress
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.progress import subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands

EPILOG = f"""\
  covidlungquant radiomics cohort.csv -o EXPORT
  cd EXPORT && pyradiomics pyradiomics.csv -o features.csv -f csv --param pyradiomics.yaml
  covidlungquant radiomics --check EXPORT/features.csv -o CHECK

The table names result folders (result_folder) and the scans they are of (ct), as seen from the
table; results made with --scene hold their scan. EXPORT holds a CT and a mask of each region for
each scan: lungs, lesion, ggo, high_opacity, parenchyma (without lesions, border, vessels where the
result has them) and the lesion of each lobe; regions too small are in left_out.csv.

--check compares each feature in lesions with parenchyma of the same scans, as Zhou et al. 2022:
what differs in parenchyma from scan to scan is bias. CHECK holds signal_to_bias.csv, .json, .html.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "radiomics",
        help="regions of a cohort for PyRadiomics, and features against the scans' bias",
        description="Export the regions of measured scans for PyRadiomics, or check its features "
        "against the bias of scans.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=text_file, nargs="?", metavar="TABLE", help=TABLE_HELP)
    parser.add_argument(
        "--check",
        type=text_file,
        metavar="FEATURES.csv",
        help="instead of exporting, check the features of this table",
    )
    add_column_option(parser, "--ct-column", "ct", "the CT's path")
    add_column_option(parser, "--folder-column", "result_folder", "the result folder")
    add_column_option(parser, "--scan-column", "scan_id", "the scan's name")
    parser.add_argument(
        "--features",
        type=columns_list,
        default=(),
        metavar="COLUMN,COLUMN",
        help="features to check (default: all columns of numbers)",
    )
    parser.add_argument(
        "--lesion", default="lesion", metavar="REGION", help="region that is checked"
    )
    parser.add_argument(
        "--parenchyma", default="parenchyma", metavar="REGION", help="region without disease"
    )
    add_study_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Export or check, write and print."""
    check_cohort_extra()
    if (chosen.table is None) == (chosen.check is None):
        raise BadInputError("Give a table of results, or features with --check; one of the two.")
    if chosen.check is not None:
        _check(chosen)
        return

    from CovidLungQuantLib.cohort.radiomics_export import (
        EXPORT_FILES,
        ExportOptions,
        export_regions,
    )
    from CovidLungQuantLib.files.cohort_tables import read_cohort_table
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=EXPORT_FILES)
    table = read_cohort_table(chosen.table)
    options = ExportOptions(chosen.ct_column, chosen.folder_column, chosen.scan_column)
    left_out: list[str] = []
    with (
        shown_progress() as progress,
        filled_folder(chosen.output, chosen.overwrite, EXPORT_FILES) as folder,
    ):
        count, failed = export_regions(
            folder,
            table,
            chosen.table.absolute().parent,
            options,
            left_out.append,
            subrange(progress, 0.0, WRITE_FROM),
        )
    print(f"\n{count} scans exported, {failed} left out")
    for text in left_out:
        print(f"Left out: {printable(text)}")
    print_files(chosen.output, list(EXPORT_FILES))


def _check(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.cohort.scan_bias import BiasOptions, feature_biases
    from CovidLungQuantLib.cohort.scan_bias_files import BIAS_FILES, biases_text, write_biases
    from CovidLungQuantLib.files.cohort_tables import read_cohort_table
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=BIAS_FILES)
    options = BiasOptions(
        scan=chosen.scan_column,
        lesion=chosen.lesion,
        parenchyma=chosen.parenchyma,
        features=chosen.features,
    )
    found = feature_biases(read_cohort_table(chosen.check), options)
    with filled_folder(chosen.output, chosen.overwrite, BIAS_FILES) as folder:
        names = write_biases(folder, found, chosen.figures)
    print(aligned(biases_text(found)))
    print_files(chosen.output, names)
