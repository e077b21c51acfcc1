"""Figures of the lung network: the dense parts made for them are as large as they say."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from research.lung_figures import (
    BEHIND,
    BELOW,
    WHITE,
    made_dense,
    with_bowel_gas,
    with_pneumothorax,
)

SPACING_MM = (2.0, 2.0, 3.0)


def a_chest() -> tuple[np.ndarray, np.ndarray]:
    hu = np.full((40, 60, 90), 40, np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[4:36, 8:52, 8:40] = RIGHT_LUNG_VALUE
    lungs[4:36, 8:52, 50:82] = LEFT_LUNG_VALUE
    hu[lungs > 0] = -850
    return hu, lungs


@pytest.mark.parametrize("where", [BEHIND, BELOW])
@pytest.mark.parametrize("share", [20, 45, 70])
def test_the_stated_share_of_the_lungs_becomes_dense(where, share):
    hu, lungs = a_chest()
    dense = made_dense(hu, lungs, SPACING_MM, where, share)
    np.testing.assert_array_equal(dense[lungs == 0], hu[lungs == 0])
    assert 100 * (dense[lungs > 0] > -300).mean() == pytest.approx(share, abs=4)
    assert (dense >= hu).all()
    changed = dense > -300
    if where == BEHIND:
        assert changed[20, 50, 10:40].all() and not changed[20, 8, 10:40].any()
    else:
        assert changed[4, 20, 10:40].all() and not changed[35, 20, 10:40].any()


def test_one_lung_becomes_white():
    hu, lungs = a_chest()
    dense = made_dense(hu, lungs, SPACING_MM, WHITE, 0)
    assert (dense[lungs == LEFT_LUNG_VALUE] > -100).all()
    np.testing.assert_array_equal(dense[lungs == RIGHT_LUNG_VALUE], hu[lungs == RIGHT_LUNG_VALUE])


def test_gas_lies_in_tissue_below_the_left_lung_and_apart_from_it():
    hu, lungs = a_chest()
    low = np.concatenate([np.full_like(hu, 40), hu])
    lungs = np.concatenate([np.zeros_like(lungs), lungs])
    changed, gas = with_bowel_gas(low, lungs, SPACING_MM)
    np.testing.assert_array_equal(changed[~gas], low[~gas])
    assert changed[gas].mean() == pytest.approx(-950, abs=1)
    z, _, x = np.nonzero(gas)
    # The lung starts at slice 44; 4 mm of wall are more than one slice of 3 mm.
    assert z.max() < 44 - 1 and (x.mean() > 50)
    assert gas.sum() * 12 / 1000 == pytest.approx(4 / 3 * np.pi * 2.5 * 3 * 3.5, rel=0.1)


def test_the_front_quarter_of_the_left_lung_becomes_air():
    hu, lungs = a_chest()
    changed, air = with_pneumothorax(hu, lungs)
    assert (lungs[air] == LEFT_LUNG_VALUE).all()
    assert air.sum() / (lungs == LEFT_LUNG_VALUE).sum() == pytest.approx(0.25, abs=0.02)
    assert not air[:, 30:].any() and air[20, 8, 60]
    np.testing.assert_array_equal(changed[~air], hu[~air])
    assert (changed[air] < -930).all()
