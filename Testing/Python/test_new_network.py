"""A new network is one class and one entry in a table: everything else takes it as it comes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import pytest
import torch
from test_inference import SPACING_MM, small_scan
from test_training import scan_with_lesion, small_training
from torch import Tensor, nn

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import NORMAL_LUNG
from CovidLungQuantLib.lesions.inference import segment_lesions
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks import NETWORKS, Architecture, build_network
from CovidLungQuantLib.models.network import BODY_CROP, LOGIT_CHANNELS
from CovidLungQuantLib.training.fine_tune import fine_tuning_config
from CovidLungQuantLib.training.trainer import train

LESION_HU = -600.0


@dataclass(frozen=True)
class ThresholdConfig:
    working_size: int = 64
    crop: str = BODY_CROP
    window_length: int = 1
    window_step_mm: float = 3.0
    context_slices: int = 1
    hu_window: tuple[float, float] = (-1000.0, 0.0)
    steepness: float = 50.0

    fine_tuning_recipe: ClassVar[str] = "unet"

    @property
    def description(self) -> str:
        return "A threshold."

    @property
    def widths(self) -> str:
        return "one number"


class ThresholdOutput(NamedTuple):
    logits: Tensor

    @property
    def branches(self) -> tuple[Tensor, ...]:
        return ()


class ThresholdNetwork(nn.Module):
    """Lesion is what is denser than `LESION_HU`, normal lung what is not."""

    Seen = ThresholdOutput
    main_branch = None

    def __init__(self, config: ThresholdConfig) -> None:
        super().__init__()
        self.config = config
        low, high = config.hu_window
        self.threshold = nn.Parameter(torch.tensor((LESION_HU - low) / (high - low)))

    def forward(self, slices: Tensor, windows: Tensor) -> ThresholdOutput:
        return self.attend(self.see_slices(slices), windows)

    def see_slices(self, slices: Tensor) -> ThresholdOutput:
        lesion = self.config.steepness * (slices[:, 0] - self.threshold)
        logits = [torch.full_like(lesion, -20.0), -lesion, lesion, -lesion.abs()]
        assert len(logits) == LOGIT_CHANNELS
        return ThresholdOutput(torch.stack(logits, dim=1))

    def attend(self, seen: ThresholdOutput, windows: Tensor) -> ThresholdOutput:
        return ThresholdOutput(seen.logits[windows[:, 0]])


@pytest.fixture(autouse=True)
def entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one entry."""
    monkeypatch.setitem(NETWORKS, "threshold", Architecture(ThresholdNetwork, ThresholdConfig))


def test_it_is_built_saved_loaded_and_segments(tmp_path):
    config = ThresholdConfig(steepness=80.0)
    save_model(tmp_path / "threshold.pt", build_network(config))
    model = load_model(str(tmp_path / "threshold.pt"))
    assert model.config == config and isinstance(model.network, ThresholdNetwork)
    hu, anatomy = small_scan()
    hu[8:14, 35:50, 20:35] = -400
    labels = segment_lesions(hu, SPACING_MM, anatomy, model, "cpu", mirror=True).labels
    assert (labels[9:13, 38:47, 23:32] > NORMAL_LUNG.value).all()
    assert (labels[5:-5, 28:62, 58:82] == NORMAL_LUNG.value).all()
    assert (labels[anatomy.lungs > 0] > 0).all()


def test_it_is_trained_and_fine_tuned_by_its_recipe(tmp_path):
    config = replace(small_training(2), network=ThresholdConfig(), branch_weight=0.5)
    start = build_network(config.network)
    trained = train([scan_with_lesion()], config, tmp_path / "run", start_from=start)
    assert float(trained.threshold.detach()) != float(start.threshold.detach())
    saved = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert saved["network"]["architecture"] == "threshold"
    assert "fine_tuning_recipe" not in saved["network"]
    assert fine_tuning_config(trained.config).samples_per_batch == 16


def test_without_a_main_branch_none_is_trained_alone(tmp_path):
    config = replace(small_training(1), network=ThresholdConfig(), main_branch_epochs=1)
    with pytest.raises(BadInputError, match="no main branch"):
        train([scan_with_lesion()], config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_it_cannot_stand_where_its_layers_do_not_fit(tmp_path):
    start = build_network(ThresholdConfig())
    with pytest.raises(BadInputError, match="other layers"):
        train([scan_with_lesion()], small_training(1), tmp_path / "run", start_from=start)
    config = replace(small_training(1), network=ThresholdConfig())
    other = build_network(small_training(1).network)
    with pytest.raises(BadInputError, match="other layers"):
        train([scan_with_lesion()], config, tmp_path / "run", start_from=other)
    assert not (tmp_path / "run").exists()
