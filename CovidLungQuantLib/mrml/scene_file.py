"""A scene file (.mrb) that any 3D Slicer opens, written without Slicer's application.

Needs the package `slicer-core`: Slicer's scene, nodes and logics.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import not_written
from CovidLungQuantLib.mrml.chart import lobe_chart_to_node
from CovidLungQuantLib.mrml.extras import (
    airways_and_vessels_to_node,
    enhanced_to_node,
    sub_visual_to_node,
)
from CovidLungQuantLib.mrml.lobes import lobes_to_node
from CovidLungQuantLib.mrml.nodes import hierarchy_item, results_of
from CovidLungQuantLib.mrml.probability import probability_to_node
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node, segmentation_to_node
from CovidLungQuantLib.mrml.table import measurements_to_node
from CovidLungQuantLib.mrml.volumes import ct_to_node, voxels

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

SCENE_SUFFIX = ".mrb"
CACHE_PREFIX = ".covidlungquant-"
# In the order in which they must be made: colours first, other nodes refer to them.
LOGIC_CLASSES = {
    "colors": "vtkMRMLColorLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "transforms": "vtkSlicerTransformLogic",
}

_UNSAFE_IN_FILE_NAMES = re.compile(r"[^\w .,()+=@~-]|^\W+|\s+$", re.ASCII)
# Where a name is longer, Slicer would cut it and put random letters at its end.
LONGEST_FILE_NAME = 50
KEPT_OF_THE_END = 19

# Slicer's three slice views: name (also that of a frame colour), orientation, label.
SLICE_VIEWS = (
    ("Red", "Axial", "R"),
    ("Green", "Coronal", "G"),
    ("Yellow", "Sagittal", "Y"),
)


def write_scene(path: str | Path, quantification: Quantification) -> None:
    """Write the CT and all that was found and measured as a Slicer scene.

    The CT is shown in a lung window in the three slice views; patient and study in the subject
    hierarchy hold no patient data. What was written is read back and compared. The same input gives
    the same bytes when written by a fresh process (within one, Slicer goes on counting the items of
    the subject hierarchy).

    Raises:
        BadInputError: `slicer-core` is not installed, `path` does not end in ".mrb", it cannot be
            written there, or is not read back as it was. No half-written file is left.
        OutOfResourcesError: the disk is full.
    """
    path = Path(path)
    if path.suffix != SCENE_SUFFIX:
        raise BadInputError(
            f'"{path}" is no scene file; choose a name that ends in {SCENE_SUFFIX}.'
        )
    if not path.parent.is_dir():
        raise BadInputError(f'The folder "{path.parent}" does not exist; create it first.')
    try:
        with headless_scene(path.parent) as (scene, _logics):
            _fill(scene, quantification)
            node_counts = _storable_nodes(scene)
            if not scene.WriteToMRB(str(path)):
                raise not_written(path, path.name)
        _check_reads_back(path, quantification, node_counts)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _fill(scene: Any, quantification: Quantification) -> None:
    volume_node = ct_to_node(scene, quantification.ct)
    _place_in_anonymous_study(scene, volume_node)
    segmentation_to_node(scene, quantification, volume_node)
    measurements_to_node(scene, quantification, volume_node)
    lobes_to_node(scene, quantification, volume_node)
    lobe_chart_to_node(scene, quantification, volume_node)
    airways_and_vessels_to_node(scene, quantification, volume_node)
    sub_visual_to_node(scene, quantification, volume_node)
    enhanced_to_node(scene, quantification, volume_node)
    probability_to_node(scene, quantification, volume_node)
    _show_in_slice_views(scene, volume_node)
    _name_files(scene)


@contextlib.contextmanager
def headless_scene(folder: Path | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Give an empty scene and its logics (by module name) that can read and write files.

    Args:
        folder: where Slicer may put files for as long as the scene is used; None takes the
            system's.

    Raises:
        BadInputError: `slicer-core` is not installed.
    """
    with tempfile.TemporaryDirectory(prefix=CACHE_PREFIX, dir=folder) as cache_folder:
        scene, logics = make_scene(cache_folder)
        try:
            yield scene, logics
        finally:
            scene.Clear(True)


def make_scene(cache_folder: str | Path) -> tuple[Any, dict[str, Any]]:
    """Return an empty scene and its logics, by module name; keep both for as long as one is used.

    Raises:
        BadInputError: `slicer-core` is not installed.
    """
    try:
        import slicer
    except ModuleNotFoundError as error:
        raise BadInputError(
            "Writing a scene needs the package slicer-core; install it with"
            ' "pip install slicer-core".'
        ) from error
    scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkMRMLApplicationLogic()
    application_logic.SetMRMLScene(scene)
    logics: dict[str, Any] = {"application": application_logic}
    for name, class_name in LOGIC_CLASSES.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(scene)
        logics[name] = logic
    application_logic.SetModuleLogic("Colors", logics["colors"])
    remote_io = slicer.vtkMRMLRemoteIOLogic()
    remote_io.GetCacheManager().SetRemoteCacheDirectory(str(cache_folder))
    remote_io.SetMRMLScene(scene)
    remote_io.AddDataIOToScene()
    logics["remoteio"] = remote_io
    return scene, logics


def _name_files(scene: Any) -> None:
    """Give nodes files of their own name, but for what the scene's text cannot hold in a file name.

    The writer escapes the names of nodes there, not those of files.
    """
    nodes = scene.GetNodesByClass("vtkMRMLStorableNode")
    nodes.UnRegister(None)
    for index in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(index)
        name = node.GetName() or ""
        safe = _safe_file_name(name)
        if not node.GetSaveWithScene() or safe == name:
            continue
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is not None:
            suffix = storage.GetDefaultWriteFileExtension()
            storage.SetFileName(f"{safe}.{suffix}")


def _safe_file_name(name: str) -> str:
    safe = _UNSAFE_IN_FILE_NAMES.sub("_", name)
    if len(safe) <= LONGEST_FILE_NAME:
        return safe
    # The end says which of the scan's nodes it is.
    return f"{safe[: LONGEST_FILE_NAME - KEPT_OF_THE_END - 1]}_{safe[-KEPT_OF_THE_END:]}"


def _check_reads_back(
    path: Path, quantification: Quantification, node_counts: dict[str, int]
) -> None:
    """Read a scene that was written and compare it: nodes, voxels, label map."""
    with headless_scene(path.parent) as (scene, _logics):
        is_read = scene.ReadFromMRB(str(path)) and _storable_nodes(scene) == node_counts
        volume_node = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        if is_read and volume_node is not None:
            segmentation_node, _table_node = results_of(scene, volume_node)
            labels, _warnings = segmentation_from_node(segmentation_node, volume_node)
            is_read = np.array_equal(labels, quantification.labels) and np.array_equal(
                voxels(volume_node.GetImageData()), quantification.ct.hu
            )
    if not is_read:
        raise BadInputError(
            f"The scene {path.name} cannot be read back as it was written; rename the scan and "
            "write it again, or leave the scene out."
        )


def _storable_nodes(scene: Any) -> dict[str, int]:
    """How many nodes of each class have files in the scene."""
    nodes = scene.GetNodesByClass("vtkMRMLStorableNode")
    nodes.UnRegister(None)
    of_each = (nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems()))
    return dict(Counter(node.GetClassName() for node in of_each if node.GetSaveWithScene()))


def _place_in_anonymous_study(scene: Any, volume_node: Any) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Chest CT")
    hierarchy.SetItemParent(hierarchy_item(scene, volume_node), study)


def _show_in_slice_views(scene: Any, volume_node: Any) -> None:
    import slicer

    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for name, orientation, label in SLICE_VIEWS:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(scene)
        slice_node = logic.AddSliceNode(name)
        slice_node.SetOrientation(orientation)
        slice_node.SetLayoutLabel(label)
        slice_node.SetLayoutColor(getattr(slice_node, f"Get{name}Color")())
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        logic.FitSliceToAll()
