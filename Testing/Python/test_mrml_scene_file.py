"""Scene files written without Slicer's application, read by Slicer's real scene."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk")

from CovidLungQuantLib.ct import read_ct  # noqa: E402
from CovidLungQuantLib.errors import BadInputError  # noqa: E402
from CovidLungQuantLib.labels import HIGH_OPACITY, LABELS, NORMAL_LUNG  # noqa: E402
from CovidLungQuantLib.mrml import scene_file  # noqa: E402
from CovidLungQuantLib.mrml.nodes import results_of  # noqa: E402
from CovidLungQuantLib.mrml.scene_file import write_scene  # noqa: E402
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node  # noqa: E402
from CovidLungQuantLib.mrml.table import record_from_node  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_from_node  # noqa: E402
from CovidLungQuantLib.terminology import terminology_entry  # noqa: E402
from Testing.Python.small_chest import (  # noqa: E402
    MODEL_NAME,
    OBLIQUE,
    WARNING,
    a_ct,
    a_label_map,
    a_quantification,
)


@pytest.fixture
def loaded(scene, tmp_path):
    """The scene after loading a file: (scene, volume, segmentation, table)."""
    path = tmp_path / "scene.mrb"
    write_scene(path, a_quantification())
    assert scene.ReadFromMRB(str(path))
    volume_node = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    return scene, volume_node, *results_of(scene, volume_node)


def test_the_ct_comes_back(loaded):
    _, volume_node, _, _ = loaded
    ct, back = a_ct(), ct_from_node(volume_node)
    np.testing.assert_array_equal(back.hu, ct.hu)
    assert back.name == ct.name
    # The file holds spacing × direction, so the last digit of a float64 may differ.
    np.testing.assert_allclose(back.geometry.spacing_mm, ct.geometry.spacing_mm, rtol=1e-14)
    np.testing.assert_allclose(back.geometry.origin_mm, ct.geometry.origin_mm, rtol=1e-14)
    np.testing.assert_allclose(back.geometry.direction, OBLIQUE, rtol=0, atol=1e-14)


def test_the_segmentation_comes_back(loaded):
    _, volume_node, segmentation_node, _ = loaded
    labels, warnings = segmentation_from_node(segmentation_node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert warnings == ()
    segmentation = segmentation_node.GetSegmentation()
    assert segmentation.GetNumberOfLayers() == 1
    for label in LABELS:
        segment = segmentation.GetSegment(label.segment_id)
        assert segment.GetName() == label.name
        np.testing.assert_allclose(segment.GetColor(), label.color, atol=1e-6)
        value = vtk.reference("")
        assert segment.GetTag("DICOM.SegmentAlgorithmName", value)
        assert str(value) == MODEL_NAME
        assert segment.GetTag("TerminologyEntry", value)
        assert str(value) == terminology_entry(label)
    role = segmentation_node.GetReferenceImageGeometryReferenceRole()
    assert segmentation_node.GetNodeReferenceID(role) == volume_node.GetID()


def test_the_measurements_come_back_exactly(loaded):
    _, _, _, table_node = loaded
    record = record_from_node(table_node)
    assert record.measurements == a_quantification().measurements
    assert record.warnings == (WARNING,)
    assert record.provenance["model_sha256"] == "ab" * 32
    assert table_node.GetColumnUnitLabel("volume_ml") == "mL"


def test_an_edited_table_is_recognised_after_loading(loaded):
    _, _, _, table_node = loaded
    cells = table_node.GetTable().GetColumnByName("ggo_percent")
    cells.SetValue(0, cells.GetValue(0) + 0.01)
    with pytest.raises(BadInputError, match="edited"):
        record_from_node(table_node)


def test_the_ct_is_shown_in_a_lung_window(loaded):
    _, volume_node, _, _ = loaded
    display = volume_node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1500, -400)


def test_all_nodes_lie_in_one_study_without_patient_data(loaded):
    scene, *nodes = loaded
    hierarchy = scene.GetSubjectHierarchyNode()
    items = [hierarchy.GetItemByDataNode(node) for node in nodes]
    parents = {hierarchy.GetItemParent(item) for item in items}
    assert len(parents) == 1
    study = parents.pop()
    patient = hierarchy.GetItemParent(study)
    assert hierarchy.GetItemLevel(study) == "Study"
    assert hierarchy.GetItemLevel(patient) == "Patient"
    for item in (study, patient):
        assert list(hierarchy.GetItemAttributeNames(item)) == ["Level"]
        assert hierarchy.GetItemUID(item, "DICOM") == ""


def test_a_real_scan_comes_back(scene, test_data, tmp_path):
    ct = read_ct(test_data / "lungs" / "lung1_001" / "ct.nrrd")
    labels = np.where(ct.hu < -500, NORMAL_LUNG.value, 0).astype(np.uint8)
    labels[ct.hu > 200] = HIGH_OPACITY.value
    path = tmp_path / "scene.mrb"
    write_scene(path, replace(a_quantification(), ct=ct, labels=labels))
    assert scene.ReadFromMRB(str(path))
    volume_node = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    back = ct_from_node(volume_node)
    np.testing.assert_array_equal(back.hu, ct.hu)
    np.testing.assert_allclose(back.geometry.ijk_to_lps, ct.geometry.ijk_to_lps, atol=1e-9)
    segmentation_node, _ = results_of(scene, volume_node)
    labels_back, warnings = segmentation_from_node(segmentation_node, volume_node)
    np.testing.assert_array_equal(labels_back, labels)
    assert warnings == ()


def test_the_slice_views_show_the_ct(loaded):
    scene, volume_node, _, _ = loaded
    bounds = np.zeros(6)
    volume_node.GetRASBounds(bounds)
    for view, axis in (("Red", 2), ("Green", 1), ("Yellow", 0)):
        composite = scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{view}")
        assert composite.GetBackgroundVolumeID() == volume_node.GetID()
        slice_node = scene.GetNodeByID(f"vtkMRMLSliceNode{view}")
        offset_mm = slice_node.GetSliceToRAS().GetElement(axis, 3)
        assert bounds[2 * axis] < offset_mm < bounds[2 * axis + 1]


def test_the_same_run_gives_the_same_content(tmp_path):
    contents = []
    for folder in ("one", "two"):
        path = tmp_path / folder / "scene.mrb"
        path.parent.mkdir()
        write_scene(path, a_quantification())
        with zipfile.ZipFile(path) as archive:
            contents.append({name: archive.read(name) for name in sorted(archive.namelist())})
            # Slicer counts hierarchy items through a process, so these numbers go on.
            scene_text = contents[-1]["scene/scene.mrml"]
            contents[-1]["scene/scene.mrml"] = re.sub(rb'(id|parent)="\d+"', b"", scene_text)
    assert contents[0] == contents[1]


def test_only_a_scene_file_in_an_existing_folder_is_written(tmp_path):
    for path in (tmp_path / "scene.zip", tmp_path / "missing" / "scene.mrb"):
        with pytest.raises(BadInputError):
            write_scene(path, a_quantification())
        assert not path.exists()


def test_without_slicer_core_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer", None)
    with pytest.raises(BadInputError, match="slicer-core"):
        write_scene(tmp_path / "scene.mrb", a_quantification())
    assert not list(tmp_path.iterdir())


HOSTILE_NAMES = [
    "Thorax & Abdomen",
    "a&amp;b;&lt;",
    "a \"b\" <c> 'd'",
    "100 % #5 %20",
    "emoji \U0001fac1",
    "x" * 255,
    "\u00e9" * 120,
    ".hidden",
    "..",
    " ",
    "a\nb\tc",
    "a\x1b[2Jb",
    "a/b\\c",
    "a\x00b",
    "a:b*?|",
    "\udcff half a character",
]
READ_IN_A_FRESH_PROCESS = """
import sys
import numpy as np
from CovidLungQuantLib.mrml.nodes import results_of
from CovidLungQuantLib.mrml.scene_file import headless_scene
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node
from CovidLungQuantLib.mrml.volumes import voxels
for path in sys.argv[2:]:
    with headless_scene() as (scene, _logics):
        assert scene.ReadFromMRB(path), path
        volume_node = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        segmentation_node, table_node = results_of(scene, volume_node)
        assert table_node.GetTable().GetNumberOfRows() > 3
        labels, _ = segmentation_from_node(segmentation_node, volume_node)
        expected = np.load(sys.argv[1])
        assert np.array_equal(labels, expected["labels"])
        assert np.array_equal(voxels(volume_node.GetImageData()), expected["hu"])
        print(scene.GetNumberOfNodes())
"""


def test_a_scene_of_any_name_is_read_by_a_fresh_process(tmp_path):
    paths = []
    for number, name in enumerate(["plain", *HOSTILE_NAMES]):
        paths.append(tmp_path / str(number) / "scene.mrb")
        paths[-1].parent.mkdir()
        write_scene(paths[-1], a_quantification(a_ct(name=name), lobes=True))
        assert [file.name for file in paths[-1].parent.iterdir()] == ["scene.mrb"]
    np.savez(tmp_path / "expected.npz", labels=a_label_map(), hu=a_ct().hu)
    done = subprocess.run(
        [sys.executable, "-c", READ_IN_A_FRESH_PROCESS, tmp_path / "expected.npz", *paths],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    counts = done.stdout.split()
    assert len(counts) == len(paths) and len(set(counts)) == 1


def test_an_ampersand_stays_in_the_name_of_the_node(scene, tmp_path):
    write_scene(tmp_path / "scene.mrb", a_quantification(a_ct(name="Thorax & Abdomen")))
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    volume_node = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert volume_node.GetName() == "Thorax & Abdomen"


@pytest.mark.parametrize("name", ["x" * 60, "small chest"])
def test_file_names_do_not_depend_on_chance(tmp_path, name):
    names = []
    for number in range(2):
        path = tmp_path / f"{number}.mrb"
        write_scene(path, a_quantification(a_ct(name=name)))
        with zipfile.ZipFile(path) as archive:
            names.append({re.sub("^[^/]*/", "", entry) for entry in archive.namelist()})
            names[-1].discard(f"{number}.mrml")
    assert names[0] == names[1]
    if name == "small chest":
        assert "Data/small chest segmentation.seg.nrrd" in names[0]


def test_a_scene_that_is_not_read_back_is_not_left(tmp_path, monkeypatch):
    """As it was: Slicer writes a file name with & into its XML as it is."""
    monkeypatch.setattr(scene_file, "_name_files", lambda scene: None)
    with pytest.raises(BadInputError, match="cannot be read back"):
        write_scene(tmp_path / "scene.mrb", a_quantification(a_ct(name="Thorax & Abdomen")))
    assert not list(tmp_path.iterdir())


def test_a_scene_whose_labels_come_back_otherwise_is_not_left(tmp_path, monkeypatch):
    changed = a_label_map()
    changed[4, 6, 6] = NORMAL_LUNG.value
    monkeypatch.setattr(scene_file, "segmentation_from_node", lambda *nodes: (changed, ()))
    with pytest.raises(BadInputError, match="cannot be read back"):
        write_scene(tmp_path / "scene.mrb", a_quantification())
    assert not list(tmp_path.iterdir())
