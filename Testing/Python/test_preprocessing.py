"""What the network sees: the body crop, and which slices make a window at any spacing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from CovidLungQuantLib.lesions.networks.convlstm_attention import NetworkConfig
from CovidLungQuantLib.lesions.preprocessing import (
    InPlaneBox,
    body_box,
    context_indices,
    group_bounds,
    group_centres,
    in_plane_box,
    resize_plane,
    slices_per_group,
    window_indices,
    working_slice,
    working_step_mm,
)

CONFIG = NetworkConfig()


def test_box_holds_the_body_and_leaves_out_the_table():
    hu = np.full((10, 100, 120), -1000, np.int16)
    hu[:, 20:70, 30:90] = 40
    hu[:, 85:87, 10:110] = 100  # a table of two rows
    box = body_box(hu, (4.0, 4.0, 3.0))
    assert box.y0 in range(17, 21) and box.y1 in range(70, 74)
    assert box.x0 in range(27, 31) and box.x1 in range(90, 94)


def test_box_is_the_whole_slice_where_no_body_stands_out():
    assert body_box(np.full((3, 20, 30), -1000, np.int16), (1, 1, 1)) == InPlaneBox(0, 20, 0, 30)


def test_box_around_the_lungs_has_a_margin_in_millimetres_and_ends_with_the_slice():
    lungs = np.zeros((6, 100, 120), bool)
    lungs[2, 40:60, 5:50] = True
    lungs[4, 45:70, 70:90] = True
    hu = np.full(lungs.shape, -1000, np.int16)
    box = in_plane_box(hu, lungs, (3.0, 2.0, 5.0), replace(CONFIG, crop="lungs"))
    assert box == InPlaneBox(y0=34, y1=76, x0=1, x1=94)
    box = in_plane_box(hu, lungs, (2.0, 0.5, 5.0), replace(CONFIG, crop="lungs"))
    assert box == InPlaneBox(y0=16, y1=94, x0=0, x1=96)


def test_network_sees_the_body_unless_its_configuration_says_otherwise():
    hu = np.full((3, 20, 30), -1000, np.int16)
    lungs = np.zeros(hu.shape, bool)
    lungs[1, 10, 15] = True
    assert in_plane_box(hu, lungs, (9.0, 9.0, 9.0), CONFIG) == InPlaneBox(0, 20, 0, 30)


@pytest.mark.parametrize(
    ("spacing_mm", "group", "step_mm"),
    [
        (0.6, 5, 3.0),
        (0.75, 4, 3.0),
        (1.0, 3, 3.0),
        (1.25, 2, 3.0),
        (1.5, 2, 3.0),
        (2.0, 1, 2.0),
        (3.0, 1, 3.0),
        (5.0, 1, 5.0),
        (6.0, 1, 6.0),
        (8.0, 1, 8.0),
    ],
)
def test_thin_slices_are_grouped_to_about_three_millimetres(spacing_mm, group, step_mm):
    assert slices_per_group(spacing_mm, CONFIG) == group
    assert working_step_mm(spacing_mm, CONFIG) == step_mm


@pytest.mark.parametrize(
    ("step_mm", "expected"),
    [
        (3.0, [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5]),
        (6.0, [-3, -2, -2, -1, -1, 0, 1, 1, 2, 2, 3]),
        (2.0, [-8, -6, -5, -3, -2, 0, 2, 3, 5, 6, 8]),
        (8.0, [-2, -2, -1, -1, 0, 0, 0, 1, 1, 2, 2]),
    ],
)
def test_a_window_reaches_fifteen_millimetres_to_each_side(step_mm, expected):
    windows = window_indices(40, step_mm, CONFIG)
    assert (windows[20] - 20).tolist() == expected


def test_windows_repeat_the_ends_of_the_scan():
    windows = window_indices(4, 3.0, CONFIG)
    assert windows[0].tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3]
    assert windows[3].tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3, 3, 3]


def test_a_slice_stands_between_neighbours_a_window_step_away():
    config = replace(CONFIG, context_slices=3)
    assert context_indices(4, 3.0, config).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert context_indices(4, 1.5, config)[1].tolist() == [0, 1, 3]
    assert context_indices(4, 8.0, config).tolist() == [[0] * 3, [1] * 3, [2] * 3, [3] * 3]


def test_groups_cover_every_slice_once():
    bounds = group_bounds(11, 3)
    assert bounds == [(0, 3), (3, 6), (6, 9), (9, 11)]
    assert group_centres(11, 3).tolist() == [1.0, 4.0, 7.0, 9.5]


def test_working_slice_averages_clips_and_scales():
    hu = torch.stack(
        [torch.full((8, 8), value, dtype=torch.int16) for value in (-1024, -212, 3000)]
    )
    config = NetworkConfig(working_size=4)
    box = InPlaneBox(0, 8, 0, 8)
    assert working_slice(hu, (0, 1), box, config).max() == 0.0
    np.testing.assert_allclose(working_slice(hu, (0, 2), box, config), 0.25, rtol=1e-6)
    np.testing.assert_allclose(working_slice(hu, (2, 3), box, config), 1.0, rtol=1e-6)


def test_resizing_keeps_constants_and_centres():
    plane = torch.arange(64.0).tile(48, 1)
    np.testing.assert_allclose(resize_plane(torch.full((48, 64), 3.0), (256, 256)), 3.0, rtol=1e-5)
    smaller = resize_plane(plane, (24, 32))
    np.testing.assert_allclose(smaller[0, 2:-2], (np.arange(32) * 2 + 0.5)[2:-2], rtol=1e-5)
    larger = resize_plane(plane, (48, 128))
    np.testing.assert_allclose(larger[0, 2:-2], ((np.arange(128) + 0.5) / 2 - 0.5)[2:-2], atol=1e-4)
