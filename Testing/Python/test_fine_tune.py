"""Fine-tuning in a process of its own: from a training set to a new model and its comparison."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_model import SMALL_CONFIG, small_model

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.ct import CTVolume
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks.unet import UNetConfig
from CovidLungQuantLib.models.registry import (
    DEFAULT_MODEL_NAME,
    MODELS_FOLDER,
    USER_MODELS_VARIABLE,
    available_models,
    model_path,
)
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.training import fine_tune
from CovidLungQuantLib.training.config import TrainingConfig
from CovidLungQuantLib.training.export import export_training_case
from CovidLungQuantLib.training.fine_tune import (
    fine_tuning_config,
    run_fine_tuning,
    start_fine_tuning,
)
from CovidLungQuantLib.training.fine_tuning_runs import (
    CANCELLED,
    DONE,
    FAILED,
    STARTING,
    TRAINING,
    FineTuning,
    FineTuningStatus,
    fine_tunings,
)
from CovidLungQuantLib.training.model_comparison import compare_models

LONGEST_WAIT_S = 600.0
ROOT = Path(fine_tune.__file__).parents[2]


def two_steps(epochs: int = 2) -> TrainingConfig:
    return replace(
        fine_tuning_config(SMALL_CONFIG),
        epochs=epochs,
        steps_per_epoch=1,
        samples_per_batch=1,
        targets_per_sample=2,
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases, exported as the panel does it."""
    folder = tmp_path_factory.mktemp("dataset")
    case = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5))
    for shift in (0, 1):
        ct = CTVolume(case.ct.hu + np.int16(shift), case.ct.geometry)
        export_training_case(folder, ct, case.labels)
    return folder


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, with one in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv(USER_MODELS_VARIABLE, str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    save_model(folder / "small.pt", small_model().network)
    return folder


def wait_for_end(run: FineTuning) -> FineTuningStatus:
    end_s = time.monotonic() + LONGEST_WAIT_S
    while not (status := run.status()).is_over:
        assert time.monotonic() < end_s, (run.run_folder / "messages.txt").read_text(
            encoding="utf-8"
        )
        time.sleep(0.1)
    return status


def test_two_steps_end_in_a_new_model_with_its_comparison(dataset: Path, models: Path):
    before = (models / "small.pt").read_bytes()

    run = start_fine_tuning(dataset, "small", device="cpu", config=two_steps())
    assert run.status().state in (STARTING, TRAINING)
    status = wait_for_end(FineTuning(run.run_folder))

    assert status.state == DONE, (run.run_folder / "messages.txt").read_text(encoding="utf-8")
    assert status.fraction == 1.0 and len(status.losses) == 2
    assert available_models()[-2:] == ["small", "small-fine-tuned-1"]
    new, old = load_model("small-fine-tuned-1"), load_model("small")
    assert (models / "small.pt").read_bytes() == before
    weights, old_weights = new.network.state_dict(), old.network.state_dict()
    assert any(not weights[key].equal(old_weights[key]) for key in weights)

    comparison = json.loads(status.comparison_file.read_text(encoding="utf-8"))
    assert comparison["old_model"] == {"name": "small", "sha256": old.sha256}
    assert comparison["new_model"] == {"name": new.name, "sha256": new.sha256}
    assert comparison["held_back"] == ["case_0001"] and comparison["trained_on"] == ["case_0002"]
    assert comparison["left_out"] == {}
    (case,) = comparison["cases"]
    expected = compare_models(dataset, ["case_0001"], old, new)
    for which in ("old", "new"):
        agreement = expected.rows[0][which]
        assert case[which]["lesion_dice"] == agreement.lesion_dice
        assert case[which]["lung_dice"] == agreement.lung_dice > 0.5
        assert comparison["mean"]["lung_dice"][which] == agreement.lung_dice
    with (models / "small-fine-tuned-1.comparison.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["case"]) for row in rows] == [
        ("old", "case_0001"),
        ("new", "case_0001"),
    ]
    assert fine_tunings() == [run]
    with pytest.raises(BadInputError, match="already"):
        start_fine_tuning(dataset, "small", "small-fine-tuned-1")


def test_a_cancelled_run_leaves_no_model(dataset: Path, models: Path):
    run = start_fine_tuning(dataset, "small", "mine", device="cpu", config=two_steps(10_000))
    end_s = time.monotonic() + LONGEST_WAIT_S
    while not run.status().losses and time.monotonic() < end_s:
        time.sleep(0.1)
    assert 0 < run.status().fraction < 0.8 and "of 10000 epochs" in run.status().message

    run.cancel()

    assert wait_for_end(run).state == CANCELLED
    assert sorted(file.name for file in models.glob("*.pt")) == ["small.pt"]


def test_a_failure_is_said_in_one_sentence(
    dataset: Path, models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fine_tune, "_start_process", lambda python, run_folder: None)
    run = start_fine_tuning(dataset, "small", device="cpu", config=two_steps())
    (models / "small.pt").write_bytes(b"damaged")

    with pytest.raises(BadInputError):
        run_fine_tuning(run.run_folder)

    status = run.status()
    assert status.state == FAILED and "damaged or was changed" in status.message


def test_a_process_that_died_is_noticed(
    dataset: Path, models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fine_tune, "_start_process", lambda python, run_folder: None)
    run = start_fine_tuning(dataset, "small", config=two_steps())
    assert run.status().state == STARTING
    long_ago_s = time.time() - 1000.0
    os.utime(run.run_folder / "plan.json", (long_ago_s, long_ago_s))
    assert run.status().state == FAILED and "start it again" in run.status().message


def test_the_recipe_keeps_the_network_and_learns_slowly():
    for network in (SMALL_CONFIG, UNetConfig()):
        config = fine_tuning_config(network)
        assert config.network == network
        assert config.main_branch_epochs == 0
        assert config.learning_rate < 1e-3 and config.epochs < 10
        assert config.augmentation.crop_size is None


def test_what_cannot_be_fine_tuned_is_refused_at_once(dataset: Path, models: Path, tmp_path: Path):
    case = chest_phantom((20, 40, 48), (8.0, 8.0, 15.0))
    export_training_case(tmp_path / "one", case.ct, case.labels)
    for arguments, says in (
        ((tmp_path / "one", "small"), "one patient only"),
        ((tmp_path / "nothing", "small"), "No case"),
        ((dataset, "unknown"), "no model “unknown”"),
        ((dataset, "small", "a/b"), "cannot be the name"),
        ((dataset, "small", "small"), "already"),
    ):
        with pytest.raises(BadInputError, match=says):
            start_fine_tuning(*arguments)
    for options, says in (
        ({"same_patient": [["case_0001", "case_0002"]]}, "one patient only"),
        ({"held_back": ["case_0009"]}, "no case case_0009"),
        ({"held_back": ["case_0001", "case_0002"]}, "Every patient"),
        ({"epochs": 0}, "no training"),
    ):
        with pytest.raises(BadInputError, match=says):
            start_fine_tuning(dataset, "small", **options)
    assert not (models / "fine-tuning").exists()


def test_the_users_models_come_after_the_shipped_ones(models: Path):
    assert available_models()[0] == DEFAULT_MODEL_NAME and "small" in available_models()
    assert model_path("small") == models / "small.pt"
    # A file of the same name never takes the place of a shipped model.
    save_model(models / f"{DEFAULT_MODEL_NAME}.pt", small_model(1).network)
    assert model_path(DEFAULT_MODEL_NAME).parent == MODELS_FOLDER
    assert available_models().count(DEFAULT_MODEL_NAME) == 1


def test_all_scans_of_a_patient_are_held_back_with_the_one_named(
    dataset: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fine_tune, "_start_process", lambda python, run_folder: None)
    folder = tmp_path / "four"
    case = chest_phantom((20, 40, 48), (8.0, 8.0, 15.0))
    for shift in range(4):
        ct = CTVolume(case.ct.hu + np.int16(shift), case.ct.geometry)
        export_training_case(folder, ct, case.labels)
    run = start_fine_tuning(
        folder, "small", same_patient=[["case_0002", "case_0004"]], held_back=["case_0004"]
    )
    assert run.plan.held_back == ["case_0002", "case_0004"]
    assert run.plan.trained_on == ["case_0001", "case_0003"]


def test_scans_added_as_of_one_patient_are_never_parted(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fine_tune, "_start_process", lambda python, run_folder: None)
    folder = tmp_path / "three"
    case = chest_phantom((20, 40, 48), (8.0, 8.0, 15.0))
    for shift, fellow in enumerate((None, None, "case_0001")):
        ct = CTVolume(case.ct.hu + np.int16(shift), case.ct.geometry)
        export_training_case(folder, ct, case.labels, same_patient_as=fellow)
    run = start_fine_tuning(folder, "small", held_back=["case_0001"])
    assert run.plan.held_back == ["case_0001", "case_0003"]
    # The process that trains is told, too.
    assert run.plan.same_patient == [["case_0001", "case_0003"]]
    with pytest.raises(BadInputError, match="one patient only"):
        start_fine_tuning(folder, "small", name="x", same_patient=[["case_0002", "case_0003"]])


def test_a_name_is_free_again_after_a_failure(
    dataset: Path, models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fine_tune, "_start_process", lambda python, run_folder: None)
    run = start_fine_tuning(dataset, "small", "mine", epochs=3)
    with pytest.raises(BadInputError, match="already"):
        start_fine_tuning(dataset, "small", "mine")
    state = {"state": FAILED, "message": "The memory ran out.", "exit_code": 3}
    (run.run_folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert run.status().exit_code == 3
    assert start_fine_tuning(dataset, "small", "mine", epochs=4).plan.epochs == 4
    assert run.status().state == STARTING


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's recipe, cut down to one step an epoch."""
    monkeypatch.setattr(fine_tune, "fine_tuning_config", lambda network: two_steps())


def test_the_command_ends_with_the_comparison_and_the_models_place(
    dataset: Path, models: Path, quick: None, capsys: pytest.CaptureFixture[str]
):
    arguments = ["fine-tune", str(dataset), "--model", "small", "--name", "mine", "--epochs", "1"]
    code = main([*arguments, "--device", "cpu", "--hold-back", "case_0002"])

    out, err = capsys.readouterr()
    assert code == 0, err
    comparison = json.loads((models / "mine.comparison.json").read_text(encoding="utf-8"))
    assert comparison["held_back"] == ["case_0002"] and comparison["trained_on"] == ["case_0001"]
    lines = [line.split() for line in out.splitlines()]
    heading = "Dice, old and new model"
    (first,) = (number for number, line in enumerate(out.splitlines()) if heading in line)
    figures = ("lesion_dice", "ggo_dice", "high_opacity_dice", "lung_dice")
    (case,) = comparison["cases"]
    expected = [f"{case[which][name]:.3f}" for name in figures for which in ("old", "new")]
    assert lines[first + 1] == ["case_0002", *expected]
    assert lines[first + 2] == ["mean", *expected]
    assert str(models / "mine.pt") in out and "may have, if it was trained on them" in out
    assert "Training, 0 of 1 epochs" in err

    assert main(["fine-tune", "--status"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:3] == ["mine", "100", "%"]


def test_in_the_background_it_is_asked_for_and_stopped_by_name(
    dataset: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(fine_tune, "fine_tuning_config", lambda network: two_steps(10_000))
    arguments = ["fine-tune", str(dataset), "--model", "small", "--name", "mine", "--background"]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert "--cancel mine" in capsys.readouterr().out
    assert main(["fine-tune", "--cancel", "other"]) == 2
    assert "No fine-tuning called other" in capsys.readouterr().err

    assert main(["fine-tune", "--cancel", "mine"]) == 0

    assert "was cancelled; no model was made" in capsys.readouterr().out
    assert main(["fine-tune", "--status"]) == 0
    assert "cancelled" in capsys.readouterr().out
    assert sorted(file.name for file in models.glob("*.pt")) == ["small.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal as a terminal does")
def test_an_interrupted_command_leaves_nothing(dataset: Path, models: Path):
    command = [sys.executable, "-m", "CovidLungQuantLib.cli", "fine-tune", str(dataset)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--model", "small", "--name", "mine", "--epochs", "10000"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    while "Training" not in (line := process.stderr.readline()):
        assert line, process.communicate()
    before = sorted(file.name for file in models.iterdir() if file.is_file())
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=LONGEST_WAIT_S)
    assert process.returncode == 130 and "was cancelled; no model was made" in error
    assert list((models / "fine-tuning").iterdir()) == []
    assert sorted(file.name for file in models.iterdir() if file.is_file()) == before


def test_a_failed_command_says_why_and_ends_with_its_code(
    dataset: Path, models: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys
):
    real = fine_tune._start_process

    def start_without_cases(python: str, run_folder: Path) -> None:
        plan = json.loads((run_folder / "plan.json").read_text(encoding="utf-8"))
        plan["dataset"] = str(models)
        (run_folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        real(python, run_folder)

    monkeypatch.setattr(fine_tune, "_start_process", start_without_cases)
    assert main(["fine-tune", str(dataset), "--model", "small", "--name", "mine"]) == 2
    error = capsys.readouterr().err
    assert f"covidlungquant: No case with ct.nrrd and labels.nrrd was found in {models}" in error
    assert sorted(file.name for file in models.glob("mine*")) == []


@pytest.mark.parametrize(
    "arguments", [[], ["somewhere", "--status"], ["--status", "--cancel", "a"]]
)
def test_a_command_without_one_clear_wish_is_refused(arguments: list[str], capsys):
    assert main(["fine-tune", *arguments]) == 2
    assert "training set, or --status, or --cancel" in capsys.readouterr().err
