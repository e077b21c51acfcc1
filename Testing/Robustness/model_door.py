"""The door for models: a tiny network, with its checksum beside it and without."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model, save_model
from CovidLungQuantLib.models.registry import CHECKSUM_SUFFIX
from Testing.Python.small_model import small_model
from Testing.Robustness.door import OTHER, SAME, Door, Seed

NAME = "model"


def model_door() -> Door:
    """Mostly without a checksum, which refuses nearly everything at once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{NAME}.pt"
        save_model(file, small_model().network)
        content = file.read_bytes()
        checksum = {NAME + CHECKSUM_SUFFIX: file.with_name(NAME + CHECKSUM_SUFFIX).read_bytes()}
    bare = Seed(file.name, content, _read)
    return Door("models", [bare, bare, Seed(file.name, content, _read, checksum)], judge)


def judge(seed: Seed, path: Path, before: LoadedModel, after: LoadedModel) -> str:
    """Same configuration and same weights."""
    valid, read = before.network.state_dict(), after.network.state_dict()
    is_same = before.config == after.config and valid.keys() == read.keys()
    return SAME if is_same and all(torch.equal(valid[key], read[key]) for key in valid) else OTHER


def _read(path: Path) -> LoadedModel:
    return load_model(str(path))
