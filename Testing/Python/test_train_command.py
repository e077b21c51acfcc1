"""`covidlungquant train`: datasets of both layouts, configurations, several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sentences import is_one_sentence
from small_model import SMALL_CONFIG
from test_training import scan_with_lesion, small_training

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks import config_to_values
from CovidLungQuantLib.lesions.networks.convlstm_attention import UNET_BRANCH
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig
from CovidLungQuantLib.training.batches import CaseVariants
from CovidLungQuantLib.training.config import CONFIG_FILE_NAME, TrainingConfig, read_config
from CovidLungQuantLib.training.curves import LOG_FILE_NAME
from CovidLungQuantLib.training.data import HealthyScan, read_case
from CovidLungQuantLib.training.dataset import case_names
from CovidLungQuantLib.training.recipes import RECIPES, recipe
from CovidLungQuantLib.training.run import train_on_dataset
from CovidLungQuantLib.training.trainer import train

ROOT = Path(__file__).resolve().parents[2]


def write_images(ct_file: Path, labels_file: Path, orientation: str = "LPS") -> None:
    scan = scan_with_lesion()
    for file, array in ((ct_file, scan.hu), (labels_file, scan.labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(scan.spacing_mm)
        file.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(file))


def a_dataset(folder: Path, names: tuple[str, ...] = ("one", "two", "three")) -> Path:
    for name in names:
        write_images(folder / name / "ct.nrrd", folder / name / "labels.nrrd")
    return folder


def an_nnunet_dataset(folder: Path, labels: dict[str, int]) -> Path:
    write_images(
        folder / "imagesTr" / "case_1_0000.nii.gz", folder / "labelsTr" / "case_1.nii.gz", "RAS"
    )
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    return folder


def a_config_file(folder: Path, config: TrainingConfig) -> Path:
    file = folder / "my-config.json"
    values = {**asdict(config), "network": config_to_values(config.network)}
    file.write_text(json.dumps(values))
    return file


def test_nnunet_raw_data_is_read_upright_with_our_values(tmp_path):
    names = {"background": 0, "Normal lung": 1, "infection": 2}
    dataset = an_nnunet_dataset(tmp_path, names)
    expected = scan_with_lesion()
    assert case_names(dataset) == ["case_1"]
    scan = read_case(dataset, "case_1")
    assert np.array_equal(scan.hu, expected.hu)
    assert np.array_equal(scan.labels == 4, expected.labels == 2)
    assert np.array_equal(scan.labels == 1, expected.labels == 1)
    assert scan.spacing_mm == pytest.approx(expected.spacing_mm)


@pytest.mark.parametrize(
    ("labels", "says"),
    [({"background": 0, "heart": 1}, "heart"), ({"background": 0, "lung": 1}, "value 2")],
)
def test_labels_that_mean_nothing_here_are_refused(tmp_path, labels, says):
    dataset = an_nnunet_dataset(tmp_path, labels)
    with pytest.raises(BadInputError, match=says):
        read_case(dataset, case_names(dataset)[0])


def test_ct_and_labels_on_different_grids_are_refused(tmp_path):
    dataset = a_dataset(tmp_path, ("one",))
    labels = sitk.ReadImage(str(dataset / "one" / "labels.nrrd"))
    labels.SetOrigin((50.0, 0.0, 0.0))
    sitk.WriteImage(labels, str(dataset / "one" / "labels.nrrd"))
    with pytest.raises(BadInputError, match="same grid"):
        read_case(dataset, "one")


def test_labels_without_any_lung_are_refused(tmp_path):
    dataset = a_dataset(tmp_path, ("one",))
    labels = sitk.ReadImage(str(dataset / "one" / "labels.nrrd"))
    sitk.WriteImage(labels * 0, str(dataset / "one" / "labels.nrrd"))
    with pytest.raises(BadInputError, match="empty"):
        read_case(dataset, "one")


def test_a_saved_configuration_trains_the_same_network(tmp_path, capsys):
    dataset = a_dataset(tmp_path / "data")
    config = replace(small_training(1), network=UNetConfig(working_size=64, base_channels=2))
    config_file = a_config_file(tmp_path, config)
    arguments = ["train", str(dataset), "--config", str(config_file), "--device", "cpu"]
    assert main([*arguments, "-o", str(tmp_path / "first")]) == 0
    model = load_model(str(tmp_path / "first" / "first.pt"))
    assert model.config == config.network
    assert model.sha256 in capsys.readouterr().out
    saved = tmp_path / "first" / CONFIG_FILE_NAME
    assert read_config(saved) == config
    again = ["train", str(dataset), "--config", str(saved), "--device", "cpu"]
    assert main([*again, "-o", str(tmp_path / "again")]) == 0
    assert load_model(str(tmp_path / "again" / "again.pt")).sha256 == model.sha256


def test_from_a_unet_the_epochs_of_the_main_branch_alone_are_left_out(tmp_path):
    dataset = a_dataset(tmp_path / "data", ("one",))
    save_model(tmp_path / "unet.pt", UNet(UNetConfig(working_size=64, base_channels=2)))
    network = replace(SMALL_CONFIG, main_branch=UNET_BRANCH, base_channels=2)
    config = replace(small_training(3), network=network, main_branch_epochs=2)
    command = ["train", str(dataset), "--config", str(a_config_file(tmp_path, config))]
    command += ["--start-from", str(tmp_path / "unet.pt"), "--device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "run")]) == 0
    saved = read_config(tmp_path / "run" / CONFIG_FILE_NAME)
    assert saved == replace(config, epochs=1, main_branch_epochs=0)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_survives_its_file(tmp_path, name):
    assert read_config(a_config_file(tmp_path, recipe(name))) == recipe(name)


def test_the_varied_attention_network_goes_on_from_the_varied_unet():
    unet, attention = recipe("unet-varied"), recipe("attention-varied")
    assert attention.main_branch_epochs == unet.epochs
    for name in ("augmentation", "painted_variants", "dense_share", "motion_share"):
        assert getattr(attention, name) == getattr(unet, name) != getattr(recipe("unet"), name)


def test_a_recipe_that_does_not_exist_is_refused():
    with pytest.raises(BadInputError, match="paper, short"):
        recipe("long")


def test_help_names_the_recipes_without_loading_pytorch():
    code = """
import sys
from CovidLungQuantLib.cli import main
try:
    main(["train", "--help"])
except SystemExit:
    pass
assert "torch" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment["PYTHONIOENCODING"] = "utf-8"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert all(
        f"{name}: {RECIPES[name].about}" in " ".join(done.stdout.split()) for name in RECIPES
    )


def test_a_script_trains_without_the_command_line(tmp_path):
    dataset = a_dataset(tmp_path / "data")
    config = replace(small_training(1), network=SMALL_CONFIG)
    saved = train_on_dataset(dataset, tmp_path / "run", config, device="cpu", leave_out=["two"])
    assert saved == (tmp_path / "run" / "run.pt", load_model(str(saved.file)).sha256)
    run = json.loads((tmp_path / "run" / CONFIG_FILE_NAME).read_text(encoding="utf-8"))
    assert run["scans"]["cases"] == ["one", "three"]
    with pytest.raises(BadInputError, match="No case is left"):
        train_on_dataset(dataset, tmp_path / "none", config, leave_out=["one", "two", "three"])


def test_a_fold_that_does_not_exist_and_a_broken_configuration_are_refused(tmp_path, capsys):
    dataset = a_dataset(tmp_path / "data")
    run = ["train", str(dataset), "-o", str(tmp_path / "run")]
    assert main([*run, "--fold", "3"]) == 2
    assert "no fold 3" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text('{"epochs": 3}')
    assert main([*run, "--config", str(tmp_path / "broken.json")]) == 2
    assert "training configuration" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_healthy_scans_teach_with_painted_lesions():
    scan = scan_with_lesion(slices=24)
    lungs = (scan.labels > 0).astype(np.uint8)
    hu = np.where(lungs, np.int16(-860), scan.hu)
    healthy = HealthyScan("healthy", hu, lungs, lungs > 1, scan.spacing_mm)
    cases = CaseVariants([scan], SMALL_CONFIG, [healthy], painted_variants=2)
    assert [len(variants) for variants in cases.variants] == [1, 3]
    plain, *painted = cases.variants[1]
    assert len(plain.lesion_slices) == 0
    assert all(len(variant.lesion_slices) for variant in painted)
    assert not np.array_equal(painted[0].targets, painted[1].targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adam"}, "“adam” is no optimizer .* use sgd or adamw"),
        ({"schedule": "cosine"}, "“cosine” is no schedule .* use plateau or one_cycle"),
        ({"epochs": -3}, "-3 for epochs; give a whole number of at least 1"),
        ({"epochs": "ten"}, "ten for epochs"),
        ({"steps_per_epoch": 2.5}, "2.5 for steps_per_epoch"),
        ({"learning_rate": 0.0}, "0.0 for learning_rate; give a number above 0"),
        ({"learning_rate": float("nan")}, "nan for learning_rate"),
        ({"weight_decay": -1e-3}, "weight_decay; give a number of at least 0"),
        ({"lesion_share": 1.5}, "1.5 for lesion_share; give a number from 0 to 1"),
    ],
)
def test_a_configuration_that_nobody_can_train_with_is_refused(tmp_path, capsys, change, message):
    config = replace(small_training(1), **change)
    with pytest.raises(BadInputError, match=message) as refused:
        train([scan_with_lesion()], config, tmp_path / "run")
    assert is_one_sentence(str(refused.value))
    run = ["train", str(tmp_path), "--config", str(a_config_file(tmp_path, config))]
    assert main([*run, "-o", str(tmp_path / "run")]) == 2
    assert str(refused.value) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_epochs_given_beside_a_recipe_are_checked_like_its_own(tmp_path, capsys):
    run = ["train", str(tmp_path), "-o", str(tmp_path / "run"), "--epochs", "0"]
    assert main(run) == 2
    assert "0 for epochs" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    dataset = a_dataset(tmp_path / "data", ("one",))
    config = replace(small_training(3), main_branch_epochs=1, network=SMALL_CONFIG)
    config_file = a_config_file(tmp_path, config)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", "-m", "CovidLungQuantLib.cli", "train", str(dataset)]
    command += ["--config", str(config_file), "--device", "cpu", "-o", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (tmp_path / "run" / LOG_FILE_NAME).open()]
    assert [record["epoch"] for record in log] == [0, 1, 2]
    load_model(str(tmp_path / "run" / "run.pt"))
    # Two processes see other slices than one alone, so the weights differ; the start does not.
    alone = train([read_case(dataset, "one")], config, tmp_path / "alone")
    together = load_model(str(tmp_path / "run" / "run.pt")).network
    assert any(
        not value.equal(together.state_dict()[name]) for name, value in alone.state_dict().items()
    )


def test_a_fold_leaves_out_all_scans_of_a_patient_that_the_manifest_names(tmp_path, monkeypatch):
    dataset = a_dataset(tmp_path / "data")
    manifest = "case,patient_group\none,one\nthree,three\ntwo,one\n"
    (dataset / "manifest.csv").write_text(manifest, encoding="utf-8")
    trained_on = []

    def train_nothing(cases, *arguments):
        trained_on.append([case.name for case in cases])
        raise BadInputError("Enough is known.")

    monkeypatch.setattr("CovidLungQuantLib.training.run.train", train_nothing)
    for fold in (0, 1):
        config_file = str(a_config_file(tmp_path, small_training(1)))
        run = ["train", str(dataset), "-o", str(tmp_path / "run"), "--config", config_file]
        assert main([*run, "--folds", "2", "--fold", str(fold)]) == 2
    assert trained_on == [["three"], ["one", "two"]]
