"""What the lung network learns from: painted disease leaves the truth, gas and air change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from CovidLungQuantLib.anatomy.lung_network import (
    GAS_CLASS,
    LUNG_NETWORK_CLASSES,
    PNEUMOTHORAX_CLASS,
    LungNetworkConfig,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.training.run_folder import save_checkpoint
from research.dense_disease import paint_dense_disease, paint_gas, paint_pneumothorax
from research.lung_bank import LungScan, lungs_of_shares, read_lung_scan, scan_folders
from research.lung_samples import LungSample, LungSampleConfig, LungSamples
from research.lungs import LungTrainingConfig, lung_loss, train

SMALL_SAMPLES = LungSampleConfig(depths=(32,), height=48, width=64)
SMALL_TRAINING = LungTrainingConfig(
    steps=3, batch=1, network=LungNetworkConfig(channels=(4, 4, 8, 8)), samples=SMALL_SAMPLES
)


@pytest.fixture(scope="module")
def scan() -> LungScan:
    """Two lungs as boxes in a body, over a belly as high as they are."""
    hu = torch.full((64, 48, 64), -1024, dtype=torch.int16)
    body = torch.zeros(hu.shape, dtype=torch.bool)
    body[:, 6:42, 4:60] = True
    hu[body] = 40
    shares = torch.zeros(LUNG_NETWORK_CLASSES, *hu.shape, dtype=torch.uint8)
    shares[RIGHT_LUNG_VALUE, 24:56, 10:38, 8:28] = 255
    shares[LEFT_LUNG_VALUE, 24:56, 10:38, 36:56] = 255
    shares[0] = 255 - shares.sum(0)
    hu[shares[0] == 0] = -850
    return LungScan("boxes", hu, shares, torch.ones(hu.shape, dtype=torch.bool), body)


def shares_of(scan: LungScan) -> Tensor:
    return scan.shares.float() / 255


def test_dense_disease_stays_in_the_lungs_and_hides_their_air(scan):
    lungs = lungs_of_shares(shares_of(scan))
    most = 0.0
    for seed in range(12):
        random = np.random.default_rng(seed)
        hu = paint_dense_disease(scan.hu.float(), shares_of(scan), random)
        torch.testing.assert_close(hu[lungs == 0], scan.hu.float()[lungs == 0])
        assert (hu >= scan.hu - 1e-3).all()
        most = max(most, float((hu[lungs > 0] > -300).float().mean()))
    assert most > 0.4


def test_gas_lies_in_the_body_outside_the_lungs(scan):
    hu, shares = paint_gas(scan.hu.float(), shares_of(scan), scan.body, np.random.default_rng(0))
    gas = shares[GAS_CLASS] > 0.5
    assert gas.any()
    assert (hu[gas] < -300).all()
    assert scan.body[gas].all()
    assert float((shares[GAS_CLASS] * lungs_of_shares(shares_of(scan))).max()) == 0.0
    torch.testing.assert_close(shares.sum(0), torch.ones_like(shares[0]))
    # Not above the middle of the lungs.
    assert not gas[24 + 16 :].any()


def test_a_pneumothorax_takes_from_one_lung_only(scan):
    before = shares_of(scan)
    hu, after = paint_pneumothorax(scan.hu.float(), before, np.random.default_rng(0))
    taken = [
        float((before[value] - after[value]).sum()) for value in (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE)
    ]
    assert min(taken) == 0.0 and max(taken) > 0.0
    assert float(after[PNEUMOTHORAX_CLASS].sum()) == pytest.approx(max(taken), rel=1e-3)
    assert (hu[after[PNEUMOTHORAX_CLASS] > 0.9] < -900).all()
    torch.testing.assert_close(after.sum(0), torch.ones_like(after[0]))


def test_a_sample_is_the_same_every_time_and_another_at_every_number(scan):
    samples = LungSamples([scan], SMALL_SAMPLES)
    first, again, other = samples[5], samples[5], samples[6]
    for part, same in zip(first, again, strict=True):
        assert torch.equal(part, same)
    assert not torch.equal(first.hu, other.hu)
    assert first.hu.shape == (32, 48, 64)
    assert first.shares.shape == (LUNG_NETWORK_CLASSES, 32, 48, 64)
    for number in range(8):
        sample = samples[number]
        assert all(bool(torch.isfinite(part).all()) for part in sample)
        torch.testing.assert_close(
            sample.shares.sum(0), torch.ones(32, 48, 64), atol=1e-3, rtol=0.0
        )


def test_a_sample_that_is_not_changed_lies_on_the_scan(scan):
    as_it_is = LungSampleConfig(
        (64,), 48, 64, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    )
    hits = 0.0
    for number in range(4):
        sample = LungSamples([scan], as_it_is)[number]
        inside = (lungs_of_shares(sample.shares) > 0.99) & (sample.known > 0)
        assert float(sample.hu[inside].median()) == pytest.approx(-850, abs=100)
        hits += float(inside.sum())
    assert hits > 10_000


def test_nothing_is_learned_where_nothing_is_known(scan):
    sample = LungSamples([scan], SMALL_SAMPLES)[0]
    logits = torch.randn(LUNG_NETWORK_CLASSES, *sample.hu.shape)
    known = sample.known.clone()
    known[:, :20] = 0
    other = logits.clone()
    other[:, :, :20] += 5 * torch.randn_like(other[:, :, :20])
    partly = LungSample(sample.hu, sample.shares, known)
    assert float(lung_loss(logits, partly, 4.0)) == pytest.approx(
        float(lung_loss(other, partly, 4.0)), rel=1e-5
    )
    right = torch.log(sample.shares.clamp_min(1e-6))
    assert float(lung_loss(right, sample, 4.0)) < float(lung_loss(logits, sample, 4.0)) / 4


def test_a_killed_training_goes_on_to_the_same_network(scan, tmp_path, monkeypatch):
    straight = train([scan], SMALL_TRAINING, tmp_path / "straight")
    monkeypatch.setattr("research.lungs.CHECKPOINT_STEPS", 1)

    def killed_at_two(run, network, optimizer, scheduler, steps):
        save_checkpoint(run, network, optimizer, scheduler, steps)
        if steps == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("research.lungs.save_checkpoint", killed_at_two)
    with pytest.raises(KeyboardInterrupt):
        train([scan], SMALL_TRAINING, tmp_path / "killed")
    monkeypatch.setattr("research.lungs.save_checkpoint", save_checkpoint)
    gone_on = train([scan], SMALL_TRAINING, tmp_path / "killed")
    for key, value in straight.state_dict().items():
        assert torch.equal(value, gone_on.state_dict()[key]), key
    with pytest.raises(BadInputError, match="other options"):
        train([scan], replace(SMALL_TRAINING, seed=1), tmp_path / "killed")


def test_scans_are_read_with_a_readers_lungs_or_those_of_the_threshold(tmp_path):
    phantom = chest_phantom(shape=(60, 80, 100), spacing_mm=(3.6, 3.6, 5.0))
    geometry = phantom.ct.geometry
    write_image(tmp_path / "scans" / "alone" / "ct.nrrd", phantom.ct.hu, geometry)
    labels = np.where(phantom.labels > 0, 1, 0).astype(np.uint8)
    labels[: len(labels) // 2] = np.where(labels[: len(labels) // 2] > 0, 255, 0)
    write_image(tmp_path / "scans" / "read" / "ct.nrrd", phantom.ct.hu, geometry)
    write_image(tmp_path / "scans" / "read" / "labels.nrrd", labels, geometry)
    folders = scan_folders([tmp_path / "scans"])
    assert [folder.name for folder in folders] == ["alone", "read"]
    alone, read = (read_lung_scan(folder, tmp_path / "cache") for folder in folders)
    cell_ml = 0.027
    truth_ml = float((phantom.labels > 0).sum()) * geometry.voxel_volume_ml
    found_ml = float(lungs_of_shares(shares_of(alone)).sum()) * cell_ml
    assert found_ml == pytest.approx(truth_ml, rel=0.05)
    assert alone.known.all()
    assert not read.known.all()
    known_ml = float((labels == 1).sum()) * geometry.voxel_volume_ml
    assert float(lungs_of_shares(shares_of(read)).sum()) * cell_ml == pytest.approx(
        known_ml, rel=0.03
    )
    kept = read_lung_scan(folders[1], tmp_path / "cache")
    assert torch.equal(kept.hu, read.hu) and torch.equal(kept.shares, read.shares)
