"""Inference: streaming, devices, memory, cancelling, and the rule that joins lungs and lesions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from small_model import small_model

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.errors import BadInputError, Cancelled, OutOfResourcesError
from CovidLungQuantLib.labels import AIRLESS_LUNG, GGO, HIGH_OPACITY, LEFT_OUT, is_lesion
from CovidLungQuantLib.lesions import inference
from CovidLungQuantLib.lesions.deciding import decide_labels
from CovidLungQuantLib.lesions.inference import (
    choose_device,
    lesion_probabilities,
    segment_lesions,
)
from CovidLungQuantLib.lesions.joining import (
    LESION_REACH_MM,
    as_tensor,
    box_of_lungs,
    finished_labels,
    joined_with_lungs,
    lung_region,
    reconcile,
)
from CovidLungQuantLib.lesions.kinds import classify_by_density
from CovidLungQuantLib.lesions.networks.blocks import class_probabilities
from CovidLungQuantLib.lesions.preprocessing import (
    body_box,
    context_indices,
    group_bounds,
    slices_per_group,
    window_indices,
    working_slice,
    working_step_mm,
)
from CovidLungQuantLib.lesions.probability import DECISION_CODE, LESION_MARGIN
from CovidLungQuantLib.lesions.window_runner import is_out_of_memory

SPACING_MM = (3.0, 3.0, 3.0)


def small_scan(slices: int = 24) -> tuple[np.ndarray, LungAnatomy]:
    random = np.random.default_rng(0)
    hu = np.full((slices, 90, 100), -1000, np.int16)
    hu[:, 10:80, 10:90] = 40
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[4:-4, 25:65, 15:45] = 2
    lungs[4:-4, 25:65, 55:85] = 1
    hu[lungs > 0] = -850
    hu += random.normal(0, 20, hu.shape).astype(np.int16)
    body = np.zeros(hu.shape, bool)
    body[:, 10:80, 10:90] = True
    return hu, LungAnatomy(lungs, body, np.zeros(hu.shape, bool), ())


@pytest.mark.parametrize("context_slices", [1, 3])
def test_streaming_in_batches_gives_each_slice_what_the_network_says_of_it_alone(context_slices):
    hu, anatomy = small_scan()
    model = small_model(context_slices=context_slices)
    result = segment_lesions(hu, SPACING_MM, anatomy, model, "cpu", mirror=False)
    box = body_box(hu, SPACING_MM)
    windows = window_indices(len(hu), working_step_mm(3.0, model.config), model.config)
    slices = torch.stack(
        [
            working_slice(torch.from_numpy(hu), bounds, box, model.config)
            for bounds in group_bounds(len(hu), 1)
        ]
    )
    assert slices_per_group(3.0, model.config) == 1
    contexts = context_indices(len(hu), 3.0, model.config)
    slices = slices[torch.from_numpy(contexts)]
    differing = 0
    for index in (4, 12, 19):
        with torch.inference_mode():
            output = model.network(slices, torch.from_numpy(windows[index : index + 1]))
        plane = torch.nn.functional.interpolate(
            class_probabilities(output.logits),
            size=hu[0][box.slices].shape,
            mode="bilinear",
            align_corners=False,
        )[0]
        expected = np.zeros(hu.shape[1:], np.uint8)
        expected[box.slices] = decide_labels(plane).numpy()
        inside = anatomy.lungs[index] > 0
        expected = np.where(expected[inside] >= 2, expected[inside], 1)
        differing += np.count_nonzero(result.labels[index][inside] != expected)
    # Summation order may flip a tie; anything more is a fault in the streaming.
    assert differing <= 3


def test_with_its_mirror_image_left_and_right_are_treated_alike():
    hu, anatomy = small_scan()
    random = np.random.default_rng(5)
    hu = hu + random.integers(0, 300, hu.shape).astype(np.int16)
    mirrored = LungAnatomy(
        anatomy.lungs[:, :, ::-1], anatomy.body[:, :, ::-1], anatomy.airways[:, :, ::-1], ()
    )
    differing = {}
    for mirror in (True, False):
        plain, turned = (
            segment_lesions(
                np.ascontiguousarray(scan),
                SPACING_MM,
                parts,
                small_model(),
                "cpu",
                mirror=mirror,
            ).labels
            for scan, parts in ((hu, anatomy), (hu[:, :, ::-1], mirrored))
        )
        differing[mirror] = np.count_nonzero(plain != turned[:, :, ::-1])
    assert differing[True] <= 3 < differing[False]


def test_same_input_gives_the_same_bytes():
    hu, anatomy = small_scan()
    first = segment_lesions(hu, SPACING_MM, anatomy, small_model(), "cpu").labels
    second = segment_lesions(hu, SPACING_MM, anatomy, small_model(), "cpu").labels
    assert first.tobytes() == second.tobytes()
    assert np.count_nonzero(first >= 2)


@pytest.mark.parametrize("thickness_mm", [0.6, 1.0, 2.0, 8.0])
def test_every_slice_near_the_lungs_is_labelled_at_any_spacing(thickness_mm):
    hu, anatomy = small_scan()
    labels = segment_lesions(hu, (3.0, 3.0, thickness_mm), anatomy, small_model(), "cpu").labels
    assert np.array_equal((labels > 0) & (anatomy.lungs > 0), anatomy.lungs > 0)


class NetworkWithLittleMemory(torch.nn.Module):
    """Runs out of memory above a number of windows, as a small GPU would."""

    def __init__(self, network, most_windows: int) -> None:
        super().__init__()
        self.inner = network
        self.config = network.config
        self.Seen = network.Seen
        self.most_windows = most_windows

    def see_slices(self, slices):
        return self.inner.see_slices(slices)

    def attend(self, seen, windows):
        if len(windows) > self.most_windows:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return self.inner.attend(seen, windows)


def with_little_memory(most_windows: int):
    model = small_model()
    network = NetworkWithLittleMemory(model.network, most_windows)
    return type(model)(network, model.config, model.name, model.sha256)


def test_short_memory_halves_the_batch_says_so_and_changes_nothing_else():
    hu, anatomy = small_scan()
    plenty = segment_lesions(hu, SPACING_MM, anatomy, small_model(), "cpu")
    little = segment_lesions(hu, SPACING_MM, anatomy, with_little_memory(1), "cpu")
    assert [warning.code for warning in little.warnings] == ["smaller_batches"]
    assert plenty.warnings == ()
    assert np.count_nonzero(plenty.labels != little.labels) <= 3


def test_no_memory_at_all_is_one_clear_error():
    hu, anatomy = small_scan()
    with pytest.raises(OutOfResourcesError, match="not enough memory"):
        segment_lesions(hu, SPACING_MM, anatomy, with_little_memory(0), "cpu")


def test_what_a_gpu_has_no_room_for_is_done_on_the_cpu_and_a_warning_says_so():
    tried_on = []

    def work(device: str) -> str:
        tried_on.append(device)
        if device != "cpu":
            raise torch.cuda.OutOfMemoryError("out of memory")
        return "done"

    result, warnings = inference._where_memory_is(work, "mps")
    assert result == "done" and tried_on == ["mps", "cpu"]
    assert [warning.code for warning in warnings] == ["cpu_fallback"]
    assert "MPS device ran out of memory" in warnings[0].message
    assert inference._where_memory_is(work, "cpu") == ("done", ())


def test_other_faults_of_a_gpu_are_not_taken_for_a_lack_of_memory():
    def work(device: str) -> None:
        raise RuntimeError(f"{device} error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        inference._where_memory_is(work, "cuda")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
)
def test_every_way_of_saying_that_memory_ran_out_is_understood(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_a_gpu_without_room_leaves_all_to_the_cpu_and_says_so(gpu):
    if gpu != "cuda":
        pytest.skip("only CUDA's memory can be limited")
    hu, anatomy = small_scan()
    expected = segment_lesions(hu, SPACING_MM, anatomy, small_model(), "cpu").labels
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        result = segment_lesions(hu, SPACING_MM, anatomy, small_model(), gpu)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "cpu_fallback" in [warning.code for warning in result.warnings]
    assert result.device == "cpu"
    assert np.array_equal(result.labels, expected)


def test_lungs_and_lesions_are_joined_on_a_gpu_as_on_the_cpu_voxel_by_voxel(gpu):
    if gpu != "cuda":
        pytest.skip("on other GPUs the CPU joins them")
    hu, anatomy = small_scan()
    random = np.random.default_rng(1)
    # Blobs of every label, and dense lung beside some of them.
    waves = ndimage.gaussian_filter(random.normal(size=hu.shape), 2.0)
    network = np.digitize(waves, np.quantile(waves, [0.3, 0.6, 0.8])).astype(np.uint8)
    hu[:, 30:60, 20:40] = 30
    spacing_mm = (1.0, 1.1, 3.0)
    lungs_box = box_of_lungs(anatomy.lungs)
    joined = []
    for device in ("cpu", gpu):
        region = lung_region(as_tensor(hu).to(device), anatomy, spacing_mm, lungs_box)
        labels = as_tensor(network[region.box].copy()).to(device)
        joined.append(region.on_whole_scan(finished_labels(labels, region), hu.shape))
    assert set(np.unique(joined[0])) == {0, 1, 2, 3}
    assert np.array_equal(*joined)
    divided = [classify_by_density(joined[0], hu, spacing_mm, device=each) for each in ("cpu", gpu)]
    assert np.count_nonzero(divided[0] != divided[1]) <= 3


def test_a_gpu_makes_the_label_map_of_the_cpu(gpu):
    hu, anatomy = small_scan()
    on_cpu, on_gpu = (
        segment_lesions(hu, SPACING_MM, anatomy, small_model(), device, keep_probability=True)
        for device in ("cpu", gpu)
    )
    inside = np.count_nonzero(anatomy.lungs)
    assert np.count_nonzero(on_cpu.labels != on_gpu.labels) < 0.005 * inside
    codes = [result.probability.astype(int) for result in (on_cpu, on_gpu)]
    assert np.abs(codes[0] - codes[1]).max() <= 5


def test_cancelling_between_batches_stops_the_run():
    hu, anatomy = small_scan()
    seen = []

    def progress(fraction: float, message: str) -> None:
        seen.append(fraction)
        if len(seen) == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        segment_lesions(hu, SPACING_MM, anatomy, small_model(), "cpu", progress)
    assert len(seen) == 2


def test_progress_grows_to_one():
    hu, anatomy = small_scan()
    seen = []
    segment_lesions(
        hu, SPACING_MM, anatomy, small_model(), "cpu", lambda fraction, _: seen.append(fraction)
    )
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_unknown_and_missing_devices_are_refused():
    with pytest.raises(BadInputError, match="not a device"):
        choose_device("gpu3")
    missing = [name for name in ("cuda", "mps") if name not in inference.available_devices()]
    for name in missing:
        with pytest.raises(BadInputError, match="--device auto or cpu"):
            choose_device(name)
    assert choose_device("cpu") == "cpu"


def reconciled(
    network: np.ndarray, anatomy: LungAnatomy, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    hu = as_tensor(np.zeros(network.shape, np.int16))
    region = lung_region(hu, anatomy, spacing_mm, box_of_lungs(anatomy.lungs))
    labels = reconcile(as_tensor(network[region.box].copy()), region)
    return region.on_whole_scan(labels, network.shape)


def test_the_joining_rule_voxel_by_voxel():
    shape = (1, 1, 30)
    lungs = np.zeros(shape, np.uint8)
    lungs[..., 5:15] = 1
    body = np.ones(shape, bool)
    body[..., 17] = False
    airways = np.zeros(shape, bool)
    airways[..., 16] = True
    network = np.zeros(shape, np.uint8)
    network[..., 4] = 1  # normal lung outside the lungs: not added
    network[..., 8] = 2
    network[..., 9] = 3
    network[..., 15:20] = 3  # next to the lungs, but 16 is airway and 17 outside the body
    network[..., 29] = 3  # 15 mm away
    assert LESION_REACH_MM == 10.0
    labels = reconciled(network, LungAnatomy(lungs, body, airways, ()), (1.0, 1.0, 1.0))
    expected = [0] * 5 + [1] * 3 + [2, 3] + [1] * 5 + [3, 0, 0, 3, 3] + [0] * 10
    assert labels.flatten().tolist() == expected


def test_lung_without_air_is_high_opacity_whatever_the_network_says():
    shape = (1, 9, 30)
    lungs = np.ones(shape, np.uint8)
    decisions = np.zeros(shape, np.uint8)
    decisions[..., 5:15] = AIRLESS_LUNG.value
    decisions[..., 20:25] = LEFT_OUT.value
    hu = np.full(shape, -850, np.int16)
    hu[..., 5:25] = 40
    hu[..., 10] = -700  # a bronchus
    network = np.zeros(shape, np.uint8)
    network[..., 12:18] = GGO.value
    nothing = np.zeros(shape, bool)
    anatomy = LungAnatomy(lungs, ~nothing, nothing, (), decisions)
    # Voxels so large that no part of the lungs is wide enough to be dense by itself.
    labels = joined_with_lungs(network, hu, anatomy, (30.0, 30.0, 30.0))
    expected = [1] * 5 + [3] * 5 + [1] + [3] * 4 + [2] * 3 + [1] * 12
    assert labels[0, 4].tolist() == expected


def test_what_was_left_out_of_the_lungs_does_not_come_back_as_lesion():
    shape = (1, 1, 20)
    lungs = np.zeros(shape, np.uint8)
    lungs[..., :10] = 1
    decisions = np.zeros(shape, np.uint8)
    decisions[..., 12:14] = LEFT_OUT.value
    network = np.zeros(shape, np.uint8)
    network[..., 8:16] = HIGH_OPACITY.value
    nothing = np.zeros(shape, bool)
    anatomy = LungAnatomy(lungs, ~nothing, nothing, (), decisions)
    labels = reconciled(network, anatomy, (1.0, 1.0, 1.0))
    assert labels.flatten().tolist() == [1] * 8 + [3] * 4 + [0, 0, 3, 3] + [0] * 4


def test_labels_are_decided_between_three_then_by_the_kind_of_lesion():
    assert LESION_MARGIN == 0.4
    probabilities = torch.tensor(
        [
            # background, normal, GGO, high opacity
            [0.6, 0.3, 0.1, 0.0],
            [0.1, 0.65, 0.13, 0.12],  # lesion 0.25, not above 0.4 of 0.65
            [0.1, 0.6, 0.16, 0.14],  # lesion 0.30, above 0.4 of 0.6
            [0.1, 0.4, 0.3, 0.2],  # lesion together beats normal, though neither kind does
            [0.1, 0.4, 0.2, 0.3],
        ]
    ).T[:, None, :]
    assert decide_labels(probabilities).flatten().tolist() == [0, 1, 2, 2, 3]


def test_a_gpu_says_what_the_cpu_says(gpu):
    hu, anatomy = small_scan()
    on_cpu = lesion_probabilities(hu, SPACING_MM, anatomy, small_model(), "cpu")
    on_gpu = lesion_probabilities(hu, SPACING_MM, anatomy, small_model(), gpu)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.01)


def test_probability_is_kept_only_where_asked_for_and_decides_as_the_labels_do():
    hu, anatomy = small_scan()
    plain = segment_lesions(hu, SPACING_MM, anatomy, small_model(), "cpu")
    kept = segment_lesions(hu, SPACING_MM, anatomy, small_model(), "cpu", keep_probability=True)
    assert plain.probability is None
    assert np.array_equal(plain.labels, kept.labels)
    assert kept.probability is not None
    assert kept.probability.dtype == np.uint8
    inside = anatomy.lungs > 0
    lesion = is_lesion(kept.labels[inside])
    assert 0 < lesion.sum() < lesion.size
    # Dense lung beside lesions, which a rule adds, is high opacity the network did not see.
    assert lesion[kept.probability[inside] > DECISION_CODE].all()
    assert (kept.labels[inside] == HIGH_OPACITY.value)[
        lesion & (kept.probability[inside] <= DECISION_CODE)
    ].all()
