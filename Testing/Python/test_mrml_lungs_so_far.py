"""The lungs that are shown while a run goes on: where they lie, and no trace after."""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.mrml.lungs_so_far import (
    LUNGS_SO_FAR,
    lungs_so_far,
    remove_lungs_so_far,
    show_lungs_so_far,
)
from CovidLungQuantLib.mrml.nodes import results_of
from CovidLungQuantLib.mrml.segments import segment_mask
from CovidLungQuantLib.mrml.volumes import ct_to_node
from CovidLungQuantLib.phantom import chest_phantom


def node_ids(scene: Any) -> list[str]:
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def test_both_lungs_are_shown_as_one_and_go_without_a_trace(scene: Any) -> None:
    ct = chest_phantom((20, 24, 28), (8.0, 9.0, 10.0)).ct
    volume = ct_to_node(scene, ct)
    show_lungs_so_far(scene, volume, np.ones(ct.hu.shape, np.uint8))
    remove_lungs_so_far(scene)
    # What the scene makes once for all segmentations stays, such as their terminology.
    before = node_ids(scene)
    assert lungs_so_far(scene) is None

    lungs = np.zeros(ct.hu.shape, np.uint8)
    lungs[3:9, 4:12, 2:10] = RIGHT_LUNG_VALUE
    lungs[3:9, 4:12, 15:20] = LEFT_LUNG_VALUE
    show_lungs_so_far(scene, volume, np.ones_like(lungs))
    node = show_lungs_so_far(scene, volume, lungs)
    assert node is lungs_so_far(scene)
    np.testing.assert_array_equal(
        segment_mask(node, LUNGS_SO_FAR.segment_id, volume, []), lungs > 0
    )
    assert node.GetHideFromEditors() and not node.GetSaveWithScene()
    assert not node.GetDisplayNode().GetSaveWithScene()
    assert not any(results_of(scene, volume))
    remove_lungs_so_far(scene)
    remove_lungs_so_far(scene)
    assert node_ids(scene) == before
