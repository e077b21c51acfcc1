"""JSON of others with odd values at every place: refused in one sentence, or harmless."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentences import is_one_sentence
from small_chest import a_quantification

from CovidLungQuantLib.cohort.follow_up import follow_up
from CovidLungQuantLib.cohort.follow_up_files import change_text, write_follow_up
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import RESULT_FILE
from CovidLungQuantLib.outputs.table import write_result_json
from CovidLungQuantLib.training.checks import check_training
from CovidLungQuantLib.training.config import read_config, training_values
from CovidLungQuantLib.training.dataset import case_names
from CovidLungQuantLib.training.nnunet import nnunet_case
from CovidLungQuantLib.training.recipes import DEFAULT_RECIPE, recipe

ODD_VALUES = ("12", "", None, True, -1, 10**400, [], [1], {}, {"a": "b"})
ODD_TEXTS = ("", "[]", "null", "7", "{", "[" * 100_000, '{"measurements": 1e999}', "\ufeff{}")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where anything stands in JSON content; of a list the first and last."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index in {0, len(value) - 1} if value else ():
            yield from places(value[index], (*path, index))


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Content with another value at a place."""
    content = copy.deepcopy(content)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return content


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("result")
    write_result_json(folder / RESULT_FILE, a_quantification())
    return folder


def test_results_with_odd_values_are_refused_or_compared(result: Path, tmp_path: Path):
    content = json.loads((result / RESULT_FILE).read_text(encoding="utf-8"))
    read = {key: content[key] for key in ("measurements", "provenance", "warnings")}
    refused = compared = 0
    for path in places(read):
        for value in ODD_VALUES:
            (tmp_path / RESULT_FILE).write_text(json.dumps(changed(read, path, value)))
            try:
                found = follow_up([result, tmp_path], anyway=True)
                change_text(found)
            except BadInputError as error:
                assert is_one_sentence(str(error)), (path, value)
                refused += 1
            else:
                compared += 1
    assert refused > 200 and compared > 50


@pytest.mark.parametrize("path", [("measurements", 0, "ggo_ml"), ("measurements", 0, "region")])
def test_text_for_a_number_and_a_number_for_text_are_refused(
    path: tuple[Any, ...], result: Path, tmp_path: Path
):
    content = json.loads((result / RESULT_FILE).read_text(encoding="utf-8"))
    odd = "367.0" if path[-1] == "ggo_ml" else 7
    (tmp_path / RESULT_FILE).write_text(json.dumps(changed(content, path, odd)))
    with pytest.raises(BadInputError, match="holds no result"):
        follow_up([result, tmp_path])


def test_unchanged_results_are_compared_and_unknown_numbers_stay_unknown(
    result: Path, tmp_path: Path
):
    content = json.loads((result / RESULT_FILE).read_text(encoding="utf-8"))
    unknown = changed(content, ("measurements", 0, "ggo_mean_hu"), None)
    (tmp_path / RESULT_FILE).write_text(json.dumps(unknown))
    found = follow_up([result, tmp_path])
    region = content["measurements"][0]["region"]
    assert found.change(region, "volume_ml").from_first == 0
    (tmp_path / "out").mkdir()
    assert write_follow_up(tmp_path / "out", found, with_figures=False)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: text[:12])
def test_files_that_hold_no_result_are_refused(text: str, result: Path, tmp_path: Path):
    (tmp_path / RESULT_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError):
        follow_up([result, tmp_path])


# The configuration of a training


def test_training_configurations_with_odd_values_are_refused(tmp_path: Path):
    content = json.loads(json.dumps(training_values(recipe(DEFAULT_RECIPE))))
    accepted = []
    for path in places(content):
        for value in ODD_VALUES:
            (tmp_path / "config.json").write_text(json.dumps(changed(content, path, value)))
            try:
                check_training(read_config(tmp_path / "config.json"))
            except BadInputError as error:
                assert is_one_sentence(str(error).replace(str(tmp_path), "Folder")), (path, value)
            else:
                accepted.append((path, value))
    harmless: dict[tuple[str, ...], list[Any]] = {
        ("augmentation",): [{}],  # All of it by default.
        ("augmentation", "crop_size"): [None],
        ("augmentation", "flip"): [True],
        ("augmentation", "lesion_fade"): [-1],
        ("augmentation", "scale_range"): [-1],
    }
    for path, value in accepted:
        if path[:2] in harmless:
            assert value in harmless[path[:2]], (path, value)
        else:
            assert path[0] == "network", (path, value)


# nnU-Net's dataset.json


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / "case_1.nii.gz").touch()
    return tmp_path


def describe(dataset: Path, **content: Any) -> None:
    (dataset / "dataset.json").write_text(json.dumps(content))


def test_labels_and_file_ending_as_nnunet_writes_them_are_read(dataset: Path):
    describe(dataset, labels={"background": 0, "lung": "1", "GGO": 2, "consolidation": 3})
    assert case_names(dataset) == ["case_1"]
    assert nnunet_case(dataset, "case_1").values == {0: 0, 1: 1, 2: 2, 3: 3}


@pytest.mark.parametrize(
    "labels",
    [
        # With no labels all label maps are empty, which is odd but not wrong.
        *(value for value in ODD_VALUES if value != {}),
        *({"lung": value} for value in ODD_VALUES if value != "12"),
        {"lung": 256},
        {"lung": 1.5},
        {"lung": [1, 2]},
        {"tumour": 1},
        {"": 1},
        ["background", "lung"],
    ],
    ids=repr,
)
def test_odd_labels_are_refused(labels: Any, dataset: Path):
    describe(dataset, labels=labels)
    with pytest.raises(BadInputError) as refused:
        case_names(dataset)
    assert is_one_sentence(str(refused.value).replace(str(dataset), "Folder"))


@pytest.mark.parametrize("ending", [*ODD_VALUES, "nii.gz", ".png", "/../x", ".nii.gz\0"], ids=repr)
def test_odd_file_endings_are_refused(ending: Any, dataset: Path):
    describe(dataset, labels={"background": 0, "lung": 1}, file_ending=ending)
    with pytest.raises(BadInputError, match="file_ending"):
        case_names(dataset)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: text[:12])
def test_files_that_describe_nothing_are_refused(text: str, dataset: Path):
    (dataset / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError):
        case_names(dataset)
