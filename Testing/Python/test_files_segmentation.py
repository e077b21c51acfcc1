"""The segmentation file: written, read by SimpleITK and Slicer, read back in many shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from small_chest import OBLIQUE, SHAPE, a_label_map

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from CovidLungQuantLib.labels import LABELS
from CovidLungQuantLib.terminology import terminology_entry

GEOMETRY = Geometry(SHAPE, (0.7, 0.71, 2.1), (10.3, -20.7, 1000 / 3), OBLIQUE)
UPRIGHT = Geometry(SHAPE, (0.7, 0.71, 2.1), (10.3, -20.7, 1000 / 3), np.eye(3))


def an_image(array: np.ndarray, geometry: Geometry, is_vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(np.asarray(geometry.direction).reshape(-1).tolist())
    return image


def with_segments(image: sitk.Image, segments: list[dict[str, str]]) -> sitk.Image:
    for index, segment in enumerate(segments):
        for key, value in segment.items():
            image.SetMetaData(f"Segment{index}_{key}", value)
    return image


def test_what_is_written_is_read_back(tmp_path: Path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, a_label_map(), GEOMETRY)

    labels, warnings = read_segmentation(path, GEOMETRY)

    np.testing.assert_array_equal(labels, a_label_map())
    assert labels.dtype == np.uint8
    assert warnings == ()


def test_the_file_has_the_values_and_the_geometry_of_the_scan(tmp_path: Path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, a_label_map(), GEOMETRY)

    image = sitk.ReadImage(str(path))

    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), a_label_map())
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_allclose(image.GetSpacing(), GEOMETRY.spacing_mm, rtol=1e-15)
    np.testing.assert_allclose(image.GetOrigin(), GEOMETRY.origin_mm, rtol=1e-15)
    np.testing.assert_allclose(
        np.reshape(image.GetDirection(), (3, 3)), GEOMETRY.direction, atol=1e-15
    )


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.seg.nrrd", "another name.seg.nrrd"):
        write_segmentation(tmp_path / name, a_label_map(), GEOMETRY)

    first, second = sorted(tmp_path.iterdir())
    assert first.read_bytes() == second.read_bytes()


def test_a_label_map_that_is_none_is_not_written(tmp_path: Path):
    with pytest.raises(BadInputError, match="no label"):
        write_segmentation(tmp_path / "a.seg.nrrd", a_label_map() + 2, GEOMETRY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model_name", "algorithm_type", "algorithm_name"),
    [("convlstm", "AUTOMATIC", "convlstm"), (None, "SEMIAUTOMATIC", "CovidLungQuant")],
)
def test_slicer_opens_it_with_names_colours_and_terminology(
    scene: Any, tmp_path: Path, model_name: str | None, algorithm_type: str, algorithm_name: str
):
    import slicer

    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, a_label_map(), GEOMETRY, model_name)
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))

    assert storage.ReadData(node)

    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(LABELS)
    assert segmentation.GetNumberOfLayers("Binary labelmap") == 1
    for index, label in enumerate(LABELS):
        assert segmentation.GetNthSegmentID(index) == label.segment_id
        segment = segmentation.GetNthSegment(index)
        assert segment.GetName() == label.name
        assert segment.GetLabelValue() == label.value
        np.testing.assert_allclose(segment.GetColor(), label.color, atol=1e-6)
        assert tag(segment, segment.GetTerminologyEntryTagName()) == terminology_entry(label)
        assert tag(segment, "DICOM.SegmentAlgorithmType") == algorithm_type
        assert tag(segment, "DICOM.SegmentAlgorithmName") == algorithm_name


def tag(segment: Any, name: str) -> str:
    import vtk

    value = vtk.reference("")
    assert segment.GetTag(name, value)
    return str(value)


def test_what_slicer_writes_cropped_and_in_layers_is_read(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import slicer
    from small_chest import a_ct, a_quantification

    from CovidLungQuantLib.mrml.segmentation import segmentation_to_node
    from CovidLungQuantLib.mrml.volumes import ct_to_node

    quantification = a_quantification(a_ct())
    volume_node = ct_to_node(scene, quantification.ct)
    node = segmentation_to_node(scene, quantification, volume_node)
    # As after painting with overlap allowed: the lung segment now holds the lesions too.
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    whole_lung = (quantification.labels > 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(whole_lung, node, "NormalLung", volume_node)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetCropToMinimumExtent(True)
    path = tmp_path / "slicer.seg.nrrd"
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    written = sitk.ReadImage(str(path))
    assert written.GetNumberOfComponentsPerPixel() == 2
    assert written.GetSize() != tuple(reversed(SHAPE))

    labels, warnings = read_segmentation(path, quantification.ct.geometry)

    np.testing.assert_array_equal(labels, quantification.labels)
    assert [warning.code for warning in warnings] == ["segments_overlap"]


def test_segments_are_found_by_id_terminology_or_name_whatever_their_value(tmp_path: Path):
    shuffled = np.array([0, 7, 3, 1], dtype=np.uint8)[a_label_map()]
    entry = f"Color:1|TerminologyEntry:{terminology_entry(LABELS[1])}|"
    image = with_segments(
        an_image(shuffled, UPRIGHT),
        [
            {"ID": "Segment_1", "Name": "Consolidation", "LabelValue": "1"},
            {"ID": "NormalLung", "Name": "my lung", "LabelValue": "7"},
            {"ID": "Segment_2", "Name": "hazy", "LabelValue": "3", "Tags": entry},
        ],
    )
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))

    labels, warnings = read_segmentation(tmp_path / "a.seg.nrrd", UPRIGHT)

    np.testing.assert_array_equal(labels, a_label_map())
    assert warnings == ()


def test_overlap_missing_and_unknown_segments_are_said(tmp_path: Path):
    lung, ggo, other = (np.zeros(SHAPE, dtype=np.uint8) for _ in range(3))
    lung[2:6, 4:8, 4:8] = 1
    ggo[3:5, 5:6, 5:6] = 1
    other[0, 0, 0] = 1
    image = with_segments(
        an_image(np.stack([lung, ggo, other], axis=-1), UPRIGHT, is_vector=True),
        [
            {"ID": "a", "Name": "Normal lung", "Layer": "0"},
            {"ID": "b", "Name": "Ground-glass opacity", "Layer": "1"},
            {"ID": "c", "Name": "Nodule", "Layer": "2"},
        ],
    )
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))

    labels, warnings = read_segmentation(tmp_path / "a.seg.nrrd", UPRIGHT)

    assert np.bincount(labels.reshape(-1)).tolist() == [lung.size - 64, 62, 2]
    assert [w.code for w in warnings] == ["segment_ignored", "segment_missing", "segments_overlap"]
    assert "Nodule" in warnings[0].message and "2 voxels" in warnings[2].message


def test_voxels_of_no_segment_are_said(tmp_path: Path):
    """A segment's value was changed to one that no voxel has."""
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, a_label_map(), UPRIGHT)
    path.write_bytes(path.read_bytes().replace(b"LabelValue:=1\n", b"LabelValue:=9\n"))

    labels, warnings = read_segmentation(path, UPRIGHT)

    lost = int((a_label_map() == 1).sum())
    assert not (labels == 1).any()
    assert [warning.code for warning in warnings] == ["voxels_without_segment"]
    assert f"holds {lost} voxels that are of none" in warnings[0].message


def test_a_segmentation_without_normal_lung_is_refused(tmp_path: Path):
    image = with_segments(an_image(a_label_map(), UPRIGHT), [{"ID": "GGO", "LabelValue": "2"}])
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))

    with pytest.raises(BadInputError, match='no segment "Normal lung"'):
        read_segmentation(tmp_path / "a.seg.nrrd", UPRIGHT)


@pytest.mark.parametrize("name", ["labels.nrrd", "labels.nii.gz", "labels.mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("geometry", [UPRIGHT, GEOMETRY], ids=["upright", "oblique"])
def test_plain_label_maps_are_read(tmp_path: Path, name: str, dtype: type, geometry: Geometry):
    sitk.WriteImage(an_image(a_label_map().astype(dtype), geometry), str(tmp_path / name))

    labels, warnings = read_segmentation(tmp_path / name, geometry)

    np.testing.assert_array_equal(labels, a_label_map())
    assert (labels.dtype, warnings) == (np.uint8, ())


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.where(a_label_map() == 2, 4, a_label_map()), "no stated class"),
        (a_label_map().astype(np.int16) * 100, "no label"),
        (a_label_map() * 0.5, "not whole numbers"),
    ],
)
def test_plain_maps_of_other_values_are_refused(tmp_path: Path, array: np.ndarray, sentence: str):
    sitk.WriteImage(an_image(array, UPRIGHT), str(tmp_path / "labels.nrrd"))

    with pytest.raises(BadInputError, match=sentence):
        read_segmentation(tmp_path / "labels.nrrd", UPRIGHT)


@pytest.mark.parametrize("geometry", [UPRIGHT, GEOMETRY], ids=["upright", "oblique"])
@pytest.mark.parametrize("change", ["crop", "flip", "permute", "pad"])
def test_the_same_voxels_in_another_order_or_part_are_put_in_place(
    tmp_path: Path, change: str, geometry: Geometry
):
    image = an_image(a_label_map(), geometry)
    changed = {
        "crop": lambda: image[2:23, 3:17, 1:11],
        "flip": lambda: image[::-1, ::-1, :],
        "permute": lambda: sitk.PermuteAxes(image, [2, 0, 1]),
        "pad": lambda: sitk.ConstantPad(image, [3, 0, 1], [0, 2, 5], 0),
    }[change]()
    sitk.WriteImage(changed, str(tmp_path / "labels.nrrd"))

    labels, _ = read_segmentation(tmp_path / "labels.nrrd", geometry)

    np.testing.assert_array_equal(labels, a_label_map())


@pytest.mark.parametrize(
    "other",
    [
        Geometry(SHAPE, UPRIGHT.spacing_mm, (10.3 + 0.35, -20.7, 1000 / 3), np.eye(3)),
        Geometry(SHAPE, (0.8, 0.71, 2.1), UPRIGHT.origin_mm, np.eye(3)),
        Geometry(SHAPE, (1.4, 0.71, 2.1), UPRIGHT.origin_mm, np.eye(3)),
        GEOMETRY,
    ],
    ids=["half a voxel off", "spacing", "twice the spacing", "direction"],
)
def test_a_segmentation_of_another_grid_is_refused(tmp_path: Path, other: Geometry):
    sitk.WriteImage(an_image(a_label_map(), other), str(tmp_path / "labels.nrrd"))

    with pytest.raises(BadInputError, match="does not lie on the voxels of the scan"):
        read_segmentation(tmp_path / "labels.nrrd", UPRIGHT)


@pytest.mark.parametrize("voxels_off", [5, 1000, -1000])
def test_labels_outside_the_scan_are_refused(tmp_path: Path, voxels_off: int):
    origin = (10.3 + 0.7 * voxels_off, -20.7, 1000 / 3)
    other = Geometry(SHAPE, UPRIGHT.spacing_mm, origin, np.eye(3))
    sitk.WriteImage(an_image(a_label_map(), other), str(tmp_path / "labels.nrrd"))

    with pytest.raises(BadInputError, match="outside the scan"):
        read_segmentation(tmp_path / "labels.nrrd", UPRIGHT)


def test_no_file_and_no_image_are_refused(tmp_path: Path):
    with pytest.raises(BadInputError, match="no segmentation file"):
        read_segmentation(tmp_path / "absent.seg.nrrd", UPRIGHT)
    (tmp_path / "text.nrrd").write_text("not an image")
    with pytest.raises(BadInputError, match="cannot be read as a segmentation"):
        read_segmentation(tmp_path / "text.nrrd", UPRIGHT)


def test_expert_label_maps_survive_the_file(test_data: Path, tmp_path: Path):
    image = sitk.ReadImage(str(test_data / "labelled" / "covid04" / "labels.nrrd"))
    labels = sitk.GetArrayFromImage(image).astype(np.uint8)
    geometry = Geometry(
        labels.shape,
        image.GetSpacing(),
        image.GetOrigin(),
        np.reshape(image.GetDirection(), (3, 3)),
    )
    write_segmentation(tmp_path / "a.seg.nrrd", labels, geometry)

    np.testing.assert_array_equal(read_segmentation(tmp_path / "a.seg.nrrd", geometry)[0], labels)
