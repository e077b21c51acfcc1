"""From a CT to a label map: the network slice by slice, then one rule that joins it with the lungs.

Slices stream through: memory does not grow with the length of the scan beyond the CT and its label
map. `preprocessing` states how the 11 slices of a window are chosen at any slice spacing. What is
done to voxels is done by PyTorch where the network runs: the scan goes to a GPU once, the label map
comes back once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError
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
from CovidLungQuantLib.lesions.window_runner import WindowRunner, is_out_of_memory
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
    scan = _Scan(hu, spacing_mm, anatomy)

    def segment(device: str) -> LesionSegmentation:
        search = _Search(scan, WindowRunner(model, device, mirror))
        search.find(progress, keep_probability)
        labels = search.finished_labels(polling(progress, 1.0, "Joining lungs and lesions"))
        return LesionSegmentation(
            labels,
            tuple(search.runner.warnings),
            device,
            None if search.codes is None else search.on_whole_scan(search.codes),
        )

    result, warnings = _where_memory_is(segment, choose_device(device))
    return replace(result, warnings=(*result.warnings, *warnings))


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
    result = np.zeros((len(hu), CLASS_COUNT, *hu.shape[1:]), np.float16)
    result[:, BACKGROUND_VALUE] = 1.0
    scan = _Scan(hu, spacing_mm, anatomy)

    def fill(device: str) -> np.ndarray:
        search = _Search(scan, WindowRunner(model, device, mirror))
        rows, columns = search.box.slices
        for natives, planes in search.planes(no_progress):
            for native, plane in zip(natives, planes, strict=True):
                drawn = drawn_on_box(plane[None], search.box)[0]
                result[native][:, rows, columns] = drawn.half().cpu().numpy()
        return result

    return _where_memory_is(fill, choose_device(device))[0]


def _where_memory_is(
    work: Callable[[str], Result], device: str
) -> tuple[Result, tuple[ScanWarning, ...]]:
    """What some work on a device gives: on the CPU, with a warning, if the device is too small.

    Raises:
        OutOfResourcesError: the computer's own memory ran out.
    """
    try:
        with torch.inference_mode():
            return work(device), ()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if device == "cpu":
            raise OutOfResourcesError(
                "There is not enough memory to run the network; close other programs and try again."
            ) from error
    # Only now, without the error, is nothing left that holds the device's memory.
    if device == "cuda":
        torch.cuda.empty_cache()
    result, _ = _where_memory_is(work, "cpu")
    text = f"The {device.upper()} device ran out of memory; the network ran on the CPU."
    return result, (ScanWarning("cpu_fallback", text),)


class _Scan(NamedTuple):
    """What lesions are looked for in; as of `segment_lesions`."""

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    anatomy: LungAnatomy


class _Search:
    """The scan and what is found in it, on the device where voxels are worked on."""

    def __init__(self, scan: _Scan, runner: WindowRunner) -> None:
        self.runner = runner
        config = runner.network.config
        hu, spacing_mm, anatomy = scan
        # Not all that is done to voxels can be done on Apple's GPUs.
        self._device = "cuda" if runner.device == "cuda" else "cpu"
        self._shape = hu.shape
        self._hu = as_tensor(hu).to(self._device)
        lungs_box = box_of_lungs(anatomy.lungs)
        self.box = in_plane_box(hu, anatomy.lungs, spacing_mm, config)
        self.region = lung_region(self._hu, anatomy, spacing_mm, lungs_box)
        self._plan = plan_slices(len(hu), spacing_mm[2], lungs_box[0], config)
        self.labels = torch.zeros_like(self.region.lungs)
        self.codes: Tensor | None = None

    def planes(self, progress: ProgressCallback) -> Iterator[tuple[list[int], Tensor]]:
        """Slices near the lungs and what the network says of them, as `native_planes`."""
        load = slices_loader(self._hu, self._plan, self.box, self.runner.network.config)
        batches = self.runner.run(load, self._plan.windows, self._plan.targets, progress)
        return native_planes(batches, self._plan)

    def find(self, progress: ProgressCallback, keep_probability: bool) -> None:
        """Let the network decide each voxel of the region; fills `labels`, and `codes` if asked."""
        if keep_probability:
            self.codes = torch.zeros_like(self.region.lungs)
        first = self.region.box[0].start
        step = SLICES_AT_ONCE[self._device]
        for natives, planes in self.planes(progress):
            places = torch.tensor(natives) - first
            worth = (places >= 0) & (places < len(self.labels))
            if not keep_probability:
                worth &= can_be_lesion(planes).cpu()
            for some in torch.nonzero(worth).flatten().split(step):
                if len(some):
                    self._decide(places[some].tolist(), planes[some.to(planes.device)])

    def _decide(self, places: list[int], planes: Tensor) -> None:
        """Fill some slices of the region, of which the network says `planes`."""
        (rows, columns), seen = _common_part(self.region.box[1:], self.box.slices)
        drawn = drawn_on_box(planes.to(self._device), self.box)[:, :, seen[0], seen[1]]
        decided = decide_labels(drawn, class_axis=1)
        self.labels[places, rows, columns] = decided
        if self.codes is not None:
            lesion, other = lesion_and_other(drawn, class_axis=1)
            codes = probability_codes(lesion, other, decided >= GGO.value)
            self.codes[places, rows, columns] = codes

    def finished_labels(self, poll: Poll) -> np.ndarray:
        """The label map of the whole scan; once only."""
        return self.on_whole_scan(finished_labels(self.labels, self.region, poll))

    def on_whole_scan(self, values: Tensor) -> np.ndarray:
        """Values of the region as an array of the whole scan."""
        return self.region.on_whole_scan(values, self._shape)


def _common_part(
    one: tuple[slice, ...], other: tuple[slice, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What two boxes have in common, counted from the start of either."""
    starts = [max(a.start, b.start) for a, b in zip(one, other, strict=True)]
    stops = [min(a.stop, b.stop) for a, b in zip(one, other, strict=True)]

    def within(box: tuple[slice, ...]) -> tuple[slice, ...]:
        return tuple(
            slice(start - part.start, max(start, stop) - part.start)
            for start, stop, part in zip(starts, stops, box, strict=True)
        )

    return within(one), within(other)
