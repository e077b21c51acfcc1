"""Training: what is learned from, how it is split, and that a killed run can go on."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from small_model import SMALL_CONFIG
from torch.nn import functional

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.networks import build_network
from CovidLungQuantLib.lesions.networks.convlstm_attention import (
    UNET_BRANCH,
    ConvLSTMAttentionNetwork,
)
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig
from CovidLungQuantLib.lesions.preprocessing import lung_box, resize_plane
from CovidLungQuantLib.training.augmentation import (
    CONTRAST_ABOVE_SCALED,
    NORMAL_LUNG_SCALED,
    AugmentationConfig,
    augment,
)
from CovidLungQuantLib.training.config import TrainingConfig
from CovidLungQuantLib.training.curves import LOG_FILE_NAME
from CovidLungQuantLib.training.data import (
    LESION_CHANNELS,
    TARGET_CHANNELS,
    UNKNOWN_LUNG_CHANNEL,
    AnnotatedScan,
    draw_sample,
    draw_slice,
    fold_names,
    patients,
    read_annotated_scan,
    training_case,
)
from CovidLungQuantLib.training.dataset import case_names
from CovidLungQuantLib.training.evaluation import compare_with_reader, dice
from CovidLungQuantLib.training.run_folder import CHECKPOINT_FILE_NAME
from CovidLungQuantLib.training.schedule import CYCLE_RISE, one_cycle
from CovidLungQuantLib.training.trainer import _LossOf, train, validation_loss


def scan_with_lesion(name: str = "case", slices: int = 16, spacing_z_mm: float = 3.0):
    random = np.random.default_rng(0)
    hu = np.full((slices, 64, 64), -1000, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    hu[:, 6:58, 4:60] = 40
    labels[:, 16:48, 10:54] = 1
    labels[5:10, 30:44, 14:26] = 2
    hu[labels == 1] = -850
    hu[labels == 2] = -500
    hu += random.normal(0, 15, hu.shape).astype(np.int16)
    return AnnotatedScan(name, hu, labels, (5.0, 5.0, spacing_z_mm))


def test_slices_with_inferred_classes_become_lesion_of_unknown_class(tmp_path):
    scan = scan_with_lesion()
    folder = tmp_path / "case"
    folder.mkdir()
    for name, array in (("ct", scan.hu), ("labels", scan.labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(scan.spacing_mm)
        sitk.WriteImage(image, str(folder / f"{name}.nrrd"))
    (folder / "case.json").write_text(json.dumps({"class_inferred_slices": [6, 9]}))
    read = read_annotated_scan(folder)
    assert case_names(tmp_path) == ["case"]
    for index in range(16):
        expected = {6: {0, 1, 4}, 9: {0, 1, 4}}.get(index, set(np.unique(scan.labels[index])))
        assert set(np.unique(read.labels[index])) == expected
    assert np.array_equal(read.hu, scan.hu)


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="No case"):
        case_names(tmp_path)


def test_folds_test_every_case_once_and_never_split_a_patient():
    names = [f"covid{index:02d}" for index in range(1, 14)]
    same_patient = [("covid02", "covid03")]
    tested = []
    for fold in range(3):
        training, test = fold_names(names, fold, 3, same_patient)
        assert sorted(training + test) == names
        assert ("covid02" in test) == ("covid03" in test)
        tested += test
    assert sorted(tested) == names
    assert len(patients(names, same_patient)) == 12


def test_a_case_on_the_networks_grid_keeps_its_shares():
    case = training_case(scan_with_lesion(), SMALL_CONFIG)
    assert case.slices.shape == (16, 64, 64)
    np.testing.assert_allclose(case.targets.astype(np.float32).sum(axis=1), 1.0, atol=2e-3)
    assert case.lesion_slices.tolist() == [5, 6, 7, 8, 9]
    thin = training_case(scan_with_lesion(spacing_z_mm=1.0), SMALL_CONFIG, first_slice=2)
    assert len(thin.slices) == 5  # 14 slices in groups of three


def test_where_lung_is_unknown_a_case_says_so_and_that_there_is_no_lesion():
    scan = scan_with_lesion()
    known = training_case(scan, replace(SMALL_CONFIG, crop="lungs"))
    # Beside the lungs, which are no larger for it, and in one of the slices with lesion.
    scan.labels[7, 2:5] = 255
    scan.labels[7, 44:47, 14:26] = 255
    case = training_case(scan, replace(SMALL_CONFIG, crop="lungs"))
    assert np.array_equal(case.slices, known.slices)
    assert case.lesion_slices.tolist() == [5, 6, 7, 8, 9]
    changed = case.targets != known.targets
    assert set(np.flatnonzero(changed.any(axis=(0, 2, 3)))) == {1, UNKNOWN_LUNG_CHANNEL}
    unknown = case.targets[7, UNKNOWN_LUNG_CHANNEL] > 0.99
    assert unknown.any() and not case.targets[7, LESION_CHANNELS, unknown].any()
    np.testing.assert_allclose(case.targets.astype(np.float32).sum(axis=1), 1.0, atol=2e-3)
    sample = draw_sample(case, 16, 0.0, np.random.default_rng(0))
    assert float(sample.lesions.max()) <= 1.0
    assert not sample.lesions[7, 0, unknown].any()


def test_a_case_is_cropped_to_its_lungs_where_the_network_sees_no_more():
    scan = scan_with_lesion()
    case = training_case(scan, replace(SMALL_CONFIG, crop="lungs"))
    box = lung_box(scan.labels > 0, scan.spacing_mm)
    assert (box.y0, box.y1, box.x0, box.x1) == (14, 50, 8, 56)
    rows, columns = box.slices
    outside = torch.from_numpy(scan.labels[7, rows, columns] == 0).float()
    size = (SMALL_CONFIG.working_size, SMALL_CONFIG.working_size)
    assert case.targets[7, 0] == pytest.approx(resize_plane(outside, size), abs=1e-3)


def test_a_sample_holds_the_slices_its_windows_need():
    case = training_case(scan_with_lesion(), SMALL_CONFIG)
    random = np.random.default_rng(1)
    for _ in range(20):
        sample = draw_sample(case, 4, 1.0, random)
        assert sample.windows.shape == (4, 11) and sample.targets.shape[0] == 4
        middle = sample.slices[sample.windows[:, 5], 0].numpy()
        start = next(
            index
            for index in range(13)
            if np.array_equal(case.slices[index].astype(np.float32), middle[0])
        )
        np.testing.assert_array_equal(middle, case.slices[start : start + 4].astype(np.float32))
        assert set(range(start, start + 4)) & set(case.lesion_slices.tolist())


def test_a_slice_is_shown_between_its_neighbours_and_targets_stay_its_own():
    config = replace(SMALL_CONFIG, context_slices=3)
    case = training_case(scan_with_lesion(), config)
    random = np.random.default_rng(3)
    for _ in range(10):
        sample = draw_slice(case, 1.0, random)
        below, middle, above = sample.slices[0].numpy()
        index = next(
            index
            for index in case.lesion_slices
            if np.array_equal(case.targets[index], sample.targets[0].half().numpy())
            and np.array_equal(case.slices[index], middle.astype(np.float16))
        )
        np.testing.assert_array_equal(below.astype(np.float16), case.slices[index - 1])
        np.testing.assert_array_equal(above.astype(np.float16), case.slices[index + 1])
        assert sample.lesions.shape == sample.slices.shape


def test_augmentation_moves_image_and_labels_together():
    case = training_case(scan_with_lesion(), SMALL_CONFIG)
    slices = torch.from_numpy(case.slices.astype(np.float32))[:, None]
    targets = torch.from_numpy(case.targets.astype(np.float32))
    # Only geometry: then HU still tell lesion from lung after the change.
    config = AugmentationConfig(hu_shift=0.0, hu_gain=0.0, noise=0.0, sharpness=0.0)
    random = np.random.default_rng(2)
    lesion_hu = (-500 + 1024) / 1624
    for _ in range(5):
        lesions = targets[:, 2:].sum(dim=1, keepdim=True)
        moved, moved_targets = augment(slices, targets, lesions, config, random)
        moved = moved[:, 0]
        sure = moved_targets[:, 2] > 0.99
        assert sure.any()
        assert moved[sure].mean() == pytest.approx(lesion_hu, abs=0.02)
        torch.testing.assert_close(
            moved_targets.sum(dim=1), torch.ones_like(moved), atol=5e-3, rtol=0
        )


def small_training(epochs: int) -> TrainingConfig:
    return TrainingConfig(
        network=SMALL_CONFIG,
        optimizer="adamw",
        schedule="one_cycle",
        learning_rate=1e-2,
        epochs=epochs,
        steps_per_epoch=4,
        samples_per_batch=2,
        targets_per_sample=3,
    )


@pytest.mark.parametrize(("rmi_weight", "dice_weight"), [(0.5, 0.0), (0.0, 1.0), (0.3, 2.0)])
def test_the_validation_loss_is_the_loss_of_training(rmi_weight, dice_weight):
    config = replace(small_training(1), rmi_weight=rmi_weight, dice_weight=dice_weight)
    case = training_case(scan_with_lesion(slices=3), SMALL_CONFIG)
    torch.manual_seed(0)
    network = build_network(SMALL_CONFIG).eval()
    slices = torch.from_numpy(case.slices[case.contexts].astype(np.float32))
    targets = torch.from_numpy(case.targets.astype(np.float32))
    with torch.no_grad():
        expected = _LossOf(network, config)(slices, targets, torch.from_numpy(case.windows))
    assert validation_loss(network, [case], config) == pytest.approx(float(expected), rel=1e-5)


def test_training_lowers_the_loss(tmp_path):
    train([scan_with_lesion()], small_training(5), tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / LOG_FILE_NAME).open()]
    assert losses[-1] < 0.7 * losses[0]


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    config = small_training(3)
    whole = train([scan_with_lesion()], config, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill_after_second_epoch(*_: object) -> float:
        log = tmp_path / "killed" / LOG_FILE_NAME
        if log.exists() and len(log.read_text(encoding="utf-8").splitlines()) == 2:
            raise Killed
        return original(*_)

    from CovidLungQuantLib.training import trainer

    original = trainer._step
    trainer._step = kill_after_second_epoch
    try:
        with pytest.raises(Killed):
            train([scan_with_lesion()], config, tmp_path / "killed")
    finally:
        trainer._step = original
    assert (tmp_path / "killed" / CHECKPOINT_FILE_NAME).exists()
    resumed = train([scan_with_lesion()], config, tmp_path / "killed")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_run_folder_of_another_configuration_is_refused_and_left_alone(tmp_path):
    train([scan_with_lesion()], small_training(1), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(BadInputError, match="other options or scans"):
        train([scan_with_lesion()], small_training(2), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_main_branch_learns_alone_first(tmp_path):
    config = replace(small_training(2), main_branch_epochs=2)
    network = train([scan_with_lesion()], config, tmp_path)
    torch.manual_seed(config.seed)
    start = ConvLSTMAttentionNetwork(SMALL_CONFIG).state_dict()
    changed = {key for key, value in network.state_dict().items() if not value.equal(start[key])}
    assert changed and all(key.startswith("main_branch.") for key in changed)


def test_the_main_branch_learns_at_its_own_rate_beside_the_others(tmp_path):
    start = ConvLSTMAttentionNetwork(SMALL_CONFIG)
    config = replace(small_training(1), main_branch_rate=0.0)
    network = train([scan_with_lesion()], config, tmp_path, start_from=start)
    before = dict(start.named_parameters())
    changed = {key for key, value in network.named_parameters() if not value.equal(before[key])}
    assert changed and not any(key.startswith("main_branch.") for key in changed)


def test_a_unet_becomes_the_main_branch(tmp_path):
    unet = UNet(UNetConfig(working_size=64, base_channels=2))
    network = replace(SMALL_CONFIG, main_branch=UNET_BRANCH, base_channels=2)
    config = replace(small_training(1), network=network, main_branch_rate=0.0)
    trained = train([scan_with_lesion()], config, tmp_path / "fits", start_from=unet)
    kept = dict(trained.main_branch.named_parameters())
    assert all(value.equal(kept[key]) for key, value in unet.named_parameters())
    for wider in (replace(network, base_channels=4), SMALL_CONFIG):
        with pytest.raises(BadInputError, match="other layers"):
            other = replace(config, network=wider)
            train([scan_with_lesion()], other, tmp_path / "other", start_from=unet)
    assert not (tmp_path / "other").exists()


def test_a_cycle_rises_to_its_peak_and_falls_to_nothing():
    assert one_cycle(CYCLE_RISE) == 1.0
    assert one_cycle(CYCLE_RISE / 2) == 0.5
    assert one_cycle((1 + CYCLE_RISE) / 2) == pytest.approx(0.5)
    assert one_cycle(1.0) == pytest.approx(0.0)


def test_faded_lesions_come_nearer_to_normal_lung_and_nothing_else_changes():
    sample = draw_slice(
        training_case(scan_with_lesion(), SMALL_CONFIG), 1.0, np.random.default_rng(0)
    )
    still = AugmentationConfig(0, 0, (1, 1), False, None, 0, 0, 0, 0)
    faded = replace(still, lesion_fade=(0.5, 0.5))
    (before, _), (after, _) = (
        augment(sample.slices, sample.targets, sample.lesions, config, np.random.default_rng(0))
        for config in (still, faded)
    )
    whole = functional.avg_pool2d(sample.lesions, 5, stride=1, padding=2)
    inside, outside = whole == 1, whole == 0
    assert inside.any()
    expected = (before[inside] + NORMAL_LUNG_SCALED) / 2
    torch.testing.assert_close(after[inside], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(after[outside], before[outside], atol=1e-3, rtol=0)


def changed_by(slices: torch.Tensor, **changes: float) -> torch.Tensor:
    """One sample augmented by these changes alone, at a known place in their range."""
    still = AugmentationConfig(0, 0, (1, 1), False, None, 0, 0, 0, 0)
    nothing = torch.zeros(1, 5, *slices.shape[-2:])
    draws = np.random.default_rng(3)
    return augment(slices, nothing, torch.zeros_like(slices), replace(still, **changes), draws)[0]


def test_thicker_slices_hold_their_neighbours():
    # Three neighbouring slices; the outermost have a neighbour on one side only.
    slices = torch.tensor([1.0, 0.0, 0.5])[None, :, None, None].expand(1, 3, 8, 8).contiguous()
    first, middle, last = changed_by(slices, thickness=0.8)[0, :, 4, 4].tolist()
    share = middle / 0.75
    assert 0.0 < share < 0.8
    assert [first, last] == pytest.approx([1.0 - share / 2, 0.5 - share / 4], abs=1e-5)


def test_contrast_medium_makes_what_is_dense_denser():
    values = torch.tensor([0.1, 0.5, CONTRAST_ABOVE_SCALED, 0.64, 0.66])
    slices = values[:, None, None, None].expand(5, 1, 8, 8).contiguous()
    after = changed_by(slices, contrast=1.5)[:, 0, 4, 4]
    assert after[:3].tolist() == pytest.approx(values[:3].tolist(), abs=1e-5)
    by = ((after - values) / (values - CONTRAST_ABOVE_SCALED))[3:]
    assert 0.0 < float(by[0]) < 1.5
    assert float(by[0]) == pytest.approx(float(by[1]), rel=1e-3)


def test_a_crop_keeps_scale_and_stays_with_its_labels():
    case = training_case(scan_with_lesion(), SMALL_CONFIG)
    slices = torch.from_numpy(case.slices[5:6]).float()[:, None]
    targets = torch.from_numpy(case.targets[5:6]).float()
    config = AugmentationConfig(
        rotation_degrees=0,
        translation_pixels=0,
        scale_range=(1, 1),
        flip=False,
        crop_size=32,
        hu_shift=0,
        hu_gain=0,
        noise=0,
        sharpness=0,
    )
    lesions = targets[:, 2:].sum(dim=1, keepdim=True)
    random = np.random.default_rng(0)
    cropped, cropped_targets = augment(slices, targets, lesions, config, random)
    assert cropped.shape == (1, 1, 32, 32)
    assert cropped_targets.shape == (1, TARGET_CHANNELS, 32, 32)
    lesion = targets[:, 2:3] > 0.99
    inside = cropped_targets[:, 2:3] > 0.99
    # Whole or cut by the crop's edge, never larger; and as dense as it was.
    assert 0 < inside.sum() <= lesion.sum()
    assert cropped[inside].mean() == pytest.approx(float(slices[lesion].mean()), abs=0.02)


def test_the_paper_schedule_stops_when_the_learning_rate_is_spent(tmp_path):
    config = replace(
        small_training(500),
        optimizer="sgd",
        schedule="plateau",
        steps_per_epoch=1,
        samples_per_batch=1,
        targets_per_sample=1,
        learning_rate=1e-6,
        minimum_learning_rate=1e-7,
    )
    train([scan_with_lesion()], config, tmp_path, [scan_with_lesion("validation", slices=6)])
    log = [json.loads(line) for line in (tmp_path / LOG_FILE_NAME).open()]
    # Ten epochs of patience, then the eleventh without a better loss spends the learning rate.
    losses = [record["validation_loss"] for record in log]
    assert 12 <= len(log) < 500
    assert min(losses[-11:]) >= min(losses[:-11]) * (1 - 1e-4)
    assert all(math.isfinite(record["validation_loss"]) for record in log)


def test_defaults_are_those_of_the_paper():
    config = TrainingConfig()
    assert (config.optimizer, config.schedule) == ("sgd", "plateau")
    assert (config.learning_rate, config.minimum_learning_rate) == (1e-3, 1e-7)
    assert config.weight_decay == 1e-6 and config.rmi_weight == 0.5
    assert config.samples_per_batch * config.targets_per_sample == 32
    assert config.augmentation.rotation_degrees == 10
    assert config.augmentation.scale_range == (0.9, 1.05)


def test_dice_on_hand_made_masks():
    first = np.array([1, 1, 0, 0], bool)
    second = np.array([1, 0, 1, 0], bool)
    assert dice(first, second) == 0.5
    assert dice(first, first) == 1.0
    assert math.isnan(dice(first & False, second & False))


def test_agreement_counts_classes_only_where_the_reader_stated_them():
    reader = np.ones((3, 4, 4), np.uint8)
    reader[0, 0, 0], reader[1, 0, 0], reader[1, 0, 1] = 2, 4, 2
    labels = reader.copy()
    labels[1, 0, 0], labels[1, 0, 1] = 3, 3
    scan = AnnotatedScan("case", np.zeros(reader.shape, np.int16), reader, (10.0, 10.0, 10.0))
    anatomy = LungAnatomy((reader > 0).astype(np.uint8), reader > 0, reader == 9, ())
    agreement = compare_with_reader(scan, anatomy, labels, reader)
    assert agreement.lesion_dice == 1.0
    assert agreement.sure_slices == 1
    assert agreement.ggo_dice == 1.0
    assert agreement.network_ggo_dice == 1.0
    assert math.isnan(agreement.high_opacity_dice)
    assert agreement.reference_lesion_ml == 3.0
    assert agreement.reference_extent_percent == 100 * 3 / 48
    assert agreement.lesion_inside_lungs_percent == 100


def test_agreement_leaves_out_what_may_be_lung_or_not():
    scan = scan_with_lesion()
    labels = scan.labels.copy()
    anatomy = LungAnatomy((labels > 0).astype(np.uint8), labels > 0, labels == 9, ())
    scan.labels[12:] = 255
    labels[12, 30:44, 14:26] = 3
    agreement = compare_with_reader(scan, anatomy, labels, labels)
    lesion = int((scan.labels == 2).sum())
    assert agreement.lung_dice == 1.0
    assert agreement.extent_percent == agreement.reference_extent_percent
    assert agreement.lesion_dice == pytest.approx(2 * lesion / (2 * lesion + 14 * 12))
