"""Results that do not depend on how many threads compute them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from CovidLungQuantLib.anatomy.lung_network import shares_on_grid
from CovidLungQuantLib.anatomy.lung_weights import shipped_lung_network
from CovidLungQuantLib.anatomy.network_blocks import SteadyGroupNorm
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.pipeline import quantify
from CovidLungQuantLib.quantification import Options
from CovidLungQuantLib.threads import computing_threads

MANY = (2, 3, 8)


def numbers_of_threads() -> tuple[int, int]:
    return torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()


def test_the_number_is_as_before_afterwards():
    before = numbers_of_threads()
    with pytest.raises(ZeroDivisionError), computing_threads(3):
        assert numbers_of_threads() == (3, 3)
        raise ZeroDivisionError
    assert numbers_of_threads() == before


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_group_norm_is_the_same_on_any_number_and_keeps_its_memory_format(memory_format):
    maps = torch.randn(1, 24, 24, 24, 32, generator=torch.Generator().manual_seed(0))
    maps = maps.contiguous(memory_format=memory_format)
    norm = SteadyGroupNorm(4, 24)

    def normalised(threads: int) -> torch.Tensor:
        with torch.inference_mode(), computing_threads(threads):
            return norm(maps)

    alone = normalised(1)
    assert alone.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(alone, torch.nn.functional.group_norm(maps, 4))
    assert all(torch.equal(alone, normalised(count)) for count in MANY)


def test_the_lung_network_answers_the_same_on_any_number():
    coarse = torch.randn(64, 96, 96, generator=torch.Generator().manual_seed(0)) * 300 - 600

    def shares(threads: int) -> np.ndarray:
        with computing_threads(threads):
            return shares_on_grid(coarse, shipped_lung_network())

    alone = shares(1)
    for count in MANY:
        np.testing.assert_array_equal(shares(count), alone)


@pytest.mark.slow
def test_a_whole_run_ends_in_the_same_labels_and_lobes_on_any_number():
    ct = chest_phantom((60, 128, 160), (2.6, 2.6, 5.0)).ct

    def labels(threads: int) -> list[np.ndarray]:
        with computing_threads(threads):
            quantification = quantify(ct, Options(device="cpu"))
        assert quantification.lobes is not None
        return [quantification.labels, quantification.lobes]

    alone = labels(1)
    for count in MANY:
        np.testing.assert_array_equal(labels(count), alone)
