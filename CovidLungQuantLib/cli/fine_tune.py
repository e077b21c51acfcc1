"""`covidlungquant fine-tune`: a model goes on learning from a training set."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.options import PROGRAM, add_debug_option
from CovidLungQuantLib.cli.printing import aligned
from CovidLungQuantLib.cli.progress_bar import shown_progress
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.training.options import add_fine_tuning_options

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


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
    add_fine_tuning_options(parser)
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Fine-tune, or tell of those that run, or stop one."""
    from CovidLungQuantLib.training import fine_tune_command

    fine_tune_command.check_options(chosen)
    if chosen.status:
        print("\n".join(fine_tune_command.status_lines()))
        return
    if chosen.cancel is not None:
        print(fine_tune_command.cancel(chosen.cancel))
        return
    run = fine_tune_command.start(chosen)
    if chosen.background:
        name = run.plan.name
        print(
            f"Fine-tuning {name} has begun; see {PROGRAM} fine-tune --status, and --cancel {name}."
        )
        return
    with shown_progress() as progress:
        status = fine_tune_command.watch(run, progress)
    print(f"\n{aligned(fine_tune_command.comparison_rows(status.comparison_file))}")
    print("\n".join(fine_tune_command.comparison_notes(status.comparison_file)))
    print(f"{DISCLAIMER}\n{status.message}\n  {status.model_file}\n  {status.comparison_file}")
