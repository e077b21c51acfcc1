"""Whether lung was lost or gas taken for lung, as the shape of the lungs tells."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.lost_lung import (
    BONE_ABOVE_HU,
    check_lungs,
    largest_gas_ml,
    lung_shape,
)
from CovidLungQuantLib.anatomy.threshold_lungs import find_body_and_air
from CovidLungQuantLib.ct import lps_oriented, read_ct

# Voxels of 2 × 2 × 2.5 mm, as large as the grid that is looked at.
SPACING_MM = (2.0, 2.0, 2.5)
SHAPE = (80, 80, 120)
RIGHT, LEFT = slice(15, 50), slice(70, 105)
FRONT, BACK = 20, 60


def a_chest(back: int = BACK, flat_bottom: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """HU and lungs: two boxes with a sloping floor, lower behind, and ribs 4 mm behind them."""
    hu = np.full(SHAPE, 40, np.int16)
    lungs = np.zeros(SHAPE, np.uint8)
    z, y = np.ogrid[: SHAPE[0], : SHAPE[1]]
    floor = 40 - 25 * (y - FRONT) / (BACK - FRONT)
    inside = (z >= floor) & (z < 75) & (y >= FRONT) & (y < back)
    if flat_bottom is not None:
        inside &= z >= flat_bottom
    for value, columns in ((2, RIGHT), (1, LEFT)):
        part = lungs[:, :, columns]
        part[np.broadcast_to(inside[:, :, None], part.shape)] = value
    hu[lungs > 0] = -850
    hu[:, BACK + 2 : BACK + 4, 10:110] = 700
    return hu, lungs


def test_whole_lungs_are_accepted():
    hu, lungs = a_chest()
    assert check_lungs(hu, lungs, SPACING_MM) == ()
    shape = lung_shape(lungs == 2, hu > BONE_ABOVE_HU, SPACING_MM)
    assert shape is not None
    assert shape.gap_mm == pytest.approx(4.0)
    assert shape.gap_ml == 0.0
    assert shape.below_mm == pytest.approx(16 * 2.5)
    assert shape.recess_mm > 30


def test_room_between_lung_and_ribs_is_named_with_its_size():
    hu, lungs = a_chest(back=40)
    shape = lung_shape(lungs == 1, hu > BONE_ABOVE_HU, SPACING_MM)
    assert shape is not None
    assert shape.gap_mm == pytest.approx(44.0)
    right, left = check_lungs(hu, lungs, SPACING_MM)
    assert right.code == left.code == "dense_lung_lost"
    assert "right lung" in right.message and "left lung" in left.message
    assert f"about {shape.gap_ml:.0f} mL" in left.message


def test_a_flat_floor_is_named_where_the_scan_goes_on():
    hu, lungs = a_chest(flat_bottom=38)
    warnings = check_lungs(hu, lungs, SPACING_MM)
    assert [warning.code for warning in warnings] == ["dense_lung_lost"] * 2
    assert all("ends flat below" in warning.message for warning in warnings)
    cut_at_the_end = hu[36:], lungs[36:]
    assert check_lungs(*cut_at_the_end, SPACING_MM) == ()


def test_without_ribs_there_is_no_judgement_on_the_gap():
    hu, lungs = a_chest(back=40)
    hu[hu > 100] = 40
    shape = lung_shape(lungs == 1, hu > BONE_ABOVE_HU, SPACING_MM)
    assert shape is not None
    assert math.isnan(shape.gap_mm) and not shape.has_gap


def test_gas_in_one_piece_is_measured_and_named():
    hu, lungs = a_chest()
    hu[50:60, 30:40, 20:30] = -1000
    assert largest_gas_ml(hu, lungs > 0, SPACING_MM) == pytest.approx(1000 * 10 / 1000)
    (warning,) = check_lungs(hu, lungs, SPACING_MM)
    assert warning.code == "gas_in_lungs"
    assert warning.message.startswith("10 mL ")


def test_emphysema_in_small_pieces_is_no_gas():
    hu, lungs = a_chest()
    hu[50:60:2, 30:40:2, 20:30:2] = -1000
    assert largest_gas_ml(hu, lungs > 0, SPACING_MM) == 0.0


@pytest.mark.slow
def test_dense_lung_lost_behind_and_below_is_said_of_a_real_scan(test_data: Path):
    ct, _ = lps_oriented(read_ct(test_data / "unlabelled" / "normal_001" / "ct.nrrd"))
    spacing_mm = ct.geometry.spacing_mm
    lungs = find_body_and_air(ct.hu, spacing_mm).lungs
    assert check_lungs(ct.hu, lungs, spacing_mm) == ()

    depth = np.flatnonzero(lungs.any(axis=(0, 2)))
    behind = int(depth[0] + 0.55 * len(depth))
    dense = ct.hu.copy()
    dense[:, behind:][lungs[:, behind:] > 0] = 30
    warnings = check_lungs(dense, find_body_and_air(dense, spacing_mm).lungs, spacing_mm)
    assert "dense_lung_lost" in {warning.code for warning in warnings}

    height = np.flatnonzero(lungs.any(axis=(1, 2)))
    below = int(height[0] + 0.45 * len(height))
    dense = ct.hu.copy()
    dense[:below][lungs[:below] > 0] = 30
    warnings = check_lungs(dense, find_body_and_air(dense, spacing_mm).lungs, spacing_mm)
    assert "dense_lung_lost" in {warning.code for warning in warnings}
