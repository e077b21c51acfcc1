"""From a CT to a label map: the network slice by slice, then one rule that joins it with the lungs.

Slices stream through: memory does not grow with the length of the scan beyond the CT and its label
map. `preprocessing` states how the 11 slices of a window are chosen at any slice spacing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError
from CovidLungQuantLib.labels import (
    BACKGROUND_VALUE,
    CLASS_COUNT,
    GGO,
    HIGH_OPACITY,
    LEFT_OUT,
    NORMAL_LUNG,
    is_lesion,
)
from CovidLungQuantLib.lesions.consolidation import DENSE_HU, dense_lung_beside_lesions
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.lesions.networks.blocks import class_probabilities
from CovidLungQuantLib.lesions.preprocessing import (
    InPlaneBox,
    context_indices,
    group_bounds,
    group_centres,
    in_plane_box,
    slices_per_group,
    window_indices,
    working_slice,
    working_step_mm,
)
from CovidLungQuantLib.lesions.probability import LESION_MARGIN, probability_codes
from CovidLungQuantLib.models.network import LesionOutput
from CovidLungQuantLib.models.polling import polled
from CovidLungQuantLib.progress import (
    Poll,
    ProgressCallback,
    no_poll,
    no_progress,
    polling,
)

DEVICE_CHOICES = ("auto", "cpu", "cuda", "mps")
WINDOWS_PER_BATCH = {"cpu": 8, "cuda": 32, "mps": 8}
# The network looks at slices this far above and below the lungs found beforehand.
MARGIN_MM = 15.0
# A lesion that hides the lung's edge may reach this far beyond the lungs found beforehand.
LESION_REACH_MM = 10.0
REACH_GRID_MM = 3.0


@dataclass(frozen=True, eq=False)
class LesionSegmentation:
    """The result on the grid of the CT it was made from.

    Attributes:
        labels: uint8 (z, y, x), values of `labels.py`.
        warnings: such as a fall-back to the CPU.
        device: where the network ran.
        probability: uint8 (z, y, x), codes of `lesions.probability`; None where not kept.
    """

    labels: np.ndarray
    warnings: tuple[ScanWarning, ...]
    device: str
    probability: np.ndarray | None = None


def choose_device(choice: str) -> str:
    """The device for `choice`; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        BadInputError: not a known device, or this computer has none.
    """
    available = available_devices()
    if choice == "auto":
        return available[-1]
    if choice not in DEVICE_CHOICES:
        raise BadInputError(f"“{choice}” is not a device; use one of {', '.join(DEVICE_CHOICES)}.")
    if choice not in available:
        raise BadInputError(
            f"This computer offers PyTorch no {choice.upper()} device; use --device auto or cpu."
        )
    return choice


def available_devices() -> list[str]:
    """Devices PyTorch can use here, slowest first."""
    devices = ["cpu"]
    if torch.backends.mps.is_available():
        devices.append("mps")
    if torch.cuda.is_available():
        devices.append("cuda")
    return devices


def segment_lesions(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    anatomy: LungAnatomy,
    model: LoadedModel,
    device: str = "auto",
    progress: ProgressCallback = no_progress,
    mirror: bool = False,
    keep_probability: bool = False,
) -> LesionSegmentation:
    """Label every voxel background, normal lung, GGO or high opacity, by the network's classes.

    Args:
        hu: int16 (z, y, x), upright (x to the patient's left, y to the back, z to the head).
        spacing_mm: voxel size (x, y, z).
        anatomy: lungs, body and airways of the same scan.
        model: from `load_model`.
        device: "auto", "cpu", "cuda" or "mps".
        progress: called after every batch; may raise `Cancelled`.
        mirror: show the network the mirror image too and take the mean (test-time augmentation);
            takes twice the time.
        keep_probability: keep how probable lesion is; one more byte a voxel.

    Raises:
        BadInputError: unknown or missing device, or the network's answer is not finite.
        OutOfResourcesError: memory ran out even for single windows on the CPU.
    """
    runner = _WindowRunner(model, choose_device(device), mirror)
    box = in_plane_box(hu, anatomy.lungs > 0, spacing_mm, model.config)
    network_labels = np.zeros(hu.shape, np.uint8)
    kept = np.zeros(hu.shape, np.uint8) if keep_probability else None
    for index, probabilities in _native_slices(hu, spacing_mm, anatomy, box, runner, progress):
        decided = decide_labels(probabilities).numpy()
        network_labels[index][box.slices] = decided
        if kept is not None:
            lesion, other = (part.numpy() for part in lesion_and_other(probabilities))
            kept[index][box.slices] = probability_codes(lesion, other, is_lesion(decided))
    poll = polling(progress, 1.0, "Joining lungs and lesions")
    labels = finished_labels(network_labels, hu, anatomy, spacing_mm, poll)
    return LesionSegmentation(labels, tuple(runner.warnings), runner.device, kept)


def lesion_probabilities(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    anatomy: LungAnatomy,
    model: LoadedModel,
    device: str = "auto",
    mirror: bool = False,
) -> np.ndarray:
    """How probable each class is, as the network alone sees it; arguments as `segment_lesions`.

    Returns:
        float16 (z, class, y, x), classes by their values in `labels.py`; background where the
        network did not look.
    """
    runner = _WindowRunner(model, choose_device(device), mirror)
    box = in_plane_box(hu, anatomy.lungs > 0, spacing_mm, model.config)
    result = np.zeros((len(hu), CLASS_COUNT, *hu.shape[1:]), np.float16)
    result[:, BACKGROUND_VALUE] = 1.0
    rows, columns = box.slices
    for index, probabilities in _native_slices(hu, spacing_mm, anatomy, box, runner, no_progress):
        result[index][:, rows, columns] = probabilities.numpy()
    return result


def finished_labels(
    network_labels: np.ndarray,
    hu: np.ndarray,
    anatomy: LungAnatomy,
    spacing_mm: tuple[float, float, float],
    poll: Poll = no_poll,
) -> np.ndarray:
    """The network's labels joined with the lungs, and what it overlooked beside its lesions.

    Args:
        network_labels: uint8 (z, y, x), from `decide_labels`.
        hu: int16 (z, y, x).
        anatomy: of the same grid.
        spacing_mm: voxel size (x, y, z).
        poll: called between the steps; may raise `Cancelled`.

    Returns:
        uint8 (z, y, x), values of `labels.py`.
    """
    labels = reconcile(network_labels, anatomy, spacing_mm, poll)
    poll()
    overlooked = dense_lung_beside_lesions(
        hu, anatomy.lungs > 0, is_lesion(labels), spacing_mm, poll
    )
    poll()
    labels[overlooked] = HIGH_OPACITY.value
    if anatomy.decisions is not None:
        # Lung without air is high opacity, whatever the network made of it.
        labels[anatomy.airless & (hu > DENSE_HU)] = HIGH_OPACITY.value
    return labels


def reconcile(
    network_labels: np.ndarray,
    anatomy: LungAnatomy,
    spacing_mm: tuple[float, float, float],
    poll: Poll = no_poll,
) -> np.ndarray:
    """Join the network's labels with the lungs found beforehand. The rule:

    Inside the lungs found beforehand every voxel is lung: GGO or high opacity where the network
    says so, else normal. Outside them, what the network calls GGO or high opacity is added where
    it lies in the body, not in the airways, at most `LESION_REACH_MM` from those lungs
    (consolidation that hides the lung's edge), and where the lung network left nothing out.
    Nothing else is lung.

    Args:
        network_labels: uint8 (z, y, x).
        anatomy: of the same grid.
        spacing_mm: voxel size (x, y, z).
        poll: called between the steps; may raise `Cancelled`.

    Returns:
        uint8 (z, y, x).
    """
    lungs = anatomy.lungs > 0
    lesion = is_lesion(network_labels)
    beyond = lesion & ~lungs & anatomy.body & ~anatomy.airways
    if anatomy.decisions is not None:
        beyond &= anatomy.decisions != LEFT_OUT.value
    poll()
    beyond &= _within_reach(lungs, spacing_mm, LESION_REACH_MM)
    poll()
    labels = np.where(lungs, np.uint8(NORMAL_LUNG.value), np.uint8(BACKGROUND_VALUE))
    keep = (lesion & lungs) | beyond
    labels[keep] = network_labels[keep]
    return labels


def _within_reach(
    mask: np.ndarray, spacing_mm: tuple[float, float, float], reach_mm: float
) -> np.ndarray:
    """Voxels at most about `reach_mm` from `mask`; worked out on a grid of `REACH_GRID_MM`."""
    steps = [max(1, int(REACH_GRID_MM / spacing)) for spacing in reversed(spacing_mm)]
    coarse = mask[:: steps[0], :: steps[1], :: steps[2]]
    if not coarse.any():
        return np.zeros_like(mask)
    sampling = [step * spacing for step, spacing in zip(steps, reversed(spacing_mm), strict=True)]
    near = ndimage.distance_transform_edt(~coarse, sampling=sampling) <= reach_mm
    for axis, step in enumerate(steps):
        near = np.repeat(near, step, axis=axis) if step > 1 else near
    return near[: mask.shape[0], : mask.shape[1], : mask.shape[2]]


def decide_labels(probabilities: Tensor) -> Tensor:
    """Background, normal lung or lesion by `LESION_MARGIN`; then the more probable kind of lesion.

    Args:
        probabilities: (classes, …), such as (classes, y, x).

    Returns:
        uint8 (…).
    """
    lesion, rival = lesion_and_other(probabilities)
    kind = torch.where(
        probabilities[HIGH_OPACITY.value] > probabilities[GGO.value],
        HIGH_OPACITY.value,
        GGO.value,
    )
    other = torch.where(
        probabilities[NORMAL_LUNG.value] > probabilities[BACKGROUND_VALUE],
        NORMAL_LUNG.value,
        BACKGROUND_VALUE,
    )
    return torch.where(lesion > LESION_MARGIN * rival, kind, other).to(torch.uint8)


def lesion_and_other(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Return how probable lesion of any kind is, and its rival: background or normal lung."""
    return (
        probabilities[GGO.value] + probabilities[HIGH_OPACITY.value],
        torch.maximum(probabilities[BACKGROUND_VALUE], probabilities[NORMAL_LUNG.value]),
    )


def _native_slices(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    anatomy: LungAnatomy,
    box: InPlaneBox,
    runner: _WindowRunner,
    progress: ProgressCallback,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (slice index, probabilities (classes, y, x) of the box) for slices near the lungs.

    Native slices between the centres of two working slices take the linear mix of both.
    """
    config = runner.network.config
    group = slices_per_group(spacing_mm[2], config)
    bounds = group_bounds(len(hu), group)
    centres = group_centres(len(hu), group)
    step_mm = working_step_mm(spacing_mm[2], config)
    windows = window_indices(len(bounds), step_mm, config)
    contexts = context_indices(len(bounds), step_mm, config)
    occupied = np.flatnonzero(anatomy.lungs.any(axis=(1, 2)))
    margin = MARGIN_MM / spacing_mm[2]
    first, last = occupied[0] - margin, occupied[-1] + margin
    targets = [
        index for index, (start, stop) in enumerate(bounds) if stop - 1 >= first and start <= last
    ]
    shape = (box.y1 - box.y0, box.x1 - box.x0)

    @functools.lru_cache(maxsize=2 * config.context_slices)
    def prepared(index: int) -> np.ndarray:
        return working_slice(hu, bounds[index], box, config)

    planes = runner.run(
        lambda index: np.stack([prepared(int(neighbour)) for neighbour in contexts[index]]),
        windows,
        targets,
        progress,
    )
    previous: tuple[float, Tensor] | None = None
    next_native = bounds[targets[0]][0]
    for target, small in planes:
        plane = torch.nn.functional.interpolate(
            small[None], size=shape, mode="bilinear", align_corners=False
        )[0]
        centre = centres[target]
        stop = bounds[target][1] if target == targets[-1] else int(np.floor(centre)) + 1
        for native in range(next_native, stop):
            if previous is None or native >= centre:
                mixed = plane
            else:
                weight = (native - previous[0]) / (centre - previous[0])
                mixed = torch.lerp(previous[1], plane, weight)
            yield native, mixed
        next_native = max(next_native, stop)
        previous = (centre, plane)


class _WindowRunner:
    """Runs windows in batches, seeing each slice once and forgetting it when passed."""

    def __init__(self, model: LoadedModel, device: str, mirror: bool) -> None:
        self.mirror = mirror
        self.warnings: list[ScanWarning] = []
        self.name = model.name
        self.network = model.network.eval()
        self._use(device)

    def _use(self, device: str) -> None:
        self.device = device
        self.batch_size = WINDOWS_PER_BATCH[device]
        self.network.to(device)
        self._seen: dict[int, tuple[tuple[Tensor, ...], ...]] = {}

    @torch.inference_mode()
    def run(
        self,
        load_slice: Callable[[int], np.ndarray],
        windows: np.ndarray,
        targets: list[int],
        progress: ProgressCallback,
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (target, float32 probabilities (classes, size, size) on the CPU) in order."""
        done = 0
        while done < len(targets):
            message = f"Segmenting slice {done + 1} of {len(targets)} ({self.device})"
            poll = polling(progress, done / len(targets), message)
            batch = targets[done : done + self.batch_size]
            try:
                with polled(self.network, poll):
                    probabilities = self._run_batch(load_slice, windows[batch])
            except (torch.cuda.OutOfMemoryError, MemoryError) as error:
                self._use_less_memory(error)
                continue
            self._check_finite(probabilities)
            yield from zip(batch, probabilities, strict=True)
            done += len(batch)

    def _run_batch(self, load_slice: Callable[[int], np.ndarray], windows: np.ndarray) -> Tensor:
        needed, places = np.unique(windows, return_inverse=True)
        for index in [index for index in self._seen if index < needed[0]]:
            del self._seen[index]
        positions = torch.from_numpy(places.reshape(windows.shape)).to(self.device)
        with torch.autocast(self.device, dtype=torch.float16, enabled=self.device == "cuda"):
            self._see([int(index) for index in needed if int(index) not in self._seen], load_slice)
            views = zip(*(self._seen[int(index)] for index in needed), strict=True)
            probabilities = [
                class_probabilities(self._attend(view, positions).logits) for view in views
            ]
        if self.mirror:
            plain, mirrored = probabilities
            return ((plain + mirrored.flip(-1)) / 2.0).cpu()
        return probabilities[0].cpu()

    def _check_finite(self, probabilities: Tensor) -> None:
        # NaN compares as false, which would pass for normal lung. One sum finds it anywhere.
        if not bool(torch.isfinite(probabilities.sum())):
            raise BadInputError(
                f"The network of the model {self.name} answers with numbers that are not finite; "
                "choose another model."
            )

    def _see(self, indices: list[int], load_slice: Callable[[int], np.ndarray]) -> None:
        """Show slices to the network, and their mirror images where asked for."""
        for start in range(0, len(indices), self.batch_size):
            some = indices[start : start + self.batch_size]
            new = torch.from_numpy(np.stack([load_slice(index) for index in some])).to(self.device)
            views = [new, new.flip(-1)] if self.mirror else [new]
            seen = [zip(*self.network.see_slices(view), strict=True) for view in views]
            self._seen.update(zip(some, zip(*seen, strict=True), strict=True))

    def _attend(self, view: tuple[tuple[Tensor, ...], ...], positions: Tensor) -> LesionOutput:
        """Run the windows of one view; `view` has a tuple for each slice."""
        parts = map(torch.stack, zip(*view, strict=True))
        return self.network.attend(self.network.Seen(*parts), positions)

    def _use_less_memory(self, error: Exception) -> None:
        """Halve the batch; from a single window on, go to the CPU; there, give up."""
        self._seen.clear()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        if self.batch_size > 1:
            self.batch_size //= 2
            self._warn(
                "smaller_batches", "Memory was short, so the network ran in smaller batches."
            )
        elif self.device != "cpu":
            self._warn(
                "cpu_fallback",
                f"The {self.device.upper()} device ran out of memory; the network ran on the CPU.",
            )
            self._use("cpu")
        else:
            raise OutOfResourcesError(
                "There is not enough memory to run the network; close other programs and try again."
            ) from error

    def _warn(self, code: str, message: str) -> None:
        if all(warning.code != code for warning in self.warnings):
            self.warnings.append(ScanWarning(code, message))
