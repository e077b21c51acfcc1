"""The radiologist's loop, headless: segment, paint, recount, undo, export, fine-tune, new model.

On a real scan; on a synthetic one the same code runs as the module's self-test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import TestCase

import numpy as np
import pytest
import slicer

from CovidLungQuantLib.ct import CTVolume, Geometry, read_ct
from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE
from CovidLungQuantLib.mrml.volumes import ct_to_node

REAL_SCAN = "labelled/covid03"
SLICE_SPACING_MM = 10.0


@pytest.fixture
def logic(
    stand_in: Any,
    module: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv(USER_MODELS_VARIABLE, raising=False)
    slicer.mrmlScene = stand_in.scene
    slicer.mrmlScene.Clear(0)
    yield module.CovidLungQuantLogic()
    slicer.mrmlScene.Clear(0)


def thinned(ct: CTVolume) -> CTVolume:
    """Slices 10 mm apart over the whole height, every third voxel of each: a coarse scanner's."""
    x, y, z = ct.geometry.spacing_mm
    step = max(round(SLICE_SPACING_MM / z), 1)
    hu = np.ascontiguousarray(ct.hu[::step, ::3, ::3])
    geometry = Geometry(
        hu.shape, (3 * x, 3 * y, step * z), ct.geometry.origin_mm, ct.geometry.direction
    )
    return CTVolume(hu, geometry, "thinned")


@pytest.mark.slow
def test_the_loop_on_a_real_scan(
    logic: Any,
    model_path: str,
    test_data: Path,
    tmp_path: Path,
) -> None:
    from CovidLungQuantPanel.self_test import checkLoop

    folder = test_data / REAL_SCAN
    scan = next(path for path in sorted(folder.iterdir()) if "ct" in path.name.lower())
    volume_node = ct_to_node(slicer.mrmlScene, thinned(read_ct(scan)))
    checkLoop(TestCase(), logic, volume_node, tmp_path, model_path)
    assert USER_MODELS_VARIABLE not in os.environ
