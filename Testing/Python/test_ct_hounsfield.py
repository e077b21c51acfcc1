"""Hounsfield units judged by what lies where: scales, single slices, paint outside the scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.ct import CTVolume, Geometry, check_ct, orient_like
from CovidLungQuantLib.ct.orientation import orientation_of
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.phantom import chest_phantom
from Testing.Python.refusals import codes, one_sentence, refusal

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def chest() -> CTVolume:
    return chest_phantom((30, 96, 112), (3.4, 3.4, 10.0)).ct


def refused(chest: CTVolume, hu: np.ndarray) -> str:
    with pytest.raises(BadInputError) as error:
        check_ct(hu, chest.geometry, "scan")
    return one_sentence(str(error.value))


def shifted(hu: np.ndarray, slices: slice | int, by_hu: int) -> np.ndarray:
    changed = hu.copy()
    changed[slices] += by_hu
    return changed


def outside_circle(hu: np.ndarray) -> np.ndarray:
    """Mask (y, x) of what lies outside the widest circle."""
    _, height, width = hu.shape
    y, x = np.ogrid[:height, :width]
    radius = max(height, width) / 2
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 > radius**2


def test_the_phantom_is_accepted(chest: CTVolume) -> None:
    ct = check_ct(chest.hu, chest.geometry, "scan")
    assert ct.hu is chest.hu
    assert codes(ct) == ["thick_slices"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu / 2, "air around the body is -5"),
        (lambda hu: hu + 500, "soft tissue"),
        (lambda hu: hu + 300, "the lowest values are about -7"),
        (lambda hu: hu * 2, "values inside the body lie below -1500"),
        (lambda hu: hu * 1.5, "not in Hounsfield units"),
        (lambda hu: hu - 500, "Hounsfield units"),
        (lambda hu: hu - 300, "air around the body is -13"),
    ],
)
def test_other_scales_are_refused(chest: CTVolume, change: Change, words: str) -> None:
    changed = change(chest.hu.astype(np.float32))
    message = refused(chest, changed)
    assert words in message
    # Cropped to where no air lies around the body.
    inner = changed[:, 20:-20, 20:-20]
    with pytest.raises(BadInputError):
        check_ct(inner, Geometry(inner.shape, chest.geometry.spacing_mm, (0, 0, 0), np.eye(3)))


def test_a_halved_scan_painted_with_air_is_refused(chest: CTVolume) -> None:
    changed = chest.hu // 2
    changed[:, outside_circle(changed)] = -1024
    changed[:, [0, -1]] = changed[:, :, [0, -1]] = -1024
    refused(chest, changed)


@pytest.mark.parametrize("by_hu", [1024, 500, 300, -300, -500, -1024])
@pytest.mark.parametrize(
    "slices", [slice(None, None, 3), slice(None, None, 2), slice(20, None), 15], ids=str
)
def test_slices_shifted_against_their_neighbours_are_refused(
    chest: CTVolume, by_hu: int, slices: slice | int
) -> None:
    message = refused(chest, shifted(chest.hu, slices, by_hu))
    assert "HU" in message or "Hounsfield" in message


def test_shifted_slices_are_named(chest: CTVolume) -> None:
    message = refused(chest, shifted(chest.hu, 15, 1024))
    assert 'Slices 15 and 16 of 30 of "scan" (counted from the feet)' in message
    assert "about 1025 HU" in message


@pytest.mark.parametrize("value", [-1024, 0, 40])
def test_an_empty_slice_between_others_is_refused(chest: CTVolume, value: int) -> None:
    changed = chest.hu.copy()
    changed[12] = value
    assert "Slice 13 of 30" in refused(chest, changed)


def test_empty_slices_at_the_ends_do_no_harm(chest: CTVolume) -> None:
    changed = chest.hu.copy()
    changed[:2] = changed[-3:] = -1024
    np.testing.assert_array_equal(check_ct(changed, chest.geometry).hu, changed)


def test_slices_are_looked_at_along_the_body_whatever_the_storage_order(chest: CTVolume) -> None:
    # Stored coronally, so that slices along the body lie across the stored ones.
    stored = Geometry((96, 30, 112), (3.4, 10.0, 3.4), (0, 0, 0), np.eye(3)[:, [0, 2, 1]])
    hu = np.ascontiguousarray(chest.hu.transpose(1, 0, 2))
    np.testing.assert_array_equal(orient_like(hu, orientation_of(stored)), chest.hu)
    assert codes(check_ct(hu, stored)) == ["thick_slices"]
    hu[:, ::3] += 1024
    with pytest.raises(BadInputError, match="Slices 1 and 2 of 30"):
        check_ct(hu, stored)


@pytest.mark.parametrize("paint", [0.0, 3071.0, np.nan, -2000.0, -3024.0])
def test_paint_outside_the_scan_circle_is_taken_as_air(chest: CTVolume, paint: float) -> None:
    outside = outside_circle(chest.hu)
    values = chest.hu.astype(np.float32)
    values[:, outside] = paint
    ct = check_ct(values, chest.geometry, "scan")
    assert codes(ct) == ["padding", "thick_slices"]
    assert f"{outside.mean():.1%}" in one_sentence(ct.warnings[0].message)
    assert (ct.hu[:, outside] == -1024).all()
    np.testing.assert_array_equal(ct.hu[:, ~outside], chest.hu[:, ~outside])


def test_paint_of_integers_is_found_too(chest: CTVolume) -> None:
    outside = outside_circle(chest.hu)
    hu = chest.hu.copy()
    hu[:, outside] = 3071
    before = hu.copy()
    ct = check_ct(hu, chest.geometry, "scan")
    assert (ct.hu[:, outside] == -1024).all()
    np.testing.assert_array_equal(hu, before)


def test_holes_that_are_no_numbers_are_refused_inside_the_body(chest: CTVolume) -> None:
    values = chest.hu.astype(np.float32)
    values[:, outside_circle(values)] = np.nan
    values[10, 40:44, 50:54] = np.nan
    assert "16 voxels that are not finite" in refused(chest, values)


def test_an_unscaled_scan_with_painted_corners_is_refused(chest: CTVolume) -> None:
    stored = chest.hu + np.int16(1100)
    stored[:, outside_circle(stored)] = 0
    assert "no values below 0" in refused(chest, stored)


def test_files_pass_the_same_checks(tmp_path: Path, chest: CTVolume) -> None:
    for suffix in (".nrrd", ".nii.gz", ".mha"):
        path = tmp_path / f"scan{suffix}"
        write_image(path, shifted(chest.hu, slice(None, None, 3), 1024), chest.geometry)
        assert "differ by about 1025 HU" in refusal(path)
