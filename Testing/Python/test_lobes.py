"""Lobes: they part the lungs, follow a fissure where there is one, and the prior where not."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from small_lobes import SPACING_MM, lungs_of_lobes, small_lobes

from CovidLungQuantLib.anatomy.fissures import GRID_MM, find_fissure, sheet_strengths
from CovidLungQuantLib.anatomy.lobe_network import LobeNetwork, LobeNetworkConfig
from CovidLungQuantLib.anatomy.lobe_weights import (
    LOBE_MODEL_FILE,
    load_lobe_model,
    save_lobe_model,
    shipped_lobe_network,
)
from CovidLungQuantLib.anatomy.lobes import _without_crumbs, lobes_from_lungs, segment_lobes
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.cli import main
from CovidLungQuantLib.ct import Geometry, lps_oriented, read_ct
from CovidLungQuantLib.ct.images import image_on
from CovidLungQuantLib.errors import BadInputError, Cancelled
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, LOBES, RIGHT_LUNG_VALUE


@pytest.fixture(scope="module")
def lungs():
    return lungs_of_lobes(small_lobes())


def assert_parts(lobes, lungs):
    """Lobes part the lungs exactly, each in its own lung, all there and each in one piece."""
    np.testing.assert_array_equal(lungs_of_lobes(lobes), lungs)
    for lobe in LOBES:
        assert ndimage.label(lobes == lobe.value)[1] == 1, lobe.name


def test_lobes_from_shape_part_the_lungs(lungs):
    lobes = lobes_from_lungs(lungs, SPACING_MM)
    assert_parts(lobes, lungs)
    centres = ndimage.center_of_mass(lobes > 0, lobes, [1, 2, 3, 4, 5])
    upper_z, middle_z, lower_z = (centre[0] for centre in centres[:3])
    assert upper_z > middle_z and upper_z > lower_z
    assert centres[1][1] < centres[2][1]
    assert centres[3][0] > centres[4][0]


def test_the_spacing_does_not_matter_much(lungs):
    fine = np.repeat(np.repeat(lungs, 2, axis=1), 2, axis=2)
    thick = lobes_from_lungs(fine, (2.0, 2.0, 4.0))
    assert_parts(thick, fine)
    same = thick[:, ::2, ::2] == lobes_from_lungs(lungs, SPACING_MM)
    assert same[lungs > 0].mean() > 0.97


def test_one_lung_alone_is_divided(lungs):
    left = np.where(lungs == LEFT_LUNG_VALUE, lungs, 0).astype(np.uint8)
    assert set(np.unique(lobes_from_lungs(left, SPACING_MM))) == {0, 4, 5}
    assert not lobes_from_lungs(np.zeros_like(lungs), SPACING_MM).any()


def test_an_island_far_away_changes_nothing_else(lungs):
    with_island = lungs.copy()
    with_island[-1, -1, -3:] = LEFT_LUNG_VALUE
    plain = lobes_from_lungs(lungs, SPACING_MM)
    lobes = lobes_from_lungs(with_island, SPACING_MM)
    np.testing.assert_array_equal(lobes[lungs > 0], plain[lungs > 0])
    np.testing.assert_array_equal(lungs_of_lobes(lobes), with_island)


def test_crumbs_go_to_the_lobe_around_them():
    lobes = np.zeros((3, 8, 8), np.uint8)
    lobes[:, :4] = 1
    lobes[:, 4:7] = 3
    expected = lobes.copy()
    lobes[1, 1, 1:3] = 3
    lobes[2, 5, 5] = 1
    lobes[0, 7, 7] = expected[0, 7, 7] = 0
    np.testing.assert_array_equal(_without_crumbs(lobes), expected)


def test_an_island_of_the_lung_keeps_its_lobe():
    lobes = np.zeros((3, 8, 8), np.uint8)
    lobes[:, :4] = 1
    lobes[:, 7, 7] = 1
    np.testing.assert_array_equal(_without_crumbs(lobes), lobes)


def cube_with_sheet(offset_mm, contrast_hu, noise_hu=25.0):
    """HU, lung and prior on a cubic grid; the true fissure is tilted and off the prior's plane."""
    shape = (72, 64, 56)
    z, y, _ = np.indices(shape) * GRID_MM
    prior = ((45.0 - z) / 4.0).astype(np.float32)
    depth_mm = (45.0 + offset_mm + 0.15 * (y - 40.0)) - z
    hu = np.full(shape, -850.0, np.float32)
    hu += contrast_hu * np.exp(-0.5 * (depth_mm / 0.8) ** 2)
    hu += np.random.default_rng(1).normal(0, noise_hu, shape)
    lung = np.zeros(shape, bool)
    lung[3:-3, 3:-3, 3:-3] = True
    return hu, lung, prior, depth_mm


@pytest.mark.parametrize("offset_mm", [-12.0, 0.0, 9.0])
def test_a_visible_fissure_is_followed(offset_mm):
    hu, lung, prior, depth_mm = cube_with_sheet(offset_mm, 90.0)
    strengths = sheet_strengths(hu, lung, prior[None])
    surface = find_fissure(strengths[0], np.zeros_like(hu), prior, lung)
    found_mm = surface.depth_below_grid_mm(lung)
    assert np.abs(found_mm - depth_mm)[lung].mean() < 1.0
    assert np.abs(found_mm - depth_mm)[lung].max() < 4.0


def test_without_a_fissure_the_prior_decides():
    hu, lung, prior, _ = cube_with_sheet(12.0, 0.0)
    strengths = sheet_strengths(hu, lung, prior[None])
    surface = find_fissure(strengths[0], np.zeros_like(hu), prior, lung)
    error_mm = surface.depth_below_grid_mm(lung) - 4.0 * prior
    assert np.abs(error_mm)[lung].mean() < 2.0


def test_a_prior_that_does_not_cross_the_lung_has_no_fissure():
    hu, lung, prior, _ = cube_with_sheet(0.0, 90.0)
    assert find_fissure(np.zeros_like(hu), np.zeros_like(hu), prior + 50, lung) is None
    assert find_fissure(np.zeros_like(hu), np.zeros_like(hu), prior - 50, lung) is None


def test_lobes_of_an_empty_ct_are_those_of_the_shape(lungs):
    found = segment_lobes(np.full(lungs.shape, -850, np.int16), lungs, SPACING_MM)
    assert_parts(found.lobes, lungs)
    assert found.warnings == ()
    same = found.lobes == lobes_from_lungs(lungs, SPACING_MM)
    assert same[lungs > 0].mean() > 0.95


def test_progress_can_cancel(lungs):
    def cancel(fraction, message):
        assert "lobes" in message
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        segment_lobes(np.zeros(lungs.shape, np.int16), lungs, SPACING_MM, cancel)


def test_the_shipped_network_has_a_card_with_its_licence():
    assert LOBE_MODEL_FILE.stat().st_size < 20e6
    card = LOBE_MODEL_FILE.with_suffix(".md").read_text(encoding="utf-8")
    sha256 = LOBE_MODEL_FILE.with_suffix(".pt.sha256").read_text(encoding="utf-8").split()[0]
    assert sha256 in card
    assert "CC BY-NC-SA 4.0" in card
    assert not shipped_lobe_network().training


def test_a_network_goes_round_and_a_changed_byte_is_noticed(tmp_path):
    network = LobeNetwork(LobeNetworkConfig(channels=(4, 4, 8)))
    save_lobe_model(tmp_path / "small.pt", network)
    loaded = load_lobe_model(tmp_path / "small.pt")
    assert loaded.config == network.config
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[key], value.half().float())
    content = bytearray((tmp_path / "small.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "small.pt").write_bytes(content)
    with pytest.raises(BadInputError, match="damaged or was changed"):
        load_lobe_model(tmp_path / "small.pt")


def test_the_command_line_divides_a_mask_of_any_orientation(tmp_path, lungs, capsys):
    geometry = Geometry(lungs.shape, SPACING_MM, (-140.0, -80.0, 33.5), np.eye(3))
    write_image(tmp_path / "lps.nrrd", lungs, geometry)
    turned = sitk.DICOMOrient(image_on(lungs, geometry), "SRA")
    sitk.WriteImage(turned, str(tmp_path / "sra.nii.gz"))
    results = {}
    for name in ("lps.nrrd", "sra.nii.gz"):
        output = tmp_path / f"lobes-{name}"
        assert main(["lobes", "--lungs", str(tmp_path / name), "-o", str(output)]) == 0
        results[name] = sitk.ReadImage(str(output))
        given = sitk.ReadImage(str(tmp_path / name))
        assert results[name].GetSize() == given.GetSize()
        np.testing.assert_allclose(results[name].GetOrigin(), given.GetOrigin(), atol=1e-6)
        np.testing.assert_allclose(results[name].GetDirection(), given.GetDirection(), atol=1e-6)
    lobes = sitk.GetArrayFromImage(results["lps.nrrd"])
    np.testing.assert_array_equal(lobes, lobes_from_lungs(lungs, SPACING_MM))
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.DICOMOrient(results["sra.nii.gz"], "LPS")), lobes
    )
    printed = capsys.readouterr().out
    assert "Right middle lobe" in printed and "Not a medical device" in printed


def test_the_command_line_says_what_is_wrong(tmp_path, lungs, capsys):
    output = str(tmp_path / "lobes.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(lungs * 7), str(tmp_path / "bad.nrrd"))
    for arguments, message in (
        ([], "Give either a CT or"),
        ([str(tmp_path / "bad.nrrd"), "--lungs", "mask.nrrd"], "Give either a CT or"),
        (["--lungs", str(tmp_path / "bad.nrrd")], "values other than 0, 1"),
        (["--lungs", str(tmp_path / "none.nrrd")], "There is no file"),
        ([str(tmp_path / "none.nrrd")], "There is no file or folder"),
    ):
        assert main(["lobes", *arguments, "-o", output]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in error
    assert not (tmp_path / "lobes.nrrd").exists()
    assert main(["lobes", "--lungs", "x.nrrd", "-o", str(tmp_path / "lobes.txt")]) == 2
    assert "no image file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["009840828684", "860209787179"])
def test_real_lungs_are_divided_as_by_the_radiologist(test_data, name):
    image = sitk.ReadImage(str(test_data / "lobes" / f"{name}.nrrd"))
    reference = sitk.GetArrayFromImage(image)[::2, ::2, ::2]
    reference[reference > 5] = 0
    lungs = lungs_of_lobes(reference)
    lobes = lobes_from_lungs(lungs, (3.0, 3.0, 3.0))
    assert_parts(lobes, lungs)
    dice = [
        2
        * np.sum((lobes == value) & (reference == value))
        / (np.sum(lobes == value) + np.sum(reference == value))
        for value in range(1, 6)
    ]
    assert np.mean(dice) > 0.85
    assert min(dice) > 0.6


@pytest.mark.slow
def test_lobes_of_a_normal_scan_have_normal_volumes(test_data):
    ct, _ = lps_oriented(read_ct(test_data / "unlabelled" / "normal_001" / "ct.nrrd"))
    anatomy = segment_lungs(ct.hu, ct.geometry.spacing_mm)
    found = segment_lobes(ct.hu, anatomy.lungs, ct.geometry.spacing_mm)
    np.testing.assert_array_equal(lungs_of_lobes(found.lobes), anatomy.lungs)
    assert found.warnings == ()
    counts = np.bincount(found.lobes.ravel(), minlength=6)[1:]
    # Mean and SD of adults at full inspiration, % of the lungs.
    usual = {"RUL": (17.9, 2.4), "RML": (9.3, 1.6), "RLL": (26.5, 2.6)}
    usual |= {"LUL": (23.1, 2.1), "LLL": (23.2, 2.4)}
    for lobe, share in zip(LOBES, 100 * counts / counts.sum(), strict=True):
        mean, deviation = usual[lobe.short_name]
        assert abs(share - mean) < 2 * deviation, lobe.name


def test_right_and_left_are_not_exchanged(lungs):
    lobes = lobes_from_lungs(lungs, SPACING_MM)
    assert set(np.unique(lobes[lungs == RIGHT_LUNG_VALUE])) == {1, 2, 3}
    assert set(np.unique(lobes[lungs == LEFT_LUNG_VALUE])) == {4, 5}
