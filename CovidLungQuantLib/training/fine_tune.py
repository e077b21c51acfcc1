"""Fine-tuning a model on a training set, in a process of its own that outlives the caller.

`start_fine_tuning` writes a plan into a run folder and starts this module on it
(`python -m CovidLungQuantLib.training.fine_tune RUN_FOLDER`). That process holds back some of the
patients, trains on the others from the old model on, compares old and new model on the patients
held back, and puts the new model beside the user's others. Everything about it is said in
files of the run folder, so that whoever asks later (`FineTuning.status`) needs no handle of the
process. The old model stays as it is.
"""

from __future__ import annotations

import _thread
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from CovidLungQuantLib.errors import BadInputError, Cancelled, CovidLungQuantError
from CovidLungQuantLib.files.tables import replace_text
from CovidLungQuantLib.lesions.inference import choose_device
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.models.network import LesionNetworkConfig
from CovidLungQuantLib.models.registry import (
    CHECKSUM_SUFFIX,
    MODEL_SUFFIX,
    model_path,
    user_models_folder,
)
from CovidLungQuantLib.training.config import TrainingConfig, read_config, training_values
from CovidLungQuantLib.training.data import fold_names, patients
from CovidLungQuantLib.training.dataset import case_names, patient_groups
from CovidLungQuantLib.training.fine_tuning_runs import (
    ALIVE_FILE_NAME,
    CANCEL_FILE_NAME,
    CANCELLED,
    CHANGED_SLICE_SUFFIX,
    COMPARING,
    COMPARISON_SUFFIX,
    CONFIG_FILE_NAME,
    DONE,
    FAILED,
    MESSAGES_FILE_NAME,
    PLAN_FILE_NAME,
    RUNS_FOLDER_NAME,
    STATE_FILE_NAME,
    TRAINING,
    TRAINING_FOLDER_NAME,
    FineTuning,
    FineTuningPlan,
)
from CovidLungQuantLib.training.model_comparison import (
    compare_models,
    comparison_values,
    write_comparison_table,
    write_most_changed_slice,
)
from CovidLungQuantLib.training.recipes import recipe
from CovidLungQuantLib.training.run import train_on_dataset

# What a new model is made of, and what half of it may leave behind.
MADE_SUFFIXES = (
    MODEL_SUFFIX,
    f"{MODEL_SUFFIX}.partial",
    CHECKSUM_SUFFIX,
    f"{COMPARISON_SUFFIX}.csv",
    f"{COMPARISON_SUFFIX}.json",
    CHANGED_SLICE_SUFFIX,
)

EPOCHS = 6
# A tenth of the short recipe's: far enough to learn, too little to forget.
LEARNING_RATE = 3e-4
# Every fifth patient is held back, or one where there are fewer.
LARGEST_FOLD_COUNT = 5

HEARTBEAT_S = 1.0
PACKAGE_PARENT = Path(__file__).resolve().parents[2]
# Files that are named after a model have a suffix.
LONGEST_NAME = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def fine_tuning_config(network: LesionNetworkConfig) -> TrainingConfig:
    """The network's recipe, all of it on windows, with a low learning rate and few epochs.

    Args:
        network: of the model to go on from, which cannot change.
    """
    return replace(
        recipe(network.fine_tuning_recipe),
        network=network,
        main_branch_epochs=0,
        main_branch_rate=1.0,
        learning_rate=LEARNING_RATE,
        epochs=EPOCHS,
    )


def start_fine_tuning(
    dataset: Path | str,
    model: str | None = None,
    name: str | None = None,
    models_folder: Path | str | None = None,
    device: str = "auto",
    same_patient: Sequence[Sequence[str]] = (),
    config: TrainingConfig | None = None,
    python: str | None = None,
    held_back: Sequence[str] = (),
    epochs: int | None = None,
) -> FineTuning:
    """Start fine-tuning in the background.

    Args:
        dataset: folder of the training set.
        model: name or file of the model to go on from; None is the default model.
        name: of the new model; None makes one from the old one's.
        models_folder: where it goes; None is the user's (see `models.registry`).
        device: where to train.
        same_patient: cases of one patient, kept together, as for `train`; those that the dataset's
            manifest names are, anyway.
        config: how to train; None is `fine_tuning_config`.
        python: program to run; None is the one that runs now.
        held_back: cases to compare on, with the others of their patients; none means those of
            every fifth patient.
        epochs: how long to train; None leaves it to `config`.

    Raises:
        BadInputError: no such model, dataset or case, too few patients, a name that is taken or
            cannot be a file's, or a folder that cannot be written.
    """
    if epochs is not None and epochs < 1:
        raise BadInputError(f"Training for {epochs} epochs is no training; choose 1 or more.")
    choose_device(device)
    folder = Path(models_folder or user_models_folder()).expanduser().absolute()
    start_from = model_path(model).absolute()
    config = config or fine_tuning_config(load_model(str(start_from)).config)
    config = replace(config, epochs=config.epochs if epochs is None else epochs)
    dataset = Path(dataset).expanduser().absolute()
    same_patient = patient_groups(dataset, same_patient)
    trained_on, held_back = _split(dataset, held_back, same_patient)
    plan = FineTuningPlan(
        dataset=str(dataset),
        start_from=str(start_from),
        name=_new_name(folder, name, start_from.stem),
        models_folder=str(folder),
        device=device,
        held_back=held_back,
        trained_on=trained_on,
        same_patient=same_patient,
        epochs=config.epochs,
    )
    run_folder = folder / RUNS_FOLDER_NAME / plan.name
    try:
        if run_folder.exists():
            FineTuning(run_folder).forget()
        run_folder.mkdir(parents=True)
        _write_json(run_folder / CONFIG_FILE_NAME, training_values(config))
        _write_json(run_folder / PLAN_FILE_NAME, asdict(plan))
        _start_process(python or sys.executable, run_folder)
    except OSError as error:
        raise BadInputError(
            f"Fine-tuning cannot be started in {folder} ({error.strerror}); choose another folder "
            "for your models."
        ) from error
    return FineTuning(run_folder)


def _split(
    dataset: Path, held_back: Sequence[str], same_patient: Sequence[Sequence[str]]
) -> tuple[list[str], list[str]]:
    """Cases to train on and cases to compare on; a patient is never in both."""
    names = case_names(dataset)
    groups = patients(names, same_patient)
    if len(groups) < 2:
        raise BadInputError(
            f"{dataset.name} holds one patient only; add at least one more, so that the new model "
            "can be compared on a patient it was not trained on."
        )
    if not held_back:
        return fold_names(names, 0, min(LARGEST_FOLD_COUNT, len(groups)), same_patient)
    if unknown := sorted(set(held_back) - set(names)):
        raise BadInputError(
            f"There is no case {unknown[0]} in {dataset.name}; hold back some of "
            f"{', '.join(names)}."
        )
    kept = [name for group in groups if set(group).isdisjoint(held_back) for name in group]
    if not kept:
        raise BadInputError(
            f"Every patient of {dataset.name} would be held back; leave at least one to train on."
        )
    return sorted(kept), [name for name in names if name not in kept]


def _new_name(folder: Path, wanted: str | None, old_name: str) -> str:
    def is_taken(name: str) -> bool:
        try:
            model_path(name)
        except BadInputError:
            run = FineTuning(folder / RUNS_FOLDER_NAME / name)
            if (folder / f"{name}{MODEL_SUFFIX}").exists():
                return True
            # What was cancelled or failed may be started again.
            if not (run.run_folder / PLAN_FILE_NAME).exists():
                return False
            try:
                return not run.status().is_over
            except BadInputError:
                return True
        return True

    if wanted is None:
        base = f"{re.sub(r'-fine-tuned-[0-9]+$', '', old_name)}-fine-tuned"
        number = 1
        while is_taken(f"{base}-{number}"):
            number += 1
        return f"{base}-{number}"
    if not NAME.fullmatch(wanted) or len(wanted) > LONGEST_NAME:
        raise BadInputError(
            f"“{wanted}” cannot be the name of a model; use letters, digits, dots, hyphens and "
            f"underscores, {LONGEST_NAME} at most."
        )
    if is_taken(wanted):
        raise BadInputError(f"There is a model or a run called {wanted} already; choose another.")
    return wanted


def _start_process(python: str, run_folder: Path) -> None:
    paths = [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    with (run_folder / MESSAGES_FILE_NAME).open("w", encoding="utf-8") as messages:
        subprocess.Popen(
            [python, "-m", "CovidLungQuantLib.training.fine_tune", str(run_folder)],
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            # Out of the caller's session, so that closing it does not end the training.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )


def run_fine_tuning(run_folder: Path) -> None:
    """Do what the plan in a run folder says; its end, good or bad, is written there.

    Raises:
        whatever went wrong, after it was written.
    """
    run_folder = Path(run_folder)
    heart = threading.Thread(target=_beat, args=(run_folder,), daemon=True)
    # A process started in the background may have been told to ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # Within, since its first beat may be the one that cancels.
        heart.start()
        plan = FineTuning(run_folder).plan
        _write_state(run_folder, TRAINING, "Training")
        _train(plan, run_folder)
        _write_state(run_folder, COMPARING, "Comparing the old and the new model")
        _finish(plan, run_folder)
    except (KeyboardInterrupt, Cancelled):
        message = "Fine-tuning was cancelled; no model was made."
        _write_state(run_folder, CANCELLED, message, Cancelled.exit_code)
    except CovidLungQuantError as error:
        _write_state(run_folder, FAILED, str(error), error.exit_code)
        raise
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        _write_state(run_folder, FAILED, message, CovidLungQuantError.exit_code)
        raise
    else:
        _write_state(run_folder, DONE, f"The new model {plan.name} is ready to be chosen.")


def _train(plan: FineTuningPlan, run_folder: Path) -> None:
    """Go on training the old model with the patients that are not held back."""
    train_on_dataset(
        Path(plan.dataset),
        run_folder / TRAINING_FOLDER_NAME,
        read_config(run_folder / CONFIG_FILE_NAME),
        device=plan.device,
        start_from=plan.start_from,
        leave_out=plan.held_back,
        same_patient=plan.same_patient,
    )


def _finish(plan: FineTuningPlan, run_folder: Path) -> None:
    """Compare, and put the new model with its comparison into the folder of models."""
    trained = run_folder / TRAINING_FOLDER_NAME / f"{TRAINING_FOLDER_NAME}{MODEL_SUFFIX}"
    old, new = load_model(plan.start_from), load_model(str(trained))
    comparison = compare_models(Path(plan.dataset), plan.held_back, old, new)
    folder = Path(plan.models_folder)
    stem = f"{plan.name}{COMPARISON_SUFFIX}"
    try:
        write_comparison_table(folder / f"{stem}.csv", comparison.rows)
        if comparison.most_changed is not None:
            slice_file = folder / f"{plan.name}{CHANGED_SLICE_SUFFIX}"
            write_most_changed_slice(slice_file, comparison.most_changed)
        _write_json(folder / f"{stem}.json", comparison_values(plan, old, new, comparison))
        # Last, so that a model that can be chosen always has its comparison.
        save_model(folder / f"{plan.name}{MODEL_SUFFIX}", new.network)
    except BaseException:
        for suffix in MADE_SUFFIXES:
            (folder / f"{plan.name}{suffix}").unlink(missing_ok=True)
        raise


def _beat(run_folder: Path) -> None:
    """Show that the process lives, and end it where that is asked for."""
    while True:
        (run_folder / ALIVE_FILE_NAME).touch()
        if (run_folder / CANCEL_FILE_NAME).exists():
            _thread.interrupt_main()
            return
        time.sleep(HEARTBEAT_S)


def _write_state(run_folder: Path, state: str, message: str, exit_code: int = 0) -> None:
    values = {"state": state, "message": message, "exit_code": exit_code}
    _write_json(run_folder / STATE_FILE_NAME, values)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    replace_text(path, json.dumps(content, indent=2, allow_nan=False))


def main() -> int:
    """The background process: what the plan in the run folder says; returns its exit code."""
    (run_folder,) = sys.argv[1:]
    try:
        run_fine_tuning(Path(run_folder))
    except CovidLungQuantError as error:
        print(error)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
