"""The lesion probability in Slicer's real scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_chest import a_quantification

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from CovidLungQuantLib.mrml.nodes import is_made_from_a_scan, result_of, results_of  # noqa: E402
from CovidLungQuantLib.mrml.probability import probability_of, probability_to_node  # noqa: E402
from CovidLungQuantLib.mrml.scene_file import headless_scene, write_scene  # noqa: E402
from CovidLungQuantLib.mrml.scene_result import SceneResult, write_result  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_to_node, fill_image, geometry_of  # noqa: E402
from CovidLungQuantLib.quantification import Quantification  # noqa: E402


def kept() -> Quantification:
    quantification = a_quantification()
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, quantification.labels.shape).astype(np.uint8)
    return replace(quantification, lesion_probability=codes)


def test_it_comes_back_hidden_and_belongs_to_its_result(scene):
    quantification = kept()
    volume_node = ct_to_node(scene, quantification.ct)
    result = write_result(SceneResult(scene, volume_node), quantification)
    codes = probability_of(scene, volume_node, result.segmentation)
    np.testing.assert_array_equal(codes, quantification.lesion_probability)
    node = scene.GetFirstNodeByName(f"{volume_node.GetName()} lesion probability")
    assert node.GetHideFromEditors()
    assert is_made_from_a_scan(node)
    assert result_of(node) is result.segmentation
    np.testing.assert_array_equal(
        geometry_of(node).ijk_to_lps, quantification.ct.geometry.ijk_to_lps
    )


def test_a_run_without_it_takes_that_of_an_earlier_run_away(scene):
    quantification = kept()
    volume_node = ct_to_node(scene, quantification.ct)
    result = write_result(SceneResult(scene, volume_node), quantification)
    newer = kept().lesion_probability[::-1].copy()
    write_result(result, replace(quantification, lesion_probability=newer))
    np.testing.assert_array_equal(probability_of(scene, volume_node, result.segmentation), newer)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2
    write_result(result, a_quantification())
    assert probability_of(scene, volume_node, result.segmentation) is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_one_that_does_not_fit_the_volume_is_not_used(scene):
    quantification = kept()
    volume_node = ct_to_node(scene, quantification.ct)
    node = probability_to_node(scene, quantification, volume_node)
    fill_image(node.GetImageData(), np.zeros((2, 2, 2), np.uint8))
    assert probability_of(scene, volume_node) is None


def test_it_is_saved_and_loaded_with_the_scene(tmp_path: Path):
    quantification = kept()
    write_scene(tmp_path / "scene.mrb", quantification)
    with headless_scene() as (scene, _logics):
        assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
        volume_node = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        segmentation_node, _table_node = results_of(scene, volume_node)
        codes = probability_of(scene, volume_node, segmentation_node)
        np.testing.assert_array_equal(codes, quantification.lesion_probability)
        node = scene.GetFirstNodeByName(f"{volume_node.GetName()} lesion probability")
        assert node.GetHideFromEditors()
