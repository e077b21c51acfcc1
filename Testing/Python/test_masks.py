"""Masks on any device: the same as SciPy on the CPU, and one result wherever it is worked out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from CovidLungQuantLib.lesions.kinds import classify_by_density, smoothing_voxels
from CovidLungQuantLib.lesions.kinds_on_gpu import classify_on_gpu
from CovidLungQuantLib.lesions.masks import (
    _smallest_of_each_part,
    box_of,
    connected_parts,
    dilated,
    disc,
    opened,
    sums_in_rectangles,
    within_reach,
)


def random_mask(share: float, shape: tuple[int, int, int] = (5, 31, 38)) -> np.ndarray:
    return np.random.default_rng(3).random(shape) < share


@pytest.mark.parametrize("voxel_mm", [(0.7, 0.7), (0.6, 1.3), (4.0, 4.0)])
def test_slices_are_dilated_and_opened_by_a_disc(voxel_mm):
    shape = disc(3.0, *voxel_mm)
    assert shape[shape.shape[0] // 2].all() and shape[:, shape.shape[1] // 2].all()
    mask = random_mask(0.02)
    expected = ndimage.binary_dilation(mask, shape[None])
    assert np.array_equal(dilated(torch.from_numpy(mask), shape), expected)
    mask = random_mask(0.97)
    expected = ndimage.binary_opening(mask, shape[None])
    assert np.array_equal(opened(torch.from_numpy(mask), shape), expected)


@pytest.mark.parametrize("spacing_mm", [(3.0, 3.0, 2.0), (2.0, 2.5, 5.0), (2.9, 2.9, 11.0)])
def test_reach_is_the_distance_between_centres(spacing_mm):
    mask = random_mask(0.001, (9, 40, 50))
    distance_mm = ndimage.distance_transform_edt(~mask, sampling=spacing_mm[::-1])
    near = within_reach(torch.from_numpy(mask), spacing_mm, 10.0)
    assert 0 < mask.sum() < near.sum() < near.numel()
    assert np.array_equal(near, distance_mm <= 10.0)


def test_sums_in_rectangles_are_exact_and_mirror_the_edges():
    values = np.random.default_rng(0).integers(-1024, 3071, (2, 12, 15)).astype(np.float32)
    sums = sums_in_rectangles(torch.from_numpy(values), (5, 7))
    mirrored = np.pad(values, [(0, 0), (2, 2), (3, 3)], mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, (5, 7), axis=(1, 2))
    assert np.array_equal(sums, windows.sum(axis=(3, 4)))


def test_the_box_of_a_mask():
    mask = torch.zeros((4, 6, 8), dtype=torch.bool)
    assert box_of(mask) is None
    mask[1, 2, 3] = mask[2, 4, 6] = True
    assert box_of(mask) == (slice(1, 3), slice(2, 5), slice(3, 7))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 1.0])
def test_parts_hang_together_by_faces_however_they_are_found(share):
    mask = random_mask(share, (9, 24, 26))
    numbered, count = ndimage.label(mask)
    expected = numbered.reshape(-1)[mask.reshape(-1)]
    tensor = torch.from_numpy(mask)
    voxels, found = connected_parts(tensor)
    assert np.array_equal(voxels, np.flatnonzero(mask))
    # Numbers are others; which voxels share one is the same.
    for part in (found, _smallest_of_each_part(tensor, voxels)):
        pairs = np.unique(np.stack([part.numpy(), expected]), axis=1)
        assert pairs.shape[1] == count == len(np.unique(part))
        assert int(part.min()) >= 0 and int(part.max()) < len(voxels)


def test_a_long_winding_part_is_one():
    mask = np.zeros((3, 41, 60), bool)
    mask[1, ::2] = True
    mask[1, 1::4, -1] = mask[1, 3::4, 0] = True
    part = _smallest_of_each_part(torch.from_numpy(mask), torch.from_numpy(np.flatnonzero(mask)))
    assert not part.any()


def test_kinds_are_told_apart_alike_on_either_device():
    random = np.random.default_rng(4)
    # Blobs of lesion of all densities, up to the edges of the slices.
    labels = 1 + (ndimage.gaussian_filter(random.normal(size=(3, 80, 90)), (0, 4, 4)) > 0)
    labels = labels.astype(np.uint8)
    hu = (
        -350 + 9000 * ndimage.gaussian_filter(random.normal(size=labels.shape), (0, 5, 5))
    ).astype(np.int16)
    spacing_mm = (0.8, 1.1, 3.0)
    expected = classify_by_density(labels, hu, spacing_mm, lesion_above_hu=-750.0)
    found = classify_on_gpu(
        labels, hu, smoothing_voxels(spacing_mm), -350.0, -750.0, "cpu", lambda: None
    )
    assert np.array_equal(found == 1, expected == 1)
    assert {2, 3} <= set(np.unique(found)) and np.count_nonzero(found != expected) <= 2
