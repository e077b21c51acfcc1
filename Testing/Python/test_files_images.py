"""Image files: read as they are stored, and refused where they cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from small_chest import SHAPE, a_label_map

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.ct.images import geometry_of_image
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import read_image, read_label_file, whole_numbers, write_image
from CovidLungQuantLib.files.seg_nrrd import SegmentHeader
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from CovidLungQuantLib.labels import LABELS
from CovidLungQuantLib.terminology import terminology_entry

GEOMETRY = Geometry(SHAPE, (0.7, 0.71, 2.1), (10.3, -20.7, 1000 / 3), np.eye(3))


def test_an_images_geometry_goes_round(tmp_path):
    geometry = Geometry((3, 4, 5), (0.7, 0.8, 1.25), (1.5, -2.25, 1 / 3), np.eye(3)[:, [1, 0, 2]])
    geometry.direction[:, 2] *= -1
    write_image(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.uint8), geometry)
    read = geometry_of_image(sitk.ReadImage(str(tmp_path / "a.nrrd")))
    assert read.shape == geometry.shape
    assert read.origin_mm == geometry.origin_mm
    np.testing.assert_allclose(read.spacing_mm, geometry.spacing_mm, rtol=1e-15)
    np.testing.assert_allclose(read.direction, geometry.direction, atol=1e-15)


def test_an_image_is_read_as_it_is_stored(tmp_path):
    hu = np.linspace(-1000, 400, a_label_map().size).astype(np.int16).reshape(SHAPE)
    write_image(tmp_path / "ct.nii.gz", hu, GEOMETRY)
    array, geometry = read_image(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(array, hu)
    assert (array.dtype, geometry.shape) == (np.int16, SHAPE)


def test_a_plain_label_map_has_one_layer_and_no_segments(tmp_path):
    write_image(tmp_path / "labels.mha", a_label_map(), GEOMETRY)
    file = read_label_file(tmp_path / "labels.mha")
    np.testing.assert_array_equal(file.layers[..., 0], a_label_map())
    assert (file.layers.shape, file.segments) == ((*SHAPE, 1), ())
    assert file.file_name == "labels.mha"


def test_the_header_of_a_segmentation_is_read_back(tmp_path):
    write_segmentation(tmp_path / "a.seg.nrrd", a_label_map(), GEOMETRY)
    assert read_label_file(tmp_path / "a.seg.nrrd").segments == tuple(
        SegmentHeader(label.segment_id, label.name, 0, label.value, terminology_entry(label))
        for label in LABELS
    )


@pytest.mark.parametrize("key", ["Layer", "LabelValue"])
def test_a_header_that_makes_no_sense_is_refused(tmp_path, key):
    image = sitk.GetImageFromArray(a_label_map())
    image.SetMetaData("Segment0_ID", "GGO")
    image.SetMetaData(f"Segment0_{key}", "two")
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(BadInputError, match="no whole number"):
        read_label_file(tmp_path / "a.seg.nrrd")


def test_whole_numbers_lose_nothing():
    assert whole_numbers(np.array([1.0, 300000.0], np.float32), "a").tolist() == [1, 300000]
    stored = np.array([1, 2], np.uint8)
    assert whole_numbers(stored, "a") is stored
    for bad in (0.5, np.nan, np.inf, 1e12):
        with pytest.raises(BadInputError, match="not whole numbers"):
            whole_numbers(np.array([bad]), "a")
