"""A fine-tuning as the files of its run folder tell it, running or over; needs no PyTorch.

`fine_tunings()` finds all of them again, whoever started them; `FineTuning.status()` says how far
one is, and `watch` follows it to its end. `training.fine_tune` starts them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from CovidLungQuantLib.errors import BadInputError, Cancelled, CovidLungQuantError
from CovidLungQuantLib.models.registry import MODEL_SUFFIX, user_models_folder
from CovidLungQuantLib.progress import ProgressCallback
from CovidLungQuantLib.training.curves import LOG_FILE_NAME
from CovidLungQuantLib.vetting import damaged, parse_json, read_json, read_text
from CovidLungQuantLib.vetting.problems import NOT_AS_WRITTEN_ERRORS

RUNS_FOLDER_NAME = "fine-tuning"
PLAN_FILE_NAME = "plan.json"
CONFIG_FILE_NAME = "training-config.json"
STATE_FILE_NAME = "state.json"
ALIVE_FILE_NAME = "alive"
CANCEL_FILE_NAME = "cancel"
MESSAGES_FILE_NAME = "messages.txt"
TRAINING_FOLDER_NAME = "training"
COMPARISON_SUFFIX = ".comparison"
CHANGED_SLICE_SUFFIX = f"{COMPARISON_SUFFIX}.slice.nrrd"
# Loading the libraries from a slow disk takes long before the first heartbeat.
SILENT_AFTER_S = 120.0
TRAINING_SHARE = 0.8
LOOK_EVERY_S = 0.5

STARTING, TRAINING, COMPARING = "starting", "training", "comparing"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
FINAL_STATES = (DONE, FAILED, CANCELLED)
STATES = (STARTING, TRAINING, COMPARING, *FINAL_STATES)

# What the comparison puts side by side, and of what it is; the table beside holds every figure.
COMPARED = {
    "lesion_dice": "lesion",
    "ggo_dice": "GGO",
    "high_opacity_dice": "high opacity",
    "lung_dice": "lung",
}


@dataclass(frozen=True)
class FineTuningPlan:
    """What a fine-tuning does.

    Attributes:
        dataset: folder of the training set.
        start_from: model file to go on from.
        name: of the new model.
        models_folder: where the new model goes.
        device: "auto", "cpu", "cuda" or "mps".
        held_back: cases to compare on, not trained on.
        trained_on: the other cases.
        same_patient: cases of one patient, as for `train`.
        epochs: of training.
    """

    dataset: str
    start_from: str
    name: str
    models_folder: str
    device: str
    held_back: list[str]
    trained_on: list[str]
    same_patient: list[list[str]]
    epochs: int


@dataclass(frozen=True)
class FineTuningStatus:
    """How far a fine-tuning is.

    Attributes:
        state: "starting", "training", "comparing", "done", "failed" or "cancelled".
        message: one sentence for the user.
        fraction: 0…1.
        losses: training loss of each finished epoch.
        model_file: the new model; None until it is done.
        comparison_file: JSON, likewise.
        exit_code: of a command that failed so, as in `errors`; 0 where nothing failed.
    """

    state: str
    message: str
    fraction: float
    losses: list[float] = field(default_factory=list)
    model_file: Path | None = None
    comparison_file: Path | None = None
    exit_code: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in FINAL_STATES


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuning, running or over, as its run folder tells it."""

    run_folder: Path

    @property
    def plan(self) -> FineTuningPlan:
        """What it does.

        Raises:
            BadInputError: its file is gone or damaged.
        """
        try:
            values = read_json(self.run_folder / PLAN_FILE_NAME)
        except BadInputError as error:
            raise _damaged(self.run_folder) from error
        if not _is_plan(values):
            raise _damaged(self.run_folder)
        return FineTuningPlan(**values)

    @property
    def started_s(self) -> float:
        """When it was started, seconds since 1970."""
        return (self.run_folder / PLAN_FILE_NAME).stat().st_mtime

    def status(self) -> FineTuningStatus:
        """How far it is; reads a few small files.

        Raises:
            BadInputError: one of them is damaged.
        """
        plan = self.plan
        try:
            state, message, exit_code = self._state()
            losses = self._losses()
        except NOT_AS_WRITTEN_ERRORS as error:
            raise _damaged(self.run_folder) from error
        if state == DONE:
            model_file = Path(plan.models_folder) / f"{plan.name}{MODEL_SUFFIX}"
            comparison_file = model_file.with_name(f"{plan.name}{COMPARISON_SUFFIX}.json")
            return FineTuningStatus(state, message, 1.0, losses, model_file, comparison_file)
        if state == TRAINING:
            message = f"Training, {len(losses)} of {plan.epochs} epochs done"
        fraction = TRAINING_SHARE * len(losses) / plan.epochs
        return FineTuningStatus(state, message, fraction, losses, exit_code=exit_code)

    @property
    def is_sound(self) -> bool:
        """Whether its status can be told; not where its files are damaged."""
        try:
            self.status()
        except BadInputError:
            return False
        return True

    def cancel(self) -> None:
        """Ask the process to stop; it does within seconds, and leaves no model."""
        (self.run_folder / CANCEL_FILE_NAME).touch()

    def forget(self) -> None:
        """Delete the run folder of a fine-tuning that is over; a model it made stays."""
        shutil.rmtree(self.run_folder)

    def _state(self) -> tuple[str, str, int]:
        """State, message and exit code as last written; failed if the process fell silent."""
        file = self.run_folder / STATE_FILE_NAME
        state, message, exit_code = STARTING, "Starting", 0
        if file.exists():
            values = read_json(file)
            state, message, exit_code = values["state"], values["message"], values["exit_code"]
            if state not in STATES or not isinstance(message, str) or type(exit_code) is not int:
                raise damaged(STATE_FILE_NAME, f"it is not the state of {self.run_folder.name}")
        signs = (self.run_folder / name for name in (ALIVE_FILE_NAME, PLAN_FILE_NAME))
        last_sign_s = max(sign.stat().st_mtime for sign in signs if sign.exists())
        if state not in FINAL_STATES and time.time() - last_sign_s > SILENT_AFTER_S:
            message = (
                "Fine-tuning stopped without a word (the computer was switched off, perhaps); start"
                " it again."
            )
            return FAILED, message, CovidLungQuantError.exit_code
        return state, message, exit_code

    def _losses(self) -> list[float]:
        log = self.run_folder / TRAINING_FOLDER_NAME / LOG_FILE_NAME
        if not log.exists():
            return []
        # The last line may be half written.
        lines = read_text(log).split("\n")[:-1]
        losses: list[Any] = [
            parse_json(line, LOG_FILE_NAME, nan_allowed=True)["loss"] for line in lines
        ]
        if not all(_is_number(loss) for loss in losses):
            raise damaged(LOG_FILE_NAME, f"it is not the log of {self.run_folder.name}")
        return losses


def _damaged(run_folder: Path) -> BadInputError:
    return BadInputError(
        f"The fine-tuning {run_folder.name} cannot be told of, for its files are damaged; delete "
        f"the folder {run_folder}."
    )


def fine_tunings(models_folder: Path | str | None = None) -> list[FineTuning]:
    """All that were started for a folder of models, running or over, by name."""
    folder = Path(models_folder or user_models_folder()).expanduser().absolute()
    plans = (folder / RUNS_FOLDER_NAME).glob(f"*/{PLAN_FILE_NAME}")
    return [FineTuning(plan.parent) for plan in sorted(plans)]


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


def cancel_fine_tuning(name: str) -> str:
    """Stop the fine-tuning of this name; returns how it ended.

    Raises:
        BadInputError: none of this name is running.
    """
    for run in fine_tunings():
        if run.run_folder.name == name and not run.status().is_over:
            run.cancel()
            return _until_over(run).message
    raise BadInputError(f"No fine-tuning called {name} is running; --status names those that are.")


def status_lines() -> list[str]:
    """One line for each fine-tuning, for one whose files are damaged, too."""
    lines = []
    for run in fine_tunings():
        try:
            status = run.status()
        except BadInputError as error:
            # One that is broken does not hide the others.
            lines.append(f"{run.run_folder.name:<30}   ? %  {error}")
            continue
        lines.append(f"{run.plan.name:<30} {100 * status.fraction:3.0f} %  {_message(status)}")
    return lines or ["No model was fine-tuned here."]


def _is_plan(values: dict[str, Any]) -> bool:
    """Whether values are those of a plan, each of its type."""
    if set(values) != {item.name for item in fields(FineTuningPlan)}:
        return False
    texts = ("dataset", "start_from", "name", "models_folder", "device")
    lists = ("held_back", "trained_on", "same_patient")
    return (
        all(isinstance(values[key], str) for key in texts)
        and all(isinstance(values[key], list) for key in lists)
        and type(values["epochs"]) is int
        and values["epochs"] > 0
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
