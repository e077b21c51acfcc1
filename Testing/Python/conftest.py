"""Fixtures that several test files need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from small_model import small_model

from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.lesions.inference import available_devices
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.phantom import chest_phantom

if TYPE_CHECKING:
    from Testing.slicer_stand_in.application import StandIn

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TEST_DATA_VARIABLE = "COVIDLUNGQUANT_TEST_DATA"


# Without these there is neither a scene nor a panel to test.
SLICER_PACKAGES = ("slicer", "PySide6")
MISSING_PACKAGES = [name for name in SLICER_PACKAGES if find_spec(name) is None]
collect_ignore_glob = ["test_mrml_*.py", "test_slicer_*.py"] if MISSING_PACKAGES else []

# What a test needs is known by its fixtures, those that its fixtures need included.
MARKER_OF_FIXTURE = {"test_data": "real_data", "gpu": "gpu"}


def pytest_report_header() -> list[str]:
    """Say which tests are left out."""
    return [f"no tests of scene and panel: {name} is not installed" for name in MISSING_PACKAGES]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures, before `-m` chooses among them."""
    for item in items:
        for fixture, marker in MARKER_OF_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of real scans, or skip."""
    folder = Path(os.environ.get(TEST_DATA_VARIABLE, PROJECT_ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real scans here: set {TEST_DATA_VARIABLE} to their folder")
    return folder


@pytest.fixture(scope="session")
def gpu() -> str:
    """Return the name of this computer's GPU device, or skip."""
    others = [device for device in available_devices() if device != "cpu"]
    if not others:
        pytest.skip("no GPU here")
    return others[0]


@pytest.fixture(scope="session")
def coarse_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the phantom's chest on a coarse grid, quick to segment."""
    ct = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5)).ct
    file = tmp_path_factory.mktemp("phantom") / "someone.nrrd"
    write_image(file, ct.hu, ct.geometry)
    return file


@pytest.fixture
def scene() -> Iterator[Any]:
    """Return an empty MRML scene, the real one of Slicer."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    from Testing.slicer_stand_in.mrml_scene import make_scene

    # A stand-in that another test file has started goes on with the logics of its own scene.
    before = dict(vars(slicer.modules)) if hasattr(slicer, "modules") else {}
    yield make_scene()
    vars(slicer.modules).update(before)


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    """The application that stands in for Slicer."""
    from Testing.slicer_stand_in import application

    return application.start()


@pytest.fixture(scope="module")
def module(stand_in: StandIn) -> ModuleType:
    """The Slicer module, loaded from its file."""
    from slicer_panel import MODULE_FILE

    return stand_in.load_module(MODULE_FILE)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of a small random network."""
    path = tmp_path_factory.mktemp("model") / "small.pt"
    save_model(path, small_model().network)
    return str(path)


@pytest.fixture
def panel(stand_in: StandIn, module: ModuleType, model_path: str) -> Iterator[Any]:
    """The panel, all sections open, above an empty scene, with the small network selected."""
    import slicer
    from slicer_panel import MODULE_NAME, open_sections, use_small_model

    slicer.mrmlScene = stand_in.scene
    slicer.mrmlScene.Clear(0)
    stand_in.messages.clear()
    stand_in.plugins.errors.clear()
    stand_in.confirm_answer = True
    widget = stand_in.open_panel(MODULE_NAME)
    use_small_model(widget, model_path)
    open_sections(widget)
    yield widget
    stand_in.close_panel(MODULE_NAME)
    slicer.mrmlScene.Clear(0)
    # Slicer would show a red cross.
    assert stand_in.plugins.errors == []


@pytest.fixture
def chest(panel: Any, module: ModuleType) -> Any:
    """A volume in the scene, selected in the panel because it is the first."""
    return module.makeSyntheticChest()
