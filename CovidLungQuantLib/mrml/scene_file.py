"""A scene file (.mrb) that any 3D Slicer opens, written without Slicer's application.

Needs the package `slicer-core`: Slicer's scene, nodes and logics.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.mrml.chart import lobe_chart_to_node
from CovidLungQuantLib.mrml.extras import (
    airways_and_vessels_to_node,
    enhanced_to_node,
    sub_visual_to_node,
)
from CovidLungQuantLib.mrml.lobes import lobes_to_node
from CovidLungQuantLib.mrml.nodes import hierarchy_item
from CovidLungQuantLib.mrml.segmentation import segmentation_to_node
from CovidLungQuantLib.mrml.table import measurements_to_node
from CovidLungQuantLib.mrml.volumes import ct_to_node

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

SCENE_SUFFIX = ".mrb"
# In the order in which they must be made: colours first, other nodes refer to them.
LOGIC_CLASSES = {
    "colors": "vtkMRMLColorLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "transforms": "vtkSlicerTransformLogic",
}

# Slicer's three slice views: name (also that of a frame colour), orientation, label.
SLICE_VIEWS = (
    ("Red", "Axial", "R"),
    ("Green", "Coronal", "G"),
    ("Yellow", "Sagittal", "Y"),
)


def write_scene(path: str | Path, quantification: Quantification) -> None:
    """Write the CT and all that was found and measured as a Slicer scene.

    The CT is shown in a lung window in the three slice views; patient and study in the subject
    hierarchy hold no patient data. The same input gives the same bytes when written by a fresh
    process (within one, Slicer goes on counting the items of the subject hierarchy).

    Raises:
        BadInputError: `slicer-core` is not installed, `path` does not end in ".mrb", or it cannot
            be written there. No half-written file is left.
    """
    path = Path(path)
    if path.suffix != SCENE_SUFFIX:
        raise BadInputError(
            f'"{path}" is no scene file; choose a name that ends in {SCENE_SUFFIX}.'
        )
    if not path.parent.is_dir():
        raise BadInputError(f'The folder "{path.parent}" does not exist; create it first.')
    with headless_scene() as (scene, _logics):
        volume_node = ct_to_node(scene, quantification.ct)
        _place_in_anonymous_study(scene, volume_node)
        segmentation_to_node(scene, quantification, volume_node)
        measurements_to_node(scene, quantification, volume_node)
        lobes_to_node(scene, quantification, volume_node)
        lobe_chart_to_node(scene, quantification, volume_node)
        airways_and_vessels_to_node(scene, quantification, volume_node)
        sub_visual_to_node(scene, quantification, volume_node)
        enhanced_to_node(scene, quantification, volume_node)
        _show_in_slice_views(scene, volume_node)
        if not scene.WriteToMRB(str(path)):
            path.unlink(missing_ok=True)
            raise BadInputError(
                f'The scene could not be written to "{path}"; check the free space and the rights'
                " of the folder."
            )


@contextlib.contextmanager
def headless_scene() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Give an empty scene and its logics (by module name) that can read and write files.

    Raises:
        BadInputError: `slicer-core` is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="covidlungquant-") as cache_folder:
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
