"""A label map that a scene shows without a copy, and its surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from small_chest import OBLIQUE, a_ct, a_quantification

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY
from CovidLungQuantLib.mrml.live_labels import labels_changed, share_labels
from CovidLungQuantLib.mrml.segmentation import labels_after_stroke, segmentation_to_node
from CovidLungQuantLib.mrml.surfaces import Surfaces
from CovidLungQuantLib.mrml.volumes import RAS_TO_LPS, ct_to_node


def test_changes_of_shared_labels_are_in_the_scene_at_once(scene):
    quantification = a_quantification()
    volume = ct_to_node(scene, quantification.ct)
    node = segmentation_to_node(scene, quantification, volume)
    share_labels(node, quantification.labels)
    events = []
    node.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    quantification.labels[4, 6, 5] = HIGH_OPACITY.value
    labels_changed(node)
    assert events
    assert np.array_equal(labels_after_stroke(node, volume), quantification.labels)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE])
def test_surfaces_lie_where_the_lesions_lie(scene, direction):
    geometry = Geometry((40, 60, 50), (1.0, 1.5, 2.0), (10.0, -20.0, 300.0), direction)
    labels = np.ones(geometry.shape, np.uint8)
    labels[10:26, 20:44, 10:34] = GGO.value
    surfaces = Surfaces(scene, geometry)
    surfaces.renew_lesions(labels)
    surfaces.renew_lungs(labels)
    ggo, high_opacity = (
        scene.GetFirstNodeByName(f"{label.name} surface").GetPolyData()
        for label in (GGO, HIGH_OPACITY)
    )
    assert high_opacity.GetNumberOfPoints() == 0
    points = np.array([ggo.GetPoint(i) for i in range(ggo.GetNumberOfPoints())])
    to_index = np.linalg.inv(RAS_TO_LPS @ geometry.ijk_to_lps)
    index_xyz = points @ to_index[:3, :3].T + to_index[:3, 3]
    # A block of 2 mm, so no border is off by more than one.
    assert index_xyz.min(axis=0) == pytest.approx([9.5, 19.5, 9.5], abs=2.0)
    assert index_xyz.max(axis=0) == pytest.approx([33.5, 43.5, 25.5], abs=2.0)
    lungs = scene.GetFirstNodeByName("Lungs").GetPolyData()
    assert lungs.GetNumberOfPoints() > 100


def test_lungs_at_the_end_of_the_scan_are_closed(scene):
    ct = a_ct(np.eye(3))
    surfaces = Surfaces(scene, ct.geometry)
    surfaces.renew_lungs(np.ones(ct.hu.shape, np.uint8))
    import vtk

    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(scene.GetFirstNodeByName("Lungs").GetPolyData())
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.NonManifoldEdgesOff()
    edges.Update()
    assert edges.GetOutput().GetNumberOfCells() == 0
