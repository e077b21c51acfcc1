"""From a CT to a label map: the network slice by slice, then one rule that joins it with the lungs.

Slices stream through: memory does not grow with the length of the scan beyond the CT and its label
map. `preprocessing` states how the 11 slices of a window are chosen at any slice spacing. What is
done to voxels is done by PyTorch where the network runs: the scan goes to a GPU once, the label map
comes back once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import BACKGROUND_VALUE, CLASS_COUNT, GGO
from CovidLungQuantLib.lesions.deciding import (
    can_be_lesion,
    decide_labels,
    lesion_and_other,
    probability_codes,
)
from CovidLungQuantLib.lesions.joining import (
    as_tensor,
    box_of_lungs,
    finished_labels,
    lung_region,
)
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.lesions.masks import SLICES_AT_ONCE
from CovidLungQuantLib.lesions.native_slices import (
    drawn_on_box,
    native_planes,
    plan_slices,
    slices_loader,
)
from CovidLungQuantLib.lesions.preprocessing import in_plane_box
from CovidLungQuantLib.lesions.window_runner import (
    WindowRunner,
    fall_back_warning,
    is_out_of_memory,
    no_memory,
)
from CovidLungQuantLib.progress import Poll, ProgressCallback, no_progress, polling

Result = TypeVar("Result")

DEVICE_CHOICES = ("auto", "cpu", "cuda", "mps")


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
    search = _Search(hu, spacing_mm, anatomy, WindowRunner(model, choose_device(device), mirror))
    with torch.inference_mode():
        search.find(progress, keep_probability)
        labels = search.finished_labels(polling(progress, 1.0, "Joining lungs and lesions"))
        return LesionSegmentation(
            labels,
            tuple(search.runner.warnings),
            search.runner.device,
            None if search.codes is None else search.on_whole_scan(search.codes),
        )


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
    search = _Search(hu, spacing_mm, anatomy, WindowRunner(model, choose_device(device), mirror))
    result = np.zeros((len(hu), CLASS_COUNT, *hu.shape[1:]), np.float16)
    result[:, BACKGROUND_VALUE] = 1.0
    rows, columns = search.box.slices
    with torch.inference_mode():
        for natives, planes in search.planes(no_progress):
            for native, plane in zip(natives, planes, strict=True):
                drawn = drawn_on_box(plane[None], search.box)[0]
                result[native][:, rows, columns] = drawn.half().cpu().numpy()
    return result


class _Search:
    """The scan and what is found in it, on the device where voxels are worked on."""

    def __init__(
        self,
        hu: np.ndarray,
        spacing_mm: tuple[float, float, float],
        anatomy: LungAnatomy,
        runner: WindowRunner,
    ) -> None:
        self.runner = runner
        self._scan = hu, anatomy, spacing_mm
        config = runner.network.config
        self.box = in_plane_box(hu, anatomy.lungs, spacing_mm, config)
        self._lungs_box = box_of_lungs(anatomy.lungs)
        self._plan = plan_slices(len(hu), spacing_mm[2], self._lungs_box[0], config)
        self.labels: Tensor | None = None
        self.codes: Tensor | None = None
        # Not all that is done to voxels can be done on Apple's GPUs.
        self._device = "cuda" if runner.device == "cuda" else "cpu"
        self.where_memory_is(self._bring)

    def _bring(self) -> None:
        """Have everything on the device."""
        hu, anatomy, spacing_mm = self._scan
        self._hu = as_tensor(hu).to(self._device)
        self.region = lung_region(self._hu, anatomy, spacing_mm, self._lungs_box)
        self._load_slices = slices_loader(
            self._hu, self._plan, self.box, self.runner.network.config
        )
        if self.labels is not None:
            self.labels = self.labels.to(self._device)
        if self.codes is not None:
            self.codes = self.codes.to(self._device)

    def where_memory_is(self, action: Callable[[], Result]) -> Result:
        """What an action gives that may be done again: on the CPU, if the device has no room.

        Raises:
            OutOfResourcesError: nor has the computer.
        """
        try:
            return action()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if self._device == "cpu":
                raise no_memory() from error
        self.runner.warn(*fall_back_warning(self._device))
        self._device = "cpu"
        self._bring()
        torch.cuda.empty_cache()
        return action()

    def planes(self, progress: ProgressCallback) -> Iterator[tuple[list[int], Tensor]]:
        """Slices near the lungs and what the network says of them, as `native_planes`."""
        batches = self.runner.run(
            lambda indices, device: self._load_slices(indices, device),
            self._plan.windows,
            self._plan.targets,
            progress,
        )
        return native_planes(batches, self._plan)

    def find(self, progress: ProgressCallback, keep_probability: bool) -> None:
        """Let the network decide each voxel of the region; fills `labels`, and `codes` if asked."""
        self.labels = torch.zeros_like(self.region.lungs)
        self.codes = torch.zeros_like(self.region.lungs) if keep_probability else None
        first = self.region.box[0].start
        for natives, planes in self.planes(progress):
            places = [native - first for native in natives]
            worth = [0 <= place < len(self.region.lungs) for place in places]
            if not keep_probability:
                possible = can_be_lesion(planes).tolist()
                worth = [here and found for here, found in zip(worth, possible, strict=True)]
            chosen = [place for place, is_worth in enumerate(worth) if is_worth]
            step = SLICES_AT_ONCE[self._device]
            for start in range(0, len(chosen), step):
                some = chosen[start : start + step]
                self.where_memory_is(
                    functools.partial(self._decide, [places[one] for one in some], planes[some])
                )

    def _decide(self, places: list[int], planes: Tensor) -> None:
        """Fill some slices of the region, of which the network says `planes`."""
        assert self.labels is not None
        inside, seen = _common_part(self.region.box[1:], self.box.slices)
        drawn = drawn_on_box(planes.to(self._device), self.box)[:, :, seen[0], seen[1]]
        decided = decide_labels(drawn, class_axis=1)
        self.labels[places, inside[0], inside[1]] = decided
        if self.codes is not None:
            lesion, other = lesion_and_other(drawn, class_axis=1)
            codes = probability_codes(lesion, other, decided >= GGO.value)
            self.codes[places, inside[0], inside[1]] = codes

    def finished_labels(self, poll: Poll) -> np.ndarray:
        """The label map of the whole scan."""

        def finish() -> np.ndarray:
            assert self.labels is not None
            # A copy, so that it can be done again elsewhere.
            labels = self.labels.clone() if self._device != "cpu" else self.labels
            return self.on_whole_scan(finished_labels(labels, self.region, poll))

        return self.where_memory_is(finish)

    def on_whole_scan(self, values: Tensor) -> np.ndarray:
        """Values of the region as an array of the whole scan."""
        return self.region.on_whole_scan(values, self._scan[0].shape)


def _common_part(
    first: tuple[slice, ...], second: tuple[slice, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What two ranges have in common on each axis, counted from the start of either."""
    parts = [
        (max(one.start, other.start), max(one.start, other.start, min(one.stop, other.stop)))
        for one, other in zip(first, second, strict=True)
    ]
    return tuple(
        tuple(
            slice(start - box.start, stop - box.start)
            for (start, stop), box in zip(parts, boxes, strict=True)
        )
        for boxes in (first, second)
    )  # type: ignore[return-value]
