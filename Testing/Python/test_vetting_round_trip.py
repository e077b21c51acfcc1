"""Any image of an allowed type, size and position comes back as it was written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.vetting import read_stored_image

TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
NIFTI_TOLERANCE = 1e-4

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

sizes = st.tuples(*[st.integers(2, 9)] * 3)
spacings = st.tuples(*[st.floats(0.11, 9.5)] * 3)
# No file needs numbers so small that readers differ about them.
origins = st.tuples(*[st.floats(-900, 900).map(lambda value: round(value, 9))] * 3)


@st.composite
def directions(draw: st.DrawFn) -> np.ndarray:
    """Axes exchanged and turned round, or turned by any angles."""
    if draw(st.booleans()):
        signs = [draw(st.sampled_from((-1.0, 1.0))) for _ in range(3)]
        return np.eye(3)[:, draw(st.permutations(range(3)))] * signs
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.linalg.qr(random.normal(size=(3, 3)))[0]


def image_of(array, spacing_mm, origin_mm, direction) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    image.SetOrigin(origin_mm)
    image.SetDirection(direction.ravel().tolist())
    return image


def assert_geometry(geometry, suffix, spacing_mm, origin_mm, direction) -> None:
    # NIfTI keeps 32-bit floats, text files 17 digits of products.
    tolerance = NIFTI_TOLERANCE if ".nii" in suffix else 1e-9
    np.testing.assert_allclose(geometry.spacing_mm, spacing_mm, rtol=tolerance)
    np.testing.assert_allclose(geometry.origin_mm, origin_mm, rtol=0, atol=tolerance * 900)
    np.testing.assert_allclose(geometry.direction, direction, rtol=0, atol=tolerance)


@settings(max_examples=50)
@given(
    st.sampled_from(TYPES), st.sampled_from(SUFFIXES), st.booleans(), sizes, spacings, origins,
    directions(), st.integers(0, 1000),
)  # fmt: skip
def test_a_stored_image_is_what_itk_reads(
    dtype, suffix, packed, size, spacing_mm, origin_mm, direction, seed
) -> None:
    array = (np.random.default_rng(seed).normal(size=size) * 100).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{suffix}"
        image = image_of(array, spacing_mm, origin_mm, direction)
        sitk.WriteImage(image, str(path), useCompression=packed)
        stored, again = read_stored_image(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(stored.voxels, array)
    assert stored.voxels.dtype == array.dtype
    assert stored.header.spacing_mm == again.GetSpacing()
    assert stored.header.origin_mm == again.GetOrigin()
    assert stored.header.direction.ravel().tolist() == list(again.GetDirection())


@settings(max_examples=30)
@given(
    st.sampled_from(TYPES), st.sampled_from(SUFFIXES), st.booleans(), sizes, spacings, origins,
    directions(), st.integers(0, 1000),
)  # fmt: skip
def test_a_label_map_goes_round(
    dtype, suffix, packed, size, spacing_mm, origin_mm, direction, seed
) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, size).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"labels{suffix}"
        image = image_of(labels, spacing_mm, origin_mm, direction)
        sitk.WriteImage(image, str(path), useCompression=packed)
        read = read_label_file(path)
    np.testing.assert_array_equal(read.layers[..., 0], labels)
    assert_geometry(read.geometry, suffix, spacing_mm, origin_mm, direction)


@settings(max_examples=30)
@given(
    st.sampled_from(("int16", "int32", "float32", "float64")), st.sampled_from(SUFFIXES),
    st.booleans(), spacings, origins, directions(), st.integers(0, 1000),
)  # fmt: skip
def test_a_ct_goes_round(dtype, suffix, packed, spacing_mm, origin_mm, direction, seed) -> None:
    random = np.random.default_rng(seed)
    hu = random.integers(0, 80, (8, 12, 14))
    hu[:, 3:-3, 3:-3] = random.integers(-900, -800, hu[:, 3:-3, 3:-3].shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"ct{suffix}"
        image = image_of(hu.astype(dtype), spacing_mm, origin_mm, direction)
        sitk.WriteImage(image, str(path), useCompression=packed)
        ct = read_ct(path)
    np.testing.assert_array_equal(ct.hu, hu)
    assert_geometry(ct.geometry, suffix, spacing_mm, origin_mm, direction)


@pytest.mark.parametrize("suffix", (".nrrd", ".mha", ".nii.gz"))
def test_label_maps_of_several_layers_go_round(tmp_path: Path, suffix: str) -> None:
    layers = np.random.default_rng(0).integers(0, 4, (3, 4, 5, 2)).astype(np.uint8)
    image = sitk.GetImageFromArray(layers, isVector=True)
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"), useCompression=True)
    np.testing.assert_array_equal(read_label_file(tmp_path / f"a{suffix}").layers, layers)
