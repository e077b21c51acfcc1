"""The folder of a training run: whose run it is, and the checkpoint it goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import not_written
from CovidLungQuantLib.models.files import NOT_A_MODEL_ERRORS, read_torch
from CovidLungQuantLib.models.network import LesionNetwork
from CovidLungQuantLib.training.config import (
    CONFIG_FILE_NAME,
    SCANS_KEY,
)
from CovidLungQuantLib.training.schedule import Scheduler

CHECKPOINT_FILE_NAME = "checkpoint.pt"


def claim_run_folder(
    run_folder: Path, config_values: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> None:
    """Write the values of a configuration and the names of the scans by what they are for.

    Raises:
        BadInputError: the folder holds a run of other options or scans.
    """
    config_file = run_folder / CONFIG_FILE_NAME
    values = {**config_values, SCANS_KEY: names}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    if (run_folder / CHECKPOINT_FILE_NAME).exists() and config_file.read_text(
        encoding="utf-8"
    ) != text:
        raise BadInputError(
            f"{run_folder.name} holds a training run of other options or scans; choose another "
            "folder, or the same options and scans to go on with it."
        )
    run_folder.mkdir(parents=True, exist_ok=True)
    config_file.write_text(text, encoding="utf-8")


def save_checkpoint(
    run_folder: Path,
    network: nn.Module | LesionNetwork,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler,
    next_epoch: int,
) -> None:
    """Write beside, then rename, so that a kill never leaves half a checkpoint.

    Raises:
        BadInputError: it cannot be written there.
        OutOfResourcesError: the disk is full.
    """
    partial = run_folder / f"{CHECKPOINT_FILE_NAME}.partial"
    try:
        torch.save(
            {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "next_epoch": next_epoch,
            },
            partial,
        )
        partial.replace(run_folder / CHECKPOINT_FILE_NAME)
    except (OSError, RuntimeError) as error:
        # torch does not say why it could not write.
        raise not_written(partial, CHECKPOINT_FILE_NAME) from error
    finally:
        partial.unlink(missing_ok=True)


def resume(
    run_folder: Path,
    network: nn.Module | LesionNetwork,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler,
) -> int:
    """Fill all three from the checkpoint, if there is one; returns the next epoch.

    Raises:
        BadInputError: the checkpoint is damaged or of another network.
    """
    checkpoint_file = run_folder / CHECKPOINT_FILE_NAME
    if not checkpoint_file.exists():
        return 0
    try:
        checkpoint = read_torch(checkpoint_file.read_bytes())
        network.load_state_dict(checkpoint["network"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        return int(checkpoint["next_epoch"])
    except (OSError, *NOT_A_MODEL_ERRORS) as error:
        raise BadInputError(
            f"{CHECKPOINT_FILE_NAME} of {run_folder.name} is damaged or of another network; remove "
            "it to train from the beginning."
        ) from error
