"""Learning from scans without labels, as other networks see them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import SMALL_CONFIG, small_model
from test_train_command import a_config_file, a_dataset
from test_training import small_training

from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.cli import main
from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.files.names import CASE_CT_FILE
from CovidLungQuantLib.lesions.deciding import decide_labels
from CovidLungQuantLib.lesions.inference import lesion_probabilities, segment_lesions
from CovidLungQuantLib.lesions.joining import joined_with_lungs
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.training.config import CONFIG_FILE_NAME
from CovidLungQuantLib.training.data import TARGET_CHANNELS, training_case
from CovidLungQuantLib.training.self_training import agreed_with, read_taught_scan


def labels_of(probabilities: np.ndarray) -> np.ndarray:
    planes = torch.from_numpy(probabilities).float()
    return np.stack([decide_labels(plane).numpy() for plane in planes])


def test_probabilities_give_way_to_the_finished_labels_on_what_is_lung():
    # One slice, five voxels; background, normal lung, GGO, high opacity.
    given = [
        [0.5, 0.5, 0, 0],
        [0.5, 0.25, 0.25, 0],
        [0.25, 0.25, 0.5, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 0],
    ]
    probabilities = np.array(given, np.float16).T[None, :, None, :]
    labels = np.array([[[1, 0, 2, 3, 3]]], np.uint8)
    agreed = agreed_with(probabilities, labels)[0, :, 0].T
    expected = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0.25, 0.75, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert agreed.tolist() == expected
    assert probabilities[0, :, 0].T.tolist() == given


def test_the_probabilities_are_those_that_segmenting_decides_by(coarse_phantom):
    scan, _ = lps_oriented(read_ct(coarse_phantom))
    spacing_mm = scan.geometry.spacing_mm
    anatomy = segment_lungs(scan.hu, spacing_mm)
    probabilities = lesion_probabilities(scan.hu, spacing_mm, anatomy, small_model(), "cpu")
    assert probabilities.shape == (len(scan.hu), 4, *scan.hu.shape[1:])
    assert np.abs(probabilities.sum(axis=1, dtype=np.float32) - 1).max() < 0.005
    found = joined_with_lungs(labels_of(probabilities), scan.hu, anatomy, spacing_mm)
    segmented = segment_lesions(scan.hu, spacing_mm, anatomy, small_model(), "cpu").labels
    # Rounding to half precision may flip a tie.
    assert np.count_nonzero(found != segmented) <= 0.001 * np.count_nonzero(segmented)


def test_a_taught_scan_is_the_mean_of_its_teachers(coarse_phantom):
    models = [small_model(0), small_model(1)]
    alone = [read_taught_scan(coarse_phantom, [model], "cpu") for model in models]
    together = read_taught_scan(coarse_phantom, models, "cpu")
    assert together.name == "someone"
    shares = together.probabilities.astype(np.float32)
    assert np.abs(shares.sum(axis=1) - 1).max() < 0.005
    assert np.array_equal(shares[:, 0] > 0.5, together.labels == 0)
    agreeing = (alone[0].labels == alone[1].labels) & (alone[0].labels == together.labels)
    agreeing &= together.labels > 0
    mean = np.mean([scan.probabilities.astype(np.float32) for scan in alone], axis=0)
    assert agreeing.any()
    assert np.abs(mean - shares).transpose(0, 2, 3, 1)[agreeing].max() < 0.005


def test_its_shares_are_the_targets(coarse_phantom):
    scan = read_taught_scan(coarse_phantom, [small_model()], "cpu")
    case = training_case(scan, SMALL_CONFIG)
    assert case.targets.shape == (len(scan.hu), TARGET_CHANNELS, 64, 64)
    sums = case.targets.astype(np.float32).sum(axis=1)
    assert np.abs(sums - 1).max() < 0.01
    assert not case.targets[:, TARGET_CHANNELS - 1].any()
    lesion = scan.probabilities[:, 2:].astype(np.float32).sum(axis=(1, 2, 3))
    assert (
        np.corrcoef(lesion, case.targets[:, 2:].astype(np.float32).sum(axis=(1, 2, 3)))[0, 1] > 0.99
    )


def test_the_command_learns_from_scans_without_labels(tmp_path, coarse_phantom, capsys):
    dataset = a_dataset(tmp_path / "data", ("one",))
    save_model(tmp_path / "teacher.pt", small_model().network)
    config = a_config_file(tmp_path, replace(small_training(1), network=SMALL_CONFIG))
    command = ["train", str(dataset), "--config", str(config), "--device", "cpu"]
    taught = ["--unlabelled", str(coarse_phantom), "--teacher", str(tmp_path / "teacher.pt")]
    assert main([*command, "-o", str(tmp_path / "plain")]) == 0
    other = tmp_path / "someone else" / CASE_CT_FILE
    other.parent.mkdir()
    shutil.copy(coarse_phantom, other)
    taught += ["--unlabelled", str(other)]
    assert main([*command, *taught, "-o", str(tmp_path / "taught")]) == 0
    plain, wiser = (load_model(str(tmp_path / run / f"{run}.pt")) for run in ("plain", "taught"))
    assert plain.sha256 != wiser.sha256
    values = json.loads((tmp_path / "taught" / CONFIG_FILE_NAME).read_text(encoding="utf-8"))
    names = {"cases": ["one"], "validation": [], "healthy": []}
    assert values["scans"] == {**names, "unlabelled": ["someone", "someone else"]}
    capsys.readouterr()
    # The same folder without the scan would be another training.
    assert main([*command, "-o", str(tmp_path / "taught")]) == 2
    assert "other options or scans" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--unlabelled", "--teacher"])
def test_neither_scans_nor_teachers_go_alone(tmp_path, capsys, option):
    dataset = a_dataset(tmp_path / "data", ("one",))
    run = tmp_path / "run"
    assert main(["train", str(dataset), "-o", str(run), option, "convlstm-attention-4"]) == 2
    assert "--unlabelled and --teacher together" in capsys.readouterr().err
    assert not run.exists()
