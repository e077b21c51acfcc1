"""Training of the lobe network: data, augmentation, loss and figures, on small lungs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_lobes import SPACING_MM, small_lobes

from CovidLungQuantLib.anatomy.lobe_network import LobeNetwork, LobeNetworkConfig
from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from research.lobe_average import average_dice
from research.lobe_bank import LobeTrainingConfig, make_bank
from research.lobe_card import lobe_card
from research.lobe_masks import LobeMask, lobe_dice, middle_lobe_in_front, read_lobe_masks
from research.lobes import cross_validate, fissure_loss, recipe_text

SMALL_NETWORK = LobeNetworkConfig(grid=(16, 16, 16), channels=(4, 8, 8))
SMALL_TRAINING = LobeTrainingConfig(variants=2, steps=12, batch=2, right_cycles=1)


@pytest.fixture(scope="module")
def masks():
    whole = small_lobes()
    return [
        LobeMask("a", whole, SPACING_MM),
        LobeMask("b", whole[::-1][::-1, 1:, :], (4.0, 4.5, 4.0)),
        LobeMask("c", whole[:-1], (3.5, 4.0, 4.0)),
    ]


@pytest.fixture(scope="module")
def banks(masks):
    return {
        lung_value: make_bank(masks, lung_value, SMALL_NETWORK.grid, SMALL_TRAINING)
        for lung_value in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE)
    }


def test_masks_are_read_upright_without_airways(tmp_path):
    lobes = small_lobes()
    stored = lobes.copy()
    stored[:3, :3, :3] = 6
    flipped = Geometry(stored.shape, SPACING_MM, (0.0, 0.0, 0.0), np.diag([1.0, -1.0, 1.0]))
    write_image(tmp_path / "a.nrrd", stored, flipped)
    with pytest.raises(BadInputError, match="fewer than two"):
        read_lobe_masks(tmp_path)
    write_image(tmp_path / "b.nrrd", lobes, replace(flipped, direction=np.eye(3)))
    first, second = read_lobe_masks(tmp_path)
    np.testing.assert_array_equal(first.lobes, lobes[:, ::-1])
    np.testing.assert_array_equal(second.lobes, lobes)
    assert first.name == "a" and first.spacing_mm == SPACING_MM


def test_the_first_variant_is_the_lung_itself(masks, banks):
    bank = banks[RIGHT_LUNG_VALUE]
    right = np.isin(masks[0].lobes, (1, 2, 3))
    box_mm = [4.0 * (hits.max() - hits.min() + 1) for hits in np.nonzero(right)]
    np.testing.assert_allclose(bank.size_mm[0, 0], box_mm, rtol=0.06)
    volume_ml = float(bank.occupancy[0, 0].float().mean() / 255 * bank.size_mm[0, 0].prod() / 1000)
    assert volume_ml == pytest.approx(right.sum() * 0.064, rel=0.05)
    inside = bank.occupancy[0, 0] > 128
    lower = float(((bank.fissures[0, 0, 0] > 0) & inside).sum() / inside.sum())
    assert lower == pytest.approx(np.sum(masks[0].lobes == 3) / right.sum(), abs=0.04)
    assert banks[LEFT_LUNG_VALUE].fissures.shape == (3, 2, 1, 16, 16, 16)


def test_banks_are_the_same_every_time(masks, banks):
    again = make_bank(masks, LEFT_LUNG_VALUE, SMALL_NETWORK.grid, SMALL_TRAINING)
    torch.testing.assert_close(again.fissures, banks[LEFT_LUNG_VALUE].fissures, rtol=0, atol=0)
    assert not torch.equal(again.occupancy[0, 0], again.occupancy[0, 1])


@pytest.mark.parametrize("lung_value", [RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE])
def test_the_loss_is_least_for_the_true_fissures(banks, lung_value):
    bank = banks[lung_value]
    fissures_mm = bank.fissures[:, 0].float() / 4
    occupancy = bank.occupancy[:, 0].float() / 255
    true = fissure_loss(fissures_mm / 1.5, fissures_mm, occupancy)
    shifted = fissure_loss((fissures_mm + 10) / 1.5, fissures_mm, occupancy)
    nothing = fissure_loss(torch.zeros_like(fissures_mm), fissures_mm, occupancy)
    assert true < shifted < 3.0
    assert true < nothing
    # Nothing outside the lung counts.
    changed = torch.where(occupancy[:, None] > 0, fissures_mm / 1.5, 7.0)
    torch.testing.assert_close(fissure_loss(changed, fissures_mm, occupancy), true)


def test_dice_of_each_lobe():
    true = np.array([1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    found = np.array([1, 1, 2, 3, 3, 3, 4, 4, 4, 4])
    assert lobe_dice(found, true) == pytest.approx([1.0, 2 / 3, 4 / 5, 2 / 3, 0.0])


def test_cross_validation_covers_every_mask_and_repeats(masks, banks, capsys):
    dice = cross_validate(masks, banks, 3, SMALL_TRAINING, SMALL_NETWORK)
    assert dice.shape == (3, 5)
    assert np.isfinite(dice).all()
    # Chance would be about a third in the right lung and half in the left one.
    assert dice.mean() > 0.55
    again = cross_validate(masks, banks, 3, SMALL_TRAINING, SMALL_NETWORK)
    np.testing.assert_array_equal(again, dice)
    assert capsys.readouterr().out.count("fold 2") == 2


def test_the_card_tells_every_figure():
    dice = np.array([[0.9, 0.5, 0.8, 0.7, 0.6], [0.7, 0.7, 0.8, 0.9, 1.0]])
    recipe = recipe_text(SMALL_TRAINING)
    card = lobe_card(
        "n",
        "abc",
        LobeNetwork(SMALL_NETWORK),
        recipe,
        ["a", "b"],
        dice,
        5,
        dice - 0.1,
        [False, True],
    )
    assert "| mean | 0.800 | 0.600 | 0.800 | 0.800 | 0.800 | 0.760 |" in card
    assert "| worst | 0.700 | 0.500 | 0.800 | 0.700 | 0.600 | 0.660 |" in card
    assert "| mean of the average mask | 0.700 | 0.500 | 0.700 | 0.700 | 0.700 | 0.660 |" in card
    assert "| b | 0.700 | 0.700 | 0.800 | 0.900 | 1.000 | 0.820 |" in card
    assert "| mean of the plausible | 0.700 | 0.700 | 0.800 | 0.900 | 1.000 | 0.820 |" in card
    assert "In 1 mask (a) the middle" in card
    assert "12 steps of 2 lungs" in card and "`abc`" in card


def test_a_middle_lobe_behind_the_upper_lobe_is_implausible():
    lobes = small_lobes()
    assert middle_lobe_in_front(lobes)
    assert not middle_lobe_in_front(lobes[:, ::-1])


def test_the_average_of_equal_masks_is_the_mask_and_lungs_of_another_size_are_stretched():
    whole = small_lobes()
    equal = average_dice([whole, whole, whole], folds=3)
    assert equal.shape == (3, 5)
    assert equal.min() > 0.98
    taller = whole.repeat(2, axis=0)
    assert average_dice([whole, taller], folds=2).min() > 0.97


def test_the_average_of_the_other_masks_knows_nothing_of_the_mask_itself():
    whole = small_lobes()
    # Turned upside down in depth, the lung's lobes lie elsewhere in its box.
    turned = whole[:, ::-1]
    dice = average_dice([whole, whole, turned], folds=3)
    assert dice[2].mean() < 0.6
    assert dice[:2].mean() > dice[2].mean()
