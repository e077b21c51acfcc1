"""Dense lung beside lesions: what becomes lesion and what stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CovidLungQuantLib.lesions import consolidation

SPACING_MM = (1.0, 1.0, 3.0)


def dense_lung_beside_lesions(
    hu: np.ndarray, lungs: np.ndarray, lesion: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    tensors = (torch.from_numpy(array) for array in (hu, lungs, lesion))
    return consolidation.dense_lung_beside_lesions(*tensors, spacing_mm).numpy()


@pytest.fixture
def scan() -> tuple[np.ndarray, np.ndarray]:
    """Two dense blocks of 20 × 20 mm in an aerated lung; lung mask around both."""
    hu = np.full((6, 80, 80), 40, np.int16)
    lungs = np.zeros(hu.shape, bool)
    lungs[:, 5:75, 5:75] = True
    hu[lungs] = -850
    hu[1:5, 10:30, 10:30] = 30
    hu[1:5, 50:70, 50:70] = 30
    return hu, lungs


def lesion_beside_the_first_block(shape: tuple[int, ...]) -> np.ndarray:
    lesion = np.zeros(shape, bool)
    lesion[1:5, 10:30, 30:36] = True
    return lesion


def test_the_dense_block_that_borders_on_a_lesion_is_found_and_the_other_is_not(scan):
    hu, lungs = scan
    lesion = lesion_beside_the_first_block(hu.shape)
    found = dense_lung_beside_lesions(hu, lungs, lesion, SPACING_MM)
    assert not (found & lesion).any()
    assert found[1:5, 12:28, 12:28].all()
    # Only the block: its corners are rounded, its edge blurred by one voxel of the mean.
    assert not found[:, :9].any() and not found[:, 31:].any() and not found[[0, 5]].any()


def test_without_lesions_or_lungs_nothing_is_found(scan):
    hu, lungs = scan
    none = np.zeros(hu.shape, bool)
    assert not dense_lung_beside_lesions(hu, lungs, none, SPACING_MM).any()
    lesion = lesion_beside_the_first_block(hu.shape)
    assert not dense_lung_beside_lesions(hu, none, lesion, SPACING_MM).any()


def test_a_touch_at_a_corner_is_not_enough_and_vessels_are_too_narrow(scan):
    hu, lungs = scan
    corner = np.zeros(hu.shape, bool)
    corner[1:5, 28:31, 30:33] = True
    assert not dense_lung_beside_lesions(hu, lungs, corner, SPACING_MM).any()
    hu[hu == 30] = -850
    hu[1:5, 10:30, 26:30] = 30  # a vessel of 4 mm
    lesion = lesion_beside_the_first_block(hu.shape)
    assert not dense_lung_beside_lesions(hu, lungs, lesion, SPACING_MM).any()


def test_nothing_outside_the_lungs_is_found(scan):
    hu, lungs = scan
    lungs[:, :, :20] = False
    lesion = lesion_beside_the_first_block(hu.shape)
    found = dense_lung_beside_lesions(hu, lungs, lesion, SPACING_MM)
    assert found.any() and not (found & ~lungs).any()
