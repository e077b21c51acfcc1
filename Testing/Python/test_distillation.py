"""Learning from larger networks: their answers on the same slices, beside the reader's labels."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import SMALL_CONFIG
from test_train_command import a_config_file, a_dataset
from test_training import scan_with_lesion, small_training

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, save_model
from CovidLungQuantLib.lesions.networks import build_network
from CovidLungQuantLib.lesions.networks.unet import UNetConfig
from CovidLungQuantLib.models.network import KIND_CHANNEL, LESION_CHANNEL, LOGIT_CHANNELS
from CovidLungQuantLib.training.config import CONFIG_FILE_NAME
from CovidLungQuantLib.training.distillation import check_grid, taught_probabilities
from CovidLungQuantLib.training.losses import distillation_loss
from CovidLungQuantLib.training.trainer import train

TEACHER_CONFIG = UNetConfig(working_size=64, base_channels=4)


def a_teacher(seed: int = 7) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network(TEACHER_CONFIG).eval()


def test_the_loss_is_cross_entropy_and_the_kind_counts_where_there_is_lesion():
    taught = torch.full((1, LOGIT_CHANNELS, 1, 2), 0.5)
    taught[:, LESION_CHANNEL] = torch.tensor([1.0, 0.0])
    # An undecided network: ln 2 for each of three channels, and for the kind of one lesion voxel.
    undecided = torch.zeros_like(taught)
    expected = KIND_CHANNEL * math.log(2) + math.log(2) / 2
    assert float(distillation_loss(undecided, taught)) == pytest.approx(expected)
    # The kind of what is no lesion is nobody's business.
    other = undecided.clone()
    other[:, KIND_CHANNEL:, :, 1] = 9.0
    assert float(distillation_loss(other, taught)) == pytest.approx(expected)
    other[:, KIND_CHANNEL:, :, 0] = 9.0
    assert float(distillation_loss(other, taught)) > expected


def test_several_teachers_say_the_mean_of_what_each_says_of_the_middle_slice():
    slices = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    windows = torch.tensor([[0, 1, 2], [2, 3, 4]])
    teachers = [a_teacher(1), a_teacher(2)]
    with torch.no_grad():
        each = [teacher(slices, torch.tensor([[1], [3]])).logits.sigmoid() for teacher in teachers]
    torch.testing.assert_close(
        taught_probabilities(teachers, slices, windows), (each[0] + each[1]) / 2
    )
    alone = taught_probabilities(teachers[:1], slices, None)
    torch.testing.assert_close(alone[[1, 3]], each[0])


def test_a_teacher_that_sees_other_slices_is_refused():
    check_grid(SMALL_CONFIG, [a_teacher()])
    with pytest.raises(BadInputError, match="3 for context_slices, the one to train 1"):
        check_grid(SMALL_CONFIG, [build_network(replace(TEACHER_CONFIG, context_slices=3))])


def test_a_network_comes_closer_to_its_teacher_and_leaves_it_as_it_was(tmp_path):
    teacher = a_teacher()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    config = replace(
        small_training(8),
        network=TEACHER_CONFIG,
        distil_weight=1.0,
        rmi_weight=0.0,
        dice_weight=1.0,
    )
    slices = torch.from_numpy(scan_with_lesion().hu[5:9, None].astype(np.float32))
    slices = ((slices + 1024) / 1624).clamp(0, 1)
    expected = taught_probabilities([teacher], slices, None)

    def distance(network: torch.nn.Module) -> float:
        return float((taught_probabilities([network.eval()], slices, None) - expected).abs().mean())

    alone = train([scan_with_lesion()], config, tmp_path / "alone")
    taught = train(
        [scan_with_lesion()], config, tmp_path / "taught", distil_from={"teacher": teacher}
    )
    assert distance(taught) < 0.5 * distance(alone)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_command_names_the_teacher_in_the_configuration(tmp_path, capsys):
    teacher = LoadedModel(a_teacher(), TEACHER_CONFIG, "large", "")
    sha256 = save_model(tmp_path / "large.pt", teacher.network)
    arguments = [
        "train",
        str(a_dataset(tmp_path / "cases")),
        "-o",
        str(tmp_path / "run"),
        "--config",
        str(a_config_file(tmp_path, replace(small_training(1), network=TEACHER_CONFIG))),
        "--epochs",
        "1",
        "--distil-from",
        str(tmp_path / "large.pt"),
    ]
    assert main(arguments) == 0
    saved = json.loads((tmp_path / "run" / CONFIG_FILE_NAME).read_text())
    assert saved["scans"]["distilled from"] == [f"large {sha256}"]
    assert main(arguments[:-2]) != 0
    assert "other options or scans" in capsys.readouterr().err
