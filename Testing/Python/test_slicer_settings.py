"""The section "Settings" and the sample data in the stand-in, with the real MRML scene."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QComboBox, QWidget
from slicer_panel import MODULE_FILE, press
from small_model import small_model

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.models.registry import USER_MODELS_VARIABLE
from CovidLungQuantLib.models.registry import model_path as path_of_model
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node
from Testing.slicer_stand_in.sample_data import press_button

FOLDER_SETTING = "CovidLungQuant/ModelsFolder"
DEVICE_SETTING = "CovidLungQuant/Device"
SAMPLE_NAME = "SyntheticChestCT"
SAMPLE_FILE = MODULE_FILE.parent / "Resources/SampleData/chest-with-painted-lesions.nrrd"


@pytest.fixture(autouse=True)
def untouched_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Forget what a test keeps."""
    # Set and deleted, so that monkeypatch brings back what was there.
    monkeypatch.setenv(USER_MODELS_VARIABLE, str(tmp_path / "usual"))
    yield
    for name in (FOLDER_SETTING, DEVICE_SETTING):
        QSettings().remove(name)


@pytest.fixture
def settings(panel: Any) -> Any:
    (found,) = (part for part in panel._sections if type(part).__name__ == "SettingsSection")
    # The panel starts with a model file of the tests.
    panel._parameterNode.model = ""
    return found


def offered(panel: Any) -> list[str]:
    box = panel.ui.modelComboBox
    return [box.itemData(index) for index in range(box.count)]


def test_a_model_file_by_hand_is_chosen_and_offered(
    panel: Any,
    settings: Any,
    tmp_path: Path,
) -> None:
    file = tmp_path / "from-a-colleague.pt"
    save_model(file, small_model(3).network)
    settings.ui.modelFilePathLineEdit.currentPath = str(file)
    assert panel._parameterNode.model == str(file)
    assert panel.ui.modelComboBox.currentText == "from-a-colleague.pt"
    assert QWidget.isHidden(settings.ui.modelFileLabel)
    panel.ui.modelComboBox.setCurrentIndex(0)
    assert panel._parameterNode.model == ""
    assert settings.ui.modelFilePathLineEdit.currentPath == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"not a model", "not a model of this software"), (None, "There is no such file")],
)
def test_what_is_no_model_is_refused_in_one_sentence(
    panel: Any,
    settings: Any,
    tmp_path: Path,
    content: bytes | None,
    says: str,
) -> None:
    file = tmp_path / "other.pt"
    if content is not None:
        file.write_bytes(content)
    settings.ui.modelFilePathLineEdit.currentPath = str(file)
    assert says in settings.ui.modelFileLabel.text
    assert not QWidget.isHidden(settings.ui.modelFileLabel)
    assert panel._parameterNode.model == ""


def test_a_models_folder_is_kept_and_its_models_are_offered(
    panel: Any,
    settings: Any,
    module: Any,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    save_model(folder / "mine-1.pt", small_model().network)
    assert "mine-1" not in offered(panel)
    settings.ui.modelsFolderPathLineEdit.currentPath = str(folder)
    assert "mine-1" in offered(panel)
    assert path_of_model("mine-1") == folder / "mine-1.pt"
    assert QSettings().value(FOLDER_SETTING) == str(folder)
    # At the next start of the application.
    os.environ.pop(USER_MODELS_VARIABLE)
    module.applyModelsFolder()
    assert path_of_model("mine-1") == folder / "mine-1.pt"
    settings.ui.modelsFolderPathLineEdit.currentPath = ""
    assert "mine-1" not in offered(panel)
    assert USER_MODELS_VARIABLE not in os.environ


def test_automatic_is_what_the_settings_say_and_a_choice_wins(
    panel: Any,
    settings: Any,
    module: Any,
    chest: Any,
    model_path: Path,
) -> None:
    from CovidLungQuantPanel.preferences import deviceOfThisComputer

    assert deviceOfThisComputer("auto") == "auto"
    box = settings.ui.automaticDeviceComboBox
    assert QComboBox.itemText(box, 0) == "Best there is"
    box.setCurrentIndex(box.findData("cpu"))
    assert deviceOfThisComputer("auto") == "cpu"
    assert deviceOfThisComputer("cuda") == "cuda"
    panel._parameterNode.model = str(model_path)
    press(panel.ui.segmentButton)
    record = record_from_node(panel._parameterNode.outputTable)
    assert record.provenance["options"]["device"] == "cpu"


@pytest.fixture
def samples() -> Iterator[Any]:
    """The module Sample Data, whose cache is empty before and after."""
    import SampleData

    cache = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    shutil.rmtree(cache, ignore_errors=True)
    yield SampleData
    shutil.rmtree(cache, ignore_errors=True)


def sample_source() -> Any:
    (source,) = slicer.modules.sampleDataSources["COVID-19 Lung Quantification"]
    return source


def test_the_sample_chest_is_downloaded_by_name(panel: Any, samples: Any) -> None:
    node = samples.downloadSample(SAMPLE_NAME)
    assert node.GetName() == "Chest CT with painted lesions"
    assert node.GetStorageNode() is None
    assert np.array_equal(ct_from_node(node).hu, read_ct(SAMPLE_FILE).hu)
    assert panel._parameterNode.inputVolume is node
    (again,) = samples.downloadSamples(SAMPLE_NAME)
    assert again.GetName() != node.GetName()


def test_the_sample_chest_is_downloaded_by_its_button(panel: Any, samples: Any) -> None:
    assert Path(sample_source().thumbnailFileName).is_file()
    (node,) = press_button(sample_source())
    assert panel._parameterNode.inputVolume is node


def test_an_earlier_sample_of_that_name_in_the_cache_is_replaced(
    panel: Any, samples: Any, tmp_path: Path
) -> None:
    cache = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    cache.mkdir()
    (cache / SAMPLE_FILE.name).write_bytes(b"of an earlier version")
    samples.downloadSample(SAMPLE_NAME)
    assert (cache / SAMPLE_FILE.name).read_bytes() == SAMPLE_FILE.read_bytes()


def test_a_downloader_alone_is_called_by_the_button_only(panel: Any, samples: Any) -> None:
    category = "Of this test"
    samples.SampleDataLogic.registerCustomSampleDataSource(
        category, "Drawn", uris=[], fileNames=[], customDownloader=lambda source: "drawn"
    )
    try:
        (source,) = slicer.modules.sampleDataSources[category]
        assert press_button(source) == "drawn"
        with pytest.raises(IndexError):
            samples.downloadSample("Drawn")
    finally:
        del slicer.modules.sampleDataSources[category]
