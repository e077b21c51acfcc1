"""`covidlungquant prognosis`: does the extent of pneumonia add to what is known of patients?"""

from __future__ import annotations

import argparse
from dataclasses import replace
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
    from pathlib import Path

    from CovidLungQuantLib.cli.options import Commands

NONE = "none"
EPILOG = f"""\
  covidlungquant prognosis cohort.csv --outcome icu --clinical age,sex,diabetes -o OUT

Model A holds the clinical variables, B adds the score, C the burden. Numbers are taken as they are,
score and burden per standard deviation; texts become one variable for each value but the first.
OUT holds odds_ratios.csv, models.csv (C-statistic, likelihood ratio, calibration, Brier),
comparisons.csv (DeLong), interactions.csv, cut_offs.csv, decision_curve.csv, missing.csv,
prognosis.json, prognosis.html, and model.json: model C as a file of text for --apply:

  covidlungquant prognosis OTHER.csv --apply OUT/model.json -o PREDICTIONS

A model is of the cohort it was fitted to. It is no tool to treat a patient by.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "prognosis",
        help="models of an outcome from a cohort's own table, with and without score and burden",
        description="Fit logistic regressions to a cohort's own table, as Bartoli et al. 2022: "
        "clinical variables, with a CT score, with the burden; judge them on held-out patients or "
        "by cross-validation.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=text_file, metavar="TABLE", help=TABLE_HELP)
    parser.add_argument(
        "--apply",
        type=text_file,
        metavar="MODEL.json",
        help="predict with a saved model instead of fitting; judged if the table has the outcome",
    )
    add_column_option(parser, "--outcome", "outcome", "what happened, 0 or 1")
    parser.add_argument(
        "--event", metavar="VALUE", help="value of the outcome that is the event (default: 1)"
    )
    parser.add_argument(
        "--clinical",
        type=columns_list,
        default=(),
        metavar="COLUMN,COLUMN",
        help="clinical variables of all models (default: none)",
    )
    add_column_option(parser, "--score", "ct_severity_score", "the score of model B, or none")
    add_column_option(parser, "--burden", "lesion_percent", "the burden of model C, or none")
    parser.add_argument(
        "--interactions",
        type=_pairs,
        default=(),
        metavar="X:Y,X:Y",
        help="products to add to the models; score and burden times each clinical variable are "
        "tested anyway",
    )
    parser.add_argument(
        "--per-unit",
        action="store_true",
        help="odds ratios of score and burden per unit, not per standard deviation",
    )
    parser.add_argument(
        "--validation",
        choices=("held-out", "cross"),
        default="held-out",
        help="judge on patients held out (default), or by repeated cross-validation",
    )
    parser.add_argument(
        "--held-out-percent",
        type=finite_number,
        default=30.0,
        metavar="PERCENT",
        help="of the patients (default: 30)",
    )
    for flag, default, what in (("--folds", 5, "folds"), ("--repeats", 20, "repeats")):
        parser.add_argument(
            flag,
            type=whole_number_from(2 if flag == "--folds" else 1),
            default=default,
            metavar="N",
            help=f"{what} of the cross-validation (default: {default})",
        )
    parser.add_argument(
        "--penalised",
        action="store_true",
        help="Firth's penalty, for few events or where variables separate the patients",
    )
    add_column_option(parser, "--patient", "patient_id", "patients, or none: each row is one")
    parser.add_argument(
        "--scan",
        choices=("only", "first", "last"),
        default="only",
        help="which scan of a patient counts, by --days (default: there must be only one)",
    )
    add_column_option(parser, "--days", "days_from_onset", "days that order a patient's scans")
    parser.add_argument(
        "--seed", type=whole_number_from(0), default=0, metavar="N", help="of draws (default: 0)"
    )
    add_study_options(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Fit or apply, write and print."""
    check_cohort_extra()
    if not 5 <= chosen.held_out_percent <= 80:
        raise BadInputError("Of the patients, 5 to 80 % can be held out; give such a number.")
    if chosen.apply is not None:
        _apply(chosen, chosen.apply)
        return

    from CovidLungQuantLib.cohort.prognosis import prognosis
    from CovidLungQuantLib.cohort.prognosis_files import (
        PROGNOSIS_FILES,
        models_text,
        write_prognosis,
    )
    from CovidLungQuantLib.cohort.prognosis_patients import (
        CROSS_VALIDATED,
        HELD_OUT,
        PrognosisOptions,
    )
    from CovidLungQuantLib.files.cohort_tables import read_cohort_table
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=PROGNOSIS_FILES)
    table = read_cohort_table(chosen.table)
    options = PrognosisOptions(
        outcome=chosen.outcome,
        event=chosen.event,
        clinical=chosen.clinical,
        score=_column_or_none(chosen.score),
        burden=_column_or_none(chosen.burden),
        interactions=chosen.interactions,
        per_unit=chosen.per_unit,
        validation=CROSS_VALIDATED if chosen.validation == "cross" else HELD_OUT,
        held_out_percent=chosen.held_out_percent,
        folds=chosen.folds,
        repeats=chosen.repeats,
        penalised=chosen.penalised,
        patient=_column_or_none(chosen.patient),
        scan=chosen.scan,
        days=chosen.days,
        seed=chosen.seed,
    )
    with shown_progress() as progress:
        found = prognosis(table, options, subrange(progress, 0.0, WRITE_FROM))
        progress(WRITE_FROM, "Writing the page")
        with filled_folder(chosen.output, chosen.overwrite, PROGNOSIS_FILES) as folder:
            names = write_prognosis(folder, found, chosen.figures)
    print(f"\n{found.events} events among {found.patients} patients")
    print(aligned(models_text(found)))
    print_warnings(found.warnings)
    print_files(chosen.output, names)


def _apply(chosen: argparse.Namespace, model_file: Path) -> None:
    from CovidLungQuantLib.cohort.prognosis_files import APPLIED_FILES, write_applied
    from CovidLungQuantLib.cohort.prognosis_model import apply_model, read_model
    from CovidLungQuantLib.files.cohort_tables import read_cohort_table
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=APPLIED_FILES)
    model = read_model(model_file)
    if chosen.event is not None:
        model = replace(model, event=chosen.event)
    table = read_cohort_table(chosen.table)
    found = apply_model(model, table)
    with filled_folder(chosen.output, chosen.overwrite, APPLIED_FILES) as folder:
        names = write_applied(folder, found, table, chosen.figures)
    given = sum(1 for row in found.predictions if not row.reason)
    print(f"{given} of {len(found.predictions)} rows have a prediction")
    if found.c is not None:
        print(f"C = {found.c.c:.3f} ({found.c.lower:.3f} to {found.c.upper:.3f})")
    print_warnings(found.warnings)
    print_files(chosen.output, names)


def _column_or_none(name: str) -> str | None:
    return None if name == NONE else name


def _pairs(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in given_text(text).split(","))
