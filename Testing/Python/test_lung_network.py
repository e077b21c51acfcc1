"""The lung network's grid and what it is shown, on arrays small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CovidLungQuantLib.anatomy.lung_network import (
    GRID_MM,
    LUNG_NETWORK_CLASSES,
    ChestNetwork,
    LungNetworkConfig,
    class_shares,
    grid_shape,
    hu_windows,
    onto_grid,
)
from CovidLungQuantLib.anatomy.lung_weights import FORMAT_NAME, load_lung_model, save_lung_model
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.models.files import save_with_checksum

SMALL = LungNetworkConfig(channels=(4, 4, 8, 8))


def test_the_grid_has_cells_of_three_millimetres_and_at_least_one():
    assert grid_shape((30, 512, 512), (0.7, 0.7, 5.0)) == (50, 119, 119)
    assert grid_shape((1, 4, 4), (0.7, 0.7, 1.0)) == (1, 1, 1)


def test_a_scan_on_the_grid_keeps_its_hu():
    hu = np.full((7, 20, 31), -860, np.int16)
    coarse = onto_grid(hu, (1.1, 0.9, 2.3))
    assert tuple(coarse.shape) == grid_shape(hu.shape, (1.1, 0.9, 2.3))
    torch.testing.assert_close(coarse, torch.full_like(coarse, -860.0))


def test_a_cell_lies_where_its_voxels_lie():
    hu = np.zeros((6, 24, 24), np.int16)
    hu[:, 12:, :] = 900
    coarse = onto_grid(hu, (1.0, 1.0, GRID_MM))
    assert tuple(coarse.shape) == (6, 8, 8)
    # The edge is half-way, so rows mirror each other; further off nothing is mixed in.
    np.testing.assert_allclose(coarse[:, 3] + coarse[:, 4], 900.0, atol=0.01)
    assert float(coarse[:, :3].max()) < 1.0
    assert float(coarse[:, 5:].min()) > 899.0


def test_the_windows_show_air_to_bone_and_soft_tissue():
    shown = hu_windows(torch.tensor([-2000.0, -1024.0, -312.0, 0.0, 400.0]).reshape(1, 1, 1, 5))
    assert shown.shape == (1, 2, 1, 1, 5)
    np.testing.assert_allclose(
        shown[0, 0].flatten(), [-1, -1, 0, 2 * 1024 / 1424 - 1, 1], atol=1e-6
    )
    np.testing.assert_allclose(shown[0, 1].flatten(), [-1, -1, -1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 40, 33), (17, 48, 64)])
def test_every_cell_is_shared_out_among_the_classes_on_any_shape(shape):
    torch.manual_seed(0)
    network = ChestNetwork(SMALL).eval()
    hu = np.random.default_rng(0).integers(-1000, 200, shape).astype(np.int16)
    shares = class_shares(hu, (2.0, 2.0, 4.0), network)
    assert shares.shape == (LUNG_NETWORK_CLASSES, *grid_shape(shape, (2.0, 2.0, 4.0)))
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-5)
    np.testing.assert_array_equal(shares, class_shares(hu, (2.0, 2.0, 4.0), network))


def test_a_saved_network_answers_as_before(tmp_path):
    torch.manual_seed(0)
    network = ChestNetwork(SMALL).eval()
    sha256 = save_lung_model(tmp_path / "lungs.pt", network)
    assert (tmp_path / "lungs.pt.sha256").read_text().split()[0] == sha256
    loaded = load_lung_model(tmp_path / "lungs.pt")
    assert loaded.config == SMALL and not loaded.training
    hu = np.random.default_rng(0).integers(-1000, 200, (17, 48, 64)).astype(np.int16)
    np.testing.assert_allclose(
        class_shares(hu, (2.0, 2.0, 4.0), loaded),
        class_shares(hu, (2.0, 2.0, 4.0), network),
        atol=0.01,
    )


@pytest.mark.parametrize(
    "channels", [(4, 4, 8), (4, 4, 8, 6), (4, 4, 8, 4096), (4, 4, 8, 8.0), (0, 4, 8, 8), "abcd"]
)
def test_a_file_of_another_network_is_refused(tmp_path, channels):
    network = ChestNetwork(SMALL)
    content = {
        "format": FORMAT_NAME,
        "network_config": {"channels": channels},
        "weights": network.state_dict(),
    }
    save_with_checksum(tmp_path / "other.pt", content)
    with pytest.raises(BadInputError, match=r"other\.pt"):
        load_lung_model(tmp_path / "other.pt")
