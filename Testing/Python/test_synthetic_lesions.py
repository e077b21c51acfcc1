"""Painted lesions: where they may lie, what they leave alone, and that they look like lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.training.synthetic_lesions import LesionRanges, paint_lesions

SPACING_MM = (2.0, 2.0, 3.0)


@pytest.fixture
def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hu = np.full((40, 80, 100), 40, np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[4:36, 10:70, 8:45] = 2
    lungs[4:36, 10:70, 55:92] = 1
    hu[lungs > 0] = -860
    airways = np.zeros(hu.shape, bool)
    airways[10:30, 38:42, 20:24] = True
    hu[airways] = -1000
    hu[10:30, 60:62, 60:64] = 30  # a vessel
    return hu, lungs, airways


@pytest.mark.parametrize("seed", range(4))
def test_only_open_lung_is_painted_and_only_made_denser(chest, seed):
    hu, lungs, airways = chest
    painted, labels = paint_lesions(hu, lungs, airways, SPACING_MM, np.random.default_rng(seed))
    changed = painted != hu
    assert changed.any() and (labels >= 2).any()
    assert not changed[(lungs == 0) | airways].any()
    assert not (labels[(lungs == 0)] > 0).any() and (labels[lungs > 0] > 0).all()
    assert not (labels[airways] >= 2).any()
    # Air becomes denser; only consolidation may hide a vessel.
    assert (painted >= hu)[(hu < 0) & (labels < 3)].all()
    vessel = (hu == 30) & (labels < 3)
    assert (painted[vessel] >= -40).all()


def test_the_same_seed_paints_the_same(chest):
    first = paint_lesions(*chest, SPACING_MM, np.random.default_rng(3))
    second = paint_lesions(*chest, SPACING_MM, np.random.default_rng(3))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_lesions_begin_where_they_are_told_to(chest):
    hu, lungs, airways = chest
    chances = np.zeros(hu.shape)
    chances[18:24, 60:70, 84:92] = 1.0
    ranges = LesionRanges(count=(3, 3), radius_mm=(10.0, 12.0), roughness=(0.1, 0.1))
    random = np.random.default_rng(2)
    _, labels = paint_lesions(hu, lungs, airways, SPACING_MM, random, ranges, chances)
    z, y, x = np.nonzero(labels >= 2)
    assert len(z) > 100
    assert z.min() > 18 - 9 and z.max() < 24 + 9 and y.min() > 60 - 12 and x.min() > 84 - 12


def test_cores_are_high_opacity_and_without_them_there_is_none(chest):
    for chance, expected in ((0.0, False), (1.0, True)):
        ranges = LesionRanges(count=(6, 6), radius_mm=(25.0, 30.0), core_chance=chance)
        painted, labels = paint_lesions(*chest, SPACING_MM, np.random.default_rng(1), ranges)
        assert (labels == 3).any() == expected
        assert painted[labels == 2].mean() == pytest.approx(-600, abs=150)
        if expected:
            assert painted[labels == 3].mean() > -300


def test_a_real_healthy_scan_takes_lesions_at_its_pleura(test_data: Path):
    upright, _ = lps_oriented(read_ct(test_data / "unlabelled" / "normal_001" / "ct.nrrd"))
    hu = upright.hu[::4, ::2, ::2]
    spacing_mm = tuple(np.array(upright.geometry.spacing_mm) * (2, 2, 4))
    anatomy = segment_lungs(hu, spacing_mm)
    painted, labels = paint_lesions(
        hu, anatomy.lungs, anatomy.airways, spacing_mm, np.random.default_rng(0)
    )
    lesion = labels >= 2
    extent = lesion.sum() / (labels > 0).sum()
    assert 0.005 < extent < 0.5
    assert -750 < painted[lesion].mean() < -200
