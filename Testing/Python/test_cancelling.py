"""Every long step of a run asks often whether to go on; a run that is stopped leaves nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_model import small_model
from torch import nn

from CovidLungQuantLib.anatomy.lung_weights import shipped_lung_network
from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.ct.volume import CTVolume
from CovidLungQuantLib.errors import Cancelled
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.pipeline import Options, Quantification, enhance, quantify

# Stages that take longest on a scan of 512×512×300, and how often each asks at least.
LONG_STAGES = {
    "Finding the body": 20,
    "Taking dense lesions into the lungs": 10,
    "Drawing the borders of the lungs": 10,
    "Looking for dense lung": 40,
    "Finding the lobes of the right lung": 20,
    "Finding the lobes of the left lung": 20,
    "Segmenting slice": 40,
}
# The same of enhancing, on top of finding the lungs.
LONG_STAGES_OF_ENHANCING = {
    "Looking for bronchi": 40,
    "Following the bronchi": 20,
    "Looking for vessels": 20,
    "Measuring the parenchyma": 60,
    "Looking for sub-visual lesions": 40,
    "Summing up": 30,
}
STOPS = 3


@pytest.fixture(scope="module")
def ct(coarse_phantom: Path) -> CTVolume:
    return read_ct(coarse_phantom)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    path = tmp_path_factory.mktemp("model") / "small.pt"
    save_model(path, small_model().network)
    return Options(model=str(path), device="cpu")


@pytest.fixture(scope="module")
def whole(ct: CTVolume, options: Options) -> tuple[Quantification, list[tuple[float, str]]]:
    """A run that is not stopped, and all it said."""
    said: list[tuple[float, str]] = []
    result = quantify(ct, options, lambda fraction, message: said.append((fraction, message)))
    return result, said


def test_every_long_stage_asks_often(
    whole: tuple[Quantification, list[tuple[float, str]]],
) -> None:
    check_asks_often(whole[1], LONG_STAGES)


def test_enhancing_asks_often_too(
    ct: CTVolume, whole: tuple[Quantification, list[tuple[float, str]]]
) -> None:
    said: list[tuple[float, str]] = []
    labels = whole[0].labels

    def progress(fraction: float, message: str) -> None:
        said.append((fraction, message))

    # By the random network all may be lesion, and then nothing could be enhanced.
    labels = np.minimum(labels, NORMAL_LUNG.value)
    labels[18:21] = np.where(labels[18:21] > 0, GGO.value, 0)
    enhanced = enhance(ct, labels, find_sub_visual=True, progress=progress)
    check_asks_often(said, LONG_STAGES_OF_ENHANCING)
    middle = next(at for at, (_share, text) in enumerate(said) if text == "Summing up") + 5
    calls = 0

    def stopping(fraction: float, message: str) -> None:
        nonlocal calls
        calls += 1
        if calls > middle:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled, match="Stopped"):
        enhance(ct, labels, find_sub_visual=True, progress=stopping)
    assert calls == middle + 1
    assert enhanced.enhancement.sub_visual is not None


def check_asks_often(said: list[tuple[float, str]], stages: dict[str, int]) -> None:
    asked = Counter(
        next((stage for stage in stages if message.startswith(stage)), message)
        for _fraction, message in said
    )
    assert {stage: asked[stage] for stage in stages if asked[stage] < stages[stage]} == {}
    fractions = [fraction for fraction, _message in said]
    assert fractions == sorted(fractions)


def test_a_run_can_be_stopped_at_any_call(
    ct: CTVolume,
    options: Options,
    whole: tuple[Quantification, list[tuple[float, str]]],
) -> None:
    result, said = whole
    hu = ct.hu.copy()
    # Lobes take longest, and say nothing of the labels.
    options = replace(options, lobes="none")
    last = sum(text.startswith(("Finding the body", "Segmenting slice")) for _share, text in said)
    for stop in np.linspace(1, last, STOPS).round().astype(int):
        calls = 0

        def progress(fraction: float, message: str, stop: int = int(stop)) -> None:
            nonlocal calls
            calls += 1
            if calls == stop:
                raise Cancelled("Stopped.")

        with pytest.raises(Cancelled, match="Stopped"):
            quantify(ct, options, progress)
        assert calls == stop
    assert not hooks(shipped_lung_network())
    assert np.array_equal(ct.hu, hu)
    again = quantify(ct, options)
    assert np.array_equal(again.labels, result.labels)


def hooks(network: nn.Module) -> list[nn.Module]:
    """Layers that still call somebody before they run."""
    return [layer for layer in network.modules() if layer._forward_pre_hooks]
