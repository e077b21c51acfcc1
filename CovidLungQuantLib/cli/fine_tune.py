"""`covidlungquant fine-tune`: a model goes on learning from a training set."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.cli.arguments import given_path, name_or_path
from CovidLungQuantLib.cli.explaining import PROGRAM
from CovidLungQuantLib.cli.options import (
    add_cases_option,
    add_debug_option,
    add_device_option,
    add_same_patient_option,
)
from CovidLungQuantLib.cli.printing import aligned
from CovidLungQuantLib.cli.progress_bar import shown_progress
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.vetting import read_json

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.training.fine_tuning_runs import FineTuning


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "fine-tune",
        help="let a model go on learning from your training set",
        description="Train a model a little further on a training set, compare it with the old one "
        "on patients held back, and put it beside your other models. The old one stays. Ctrl-C "
        "stops it, and nothing of it is left.",
        epilog=DISCLAIMER,
    )
    parser.add_argument(
        "dataset",
        type=given_path,
        nargs="?",
        metavar="DATASET",
        help="folder of the training set, as export writes it and train reads it",
    )
    parser.add_argument(
        "--model",
        type=name_or_path,
        metavar="MODEL",
        help="model name or file to go on from (default: the shipped)",
    )
    parser.add_argument(
        "--name", metavar="NEW", help="name of the new model (default: made from the old one's)"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="how long to train (default: a few epochs)"
    )
    add_device_option(parser, "where to train")
    add_cases_option(
        parser,
        "--hold-back",
        "cases to compare old and new model on, not trained on, with all of their patient "
        "(default: every fifth patient)",
    )
    add_same_patient_option(parser)
    parser.add_argument(
        "--background", action="store_true", help="start it and return; see --status and --cancel"
    )
    parser.add_argument(
        "--status", action="store_true", help="instead, tell how far each fine-tuning is"
    )
    parser.add_argument("--cancel", metavar="NEW", help="instead, stop the one of this name")
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Fine-tune, or tell of those that run, or stop one."""
    from CovidLungQuantLib.training.fine_tuning_runs import cancel_fine_tuning, status_lines, watch

    if [chosen.dataset is not None, chosen.status, chosen.cancel is not None].count(True) != 1:
        raise BadInputError("Give the folder of a training set, or --status, or --cancel NEW.")
    if chosen.status:
        print("\n".join(map(printable, status_lines())))
        return
    if chosen.cancel is not None:
        print(printable(cancel_fine_tuning(chosen.cancel)))
        return
    started = _start(chosen)
    if chosen.background:
        name = printable(started.plan.name)
        print(
            f"Fine-tuning {name} has begun; see {PROGRAM} fine-tune --status, and --cancel {name}."
        )
        return
    with shown_progress() as progress:
        status = watch(started, progress)
    assert status.comparison_file is not None, "written before a fine-tuning is done"
    comparison = read_json(status.comparison_file)
    print(f"\n{aligned(_comparison_rows(comparison))}")
    for name, reason in comparison["left_out"].items():
        print(printable(f"Left out: {name}: {reason}"))
    print(comparison["note"])
    written = (status.message, f"  {status.model_file}", f"  {status.comparison_file}")
    print("\n".join([DISCLAIMER, *map(printable, written)]))


def _start(chosen: argparse.Namespace) -> FineTuning:
    from CovidLungQuantLib.training.fine_tune import start_fine_tuning

    return start_fine_tuning(
        chosen.dataset,
        chosen.model,
        chosen.name,
        device=chosen.device,
        same_patient=chosen.same_patient,
        held_back=[name for names in chosen.hold_back for name in names],
        epochs=chosen.epochs,
    )


def _comparison_rows(comparison: dict[str, Any]) -> list[tuple[str, ...]]:
    """Dice of the old and the new model, a row a case, then the mean."""
    from CovidLungQuantLib.training.fine_tuning_runs import COMPARED

    columns = [(figure, which) for figure in COMPARED for which in ("old", "new")]
    heading = [f"{COMPARED[figure]} {which}" for figure, which in columns]
    rows: list[tuple[str, ...]] = [("Dice, old and new model", *heading)]
    for case in comparison["cases"]:
        rows.append((case["case"], *_cells(case[which][figure] for figure, which in columns)))
    mean = comparison["mean"]
    return [*rows, ("mean", *_cells(mean[figure][which] for figure, which in columns))]


def _cells(numbers: Iterable[float | None]) -> list[str]:
    return ["–" if number is None else f"{number:.3f}" for number in numbers]
