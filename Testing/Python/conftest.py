"""Fixtures that several test files need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TEST_DATA_VARIABLE = "COVIDLUNGQUANT_TEST_DATA"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of real scans, or skip."""
    folder = Path(os.environ.get(TEST_DATA_VARIABLE, PROJECT_ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real scans here: set {TEST_DATA_VARIABLE} to their folder")
    return folder


@pytest.fixture
def scene() -> Iterator[Any]:
    """Return an empty MRML scene, the real one of Slicer."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    from Testing.slicer_stand_in.mrml_scene import make_scene

    # A stand-in that another test file has started goes on with the logics of its own scene.
    before = dict(vars(slicer.modules)) if hasattr(slicer, "modules") else {}
    yield make_scene()
    vars(slicer.modules).update(before)
