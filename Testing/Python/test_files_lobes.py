"""Lobes and lungs in files of other tools, and in our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_lobes import SHAPE, SPACING_MM, lungs_of_lobes, small_lobes

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.ct.images import image_on
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.lobes import read_lobes, read_lungs
from CovidLungQuantLib.files.segmentation_writing import write_lobes
from CovidLungQuantLib.labels import LEFT_LOWER_LOBE, LOBES, RIGHT_LOWER_LOBE, RIGHT_MIDDLE_LOBE
from CovidLungQuantLib.terminology import terminology_entry


@pytest.fixture(scope="module")
def lobes():
    return small_lobes()


def scan_geometry():
    return Geometry(SHAPE, SPACING_MM, (-140.0, -80.0, -300.0), np.eye(3))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_a_label_map_is_read_on_the_scans_grid(tmp_path, lobes, suffix):
    write_image(tmp_path / f"lobes{suffix}", lobes, scan_geometry())
    np.testing.assert_array_equal(read_lobes(tmp_path / f"lobes{suffix}", scan_geometry()), lobes)


def test_a_floating_point_label_map_in_another_orientation_is_read(tmp_path, lobes):
    image = sitk.DICOMOrient(image_on(lobes.astype(np.float32), scan_geometry()), "RAS")
    sitk.WriteImage(image, str(tmp_path / "lobes.nii.gz"))
    assert image.GetDirection() != np.eye(3).ravel().tolist()
    np.testing.assert_array_equal(read_lobes(tmp_path / "lobes.nii.gz", scan_geometry()), lobes)


def test_a_label_map_on_a_coarser_grid_is_resampled(tmp_path, lobes):
    fine = scan_geometry()
    half = lobes[::2, ::2, ::2]
    coarse = Geometry(half.shape, (8.0, 8.0, 8.0), fine.origin_mm, fine.direction)
    write_image(tmp_path / "lobes.nrrd", half, coarse)
    read = read_lobes(tmp_path / "lobes.nrrd", scan_geometry())
    assert read.shape == lobes.shape
    np.testing.assert_array_equal(read[::2, ::2, ::2], half)
    assert np.mean(read[lobes > 0] == lobes[lobes > 0]) > 0.9


def test_lobes_elsewhere_are_refused(tmp_path, lobes):
    own = scan_geometry()
    write_image(tmp_path / "lobes.nrrd", lobes, own)
    elsewhere = Geometry(own.shape, own.spacing_mm, (400.0, 0.0, 0.0), own.direction)
    with pytest.raises(BadInputError, match="outside the scan for the most part"):
        read_lobes(tmp_path / "lobes.nrrd", elsewhere)


def write_slicer_segmentation(path, layers, segments, geometry):
    """Write a .seg.nrrd; `segments` are (name, terminology, layer, value)."""
    image = sitk.GetImageFromArray(np.stack(layers, axis=-1), isVector=len(layers) > 1)
    if len(layers) == 1:
        image = sitk.GetImageFromArray(layers[0])
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    for index, (name, entry, layer, value) in enumerate(segments):
        image.SetMetaData(f"Segment{index}_ID", f"Segment_{index}")
        image.SetMetaData(f"Segment{index}_Name", name)
        image.SetMetaData(f"Segment{index}_Layer", str(layer))
        image.SetMetaData(f"Segment{index}_LabelValue", str(value))
        image.SetMetaData(f"Segment{index}_Tags", f"Other:1|TerminologyEntry:{entry}|")
    sitk.WriteImage(image, str(path))


def test_a_slicer_segmentation_with_layers_is_read(tmp_path, lobes):
    layers = [np.isin(lobes, (1, 4)).astype(np.uint8), np.zeros_like(lobes)]
    layers[0][lobes == 4] = 2
    for value, lobe_value in ((1, 2), (2, 3), (3, 5)):
        layers[1][lobes == lobe_value] = value
    layers[1][0, 0, :5] = 4
    segments = [
        ("right upper lobe", "", 0, 1),
        ("left upper lobe", "", 0, 2),
        ("A", terminology_entry(RIGHT_MIDDLE_LOBE), 1, 1),
        ("B", terminology_entry(RIGHT_LOWER_LOBE), 1, 2),
        ("C", terminology_entry(LEFT_LOWER_LOBE), 1, 3),
        ("trachea", "", 1, 4),
    ]
    write_slicer_segmentation(tmp_path / "lobes.seg.nrrd", layers, segments, scan_geometry())
    np.testing.assert_array_equal(read_lobes(tmp_path / "lobes.seg.nrrd", scan_geometry()), lobes)


def test_overlapping_lobes_are_refused(tmp_path, lobes):
    layers = [lobes, np.where(lobes == 1, 1, 0).astype(np.uint8)]
    segments = [(lobe.name, "", 0, lobe.value) for lobe in LOBES[1:]]
    segments += [("right upper lobe", "", 0, 1), ("RML", "", 1, 1)]
    write_slicer_segmentation(tmp_path / "lobes.seg.nrrd", layers, segments, scan_geometry())
    with pytest.raises(BadInputError, match="overlap in"):
        read_lobes(tmp_path / "lobes.seg.nrrd", scan_geometry())


def test_lungs_are_read_as_stored(tmp_path, lobes):
    lungs = lungs_of_lobes(lobes)
    write_image(tmp_path / "lungs.nii.gz", lungs, scan_geometry())
    read, geometry = read_lungs(tmp_path / "lungs.nii.gz")
    np.testing.assert_array_equal(read, lungs)
    assert geometry.spacing_mm == SPACING_MM


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lungs: 0 * lungs, "is empty"),
        (lambda lungs: 3 * lungs, "values other than 0, 1"),
        (lambda lungs: np.where(lungs > 0, 3 - lungs, 0), "lies to the right"),
        (lambda lungs: lungs / 2, "not whole numbers"),
        (lambda lungs: lungs[0], "3D label map"),
    ],
)
def test_bad_lungs_are_refused_in_one_sentence(tmp_path, lobes, change, message):
    changed = change(lungs_of_lobes(lobes))
    image = sitk.GetImageFromArray(
        changed.astype(np.float32 if changed.dtype.kind == "f" else np.uint8)
    )
    sitk.WriteImage(image, str(tmp_path / "lungs.nrrd"))
    with pytest.raises(BadInputError, match=message) as raised:
        read_lungs(tmp_path / "lungs.nrrd")
    assert str(raised.value).count(". ") == 0


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "lungs.nrrd").write_text("not an image")
    for read in (read_lungs, lambda path: read_lobes(path, scan_geometry())):
        with pytest.raises(BadInputError, match="cannot be read"):
            read(tmp_path / "lungs.nrrd")
        with pytest.raises(BadInputError, match="There is no file"):
            read(tmp_path / "missing.nrrd")


def test_lobes_are_read_back_as_lobes_and_carry_names_and_codes(tmp_path: Path):
    geometry = Geometry(SHAPE, SPACING_MM, (1.0, 2.0, 3.0), np.eye(3))
    path = tmp_path / "lobes.seg.nrrd"
    write_lobes(path, small_lobes(), geometry, "a network")

    np.testing.assert_array_equal(read_lobes(path, geometry), small_lobes())
    image = sitk.ReadImage(str(path))
    for index, lobe in enumerate(LOBES):
        assert image.GetMetaData(f"Segment{index}_Name") == lobe.name
        assert image.GetMetaData(f"Segment{index}_LabelValue") == str(lobe.value)
        tags = image.GetMetaData(f"Segment{index}_Tags")
        assert terminology_entry(lobe) in tags
        assert "AlgorithmName:a network|" in tags and "AlgorithmType:AUTOMATIC" in tags


def test_lobes_that_were_given_are_not_called_automatic(tmp_path: Path):
    geometry = Geometry(SHAPE, SPACING_MM, (1.0, 2.0, 3.0), np.eye(3))
    write_lobes(tmp_path / "lobes.seg.nrrd", small_lobes(), geometry)

    tags = sitk.ReadImage(str(tmp_path / "lobes.seg.nrrd")).GetMetaData("Segment0_Tags")

    assert "AlgorithmType:SEMIAUTOMATIC" in tags
