"""`covidlungquant fine-tune`: a model goes on learning, watched or in the background."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from CovidLungQuantLib.errors import BadInputError, Cancelled, CovidLungQuantError
from CovidLungQuantLib.progress import ProgressCallback
from CovidLungQuantLib.training.fine_tune import (
    start_fine_tuning,
)
from CovidLungQuantLib.training.fine_tuning_runs import (
    CANCELLED,
    COMPARED,
    FAILED,
    MESSAGES_FILE_NAME,
    FineTuning,
    FineTuningStatus,
    fine_tunings,
)

LOOK_EVERY_S = 0.5
FIGURE_NAMES = {
    "lesion_dice": "lesion",
    "ggo_dice": "GGO",
    "high_opacity_dice": "high opacity",
    "lung_dice": "lung",
}


def check_options(chosen: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        BadInputError: none or several of DATASET, --status and --cancel are given.
    """
    if [chosen.dataset is not None, chosen.status, chosen.cancel is not None].count(True) != 1:
        raise BadInputError("Give the folder of a training set, or --status, or --cancel NEW.")


def start(chosen: argparse.Namespace) -> FineTuning:
    """Start what the options describe; raises as `start_fine_tuning`."""
    return start_fine_tuning(
        chosen.dataset,
        chosen.model,
        chosen.name,
        device=chosen.device,
        same_patient=chosen.same_patient,
        held_back=[name for names in chosen.hold_back for name in names],
        epochs=chosen.epochs,
    )


def watch(run: FineTuning, progress: ProgressCallback) -> FineTuningStatus:
    """Follow a fine-tuning to its end; an interruption ends it, and nothing of it stays.

    Raises:
        Cancelled: it was interrupted, here or by another.
        CovidLungQuantError: it failed, with the exit code of what went wrong.
    """
    try:
        status = _until_over(run, lambda now: progress(now.fraction, _message(now)))
    except KeyboardInterrupt:
        run.cancel()
        status = _until_over(run)
    if status.state == CANCELLED:
        run.forget()
        raise Cancelled(status.message)
    if status.state == FAILED:
        error = CovidLungQuantError(_failure(run, status))
        error.exit_code = status.exit_code
        raise error
    return status


def cancel(name: str) -> str:
    """Stop the fine-tuning of this name; returns how it ended.

    Raises:
        BadInputError: none of this name is running.
    """
    for run in fine_tunings():
        if run.plan.name == name and not run.status().is_over:
            run.cancel()
            return _until_over(run).message
    raise BadInputError(f"No fine-tuning called {name} is running; --status names those that are.")


def status_lines() -> list[str]:
    """One line for each fine-tuning."""
    lines = []
    for run in fine_tunings():
        status = run.status()
        lines.append(f"{run.plan.name:<30} {100 * status.fraction:3.0f} %  {_message(status)}")
    return lines or ["No model was fine-tuned here."]


def comparison_rows(comparison_file: Path) -> list[tuple[str, ...]]:
    """Dice of the old and the new model, a row a case, then the mean."""
    comparison = read_comparison(comparison_file)
    heading = [f"{name} {which}" for name in FIGURE_NAMES.values() for which in ("old", "new")]
    rows = [("Dice, old and new model", *heading)]
    for case in comparison["cases"]:
        rows.append((case["case"], *_cells(lambda figure, which, case=case: case[which][figure])))
    mean = comparison["mean"]
    return [*rows, ("mean", *_cells(lambda figure, which: mean[figure][which]))]


def comparison_notes(comparison_file: Path) -> list[str]:
    """What was left out of the comparison and why, and how to read it."""
    comparison = read_comparison(comparison_file)
    left_out = [f"Left out: {name}: {reason}" for name, reason in comparison["left_out"].items()]
    return [*left_out, comparison["note"]]


def read_comparison(comparison_file: Path) -> dict[str, Any]:
    """Content of the JSON file beside a fine-tuned model."""
    return json.loads(comparison_file.read_text(encoding="utf-8"))


def _cells(value: Callable[[str, str], float | None]) -> list[str]:
    numbers = [value(figure, which) for figure in COMPARED for which in ("old", "new")]
    return ["–" if number is None else f"{number:.3f}" for number in numbers]


def _until_over(
    run: FineTuning, tell: Callable[[FineTuningStatus], None] = lambda status: None
) -> FineTuningStatus:
    while not (status := run.status()).is_over:
        tell(status)
        time.sleep(LOOK_EVERY_S)
    return status


def _message(status: FineTuningStatus) -> str:
    loss = f", loss {status.losses[-1]:.3f}" if status.losses and not status.is_over else ""
    return f"{status.message}{loss}"


def _failure(run: FineTuning, status: FineTuningStatus) -> str:
    """What went wrong; where nobody foresaw it, with the file that says more."""
    if status.exit_code != CovidLungQuantError.exit_code:
        return status.message
    return f"{status.message.rstrip('.')} (see {run.run_folder / MESSAGES_FILE_NAME})."
