"""What one process of `scaling.py` measures; prints its figures as one line of JSON.

    python Testing/Benchmarks/scaling_steps.py WHAT SLICES DEVICE

WHAT is one of `MEASURED`. The scan is the sample chest, drawn anew on 512×512 pixels and as many
slices as are wanted, all of them over its full height: a chest in thinner slices, not a longer one.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SAMPLE = (
    Path(__file__).resolve().parents[2]
    / "CovidLungQuant/Resources/SampleData/chest-with-painted-lesions.nrrd"
)
SIZE = 512
AIR_HU = -1024

Figures = dict[str, float]


def a_chest(slice_count: int) -> Any:
    """The sample chest as a `CTVolume` of (slice_count, 512, 512) voxels."""
    from scipy import ndimage

    from CovidLungQuantLib.ct import CTVolume, Geometry, lps_oriented, read_ct

    chest, _ = lps_oriented(read_ct(SAMPLE))
    x_mm, _, z_mm = chest.geometry.spacing_mm
    depth, _, width = chest.hu.shape
    zoom = SIZE / width
    planes = [ndimage.zoom(plane.astype(np.float32), zoom, order=1) for plane in chest.hu]
    first = (SIZE - planes[0].shape[0]) // 2
    rows = slice(first, first + planes[0].shape[0])
    hu = np.full((slice_count, SIZE, SIZE), AIR_HU, np.int16)
    places = np.linspace(0, depth - 1, slice_count)
    for index, place in enumerate(places):
        low = min(int(place), depth - 2)
        mixed = planes[low] + (place - low) * (planes[low + 1] - planes[low])
        hu[index, rows] = np.rint(mixed)
    spacing_mm = (x_mm / zoom, x_mm / zoom, z_mm * (depth - 1) / (slice_count - 1))
    return CTVolume(hu, Geometry(hu.shape, spacing_mm, (0.0, 0.0, 0.0), np.eye(3)), "chest")


def peak_mib() -> float:
    """The most memory this process ever held; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def measured(name: str, device: str, figures: dict[str, Figures]) -> Iterator[None]:
    """Note seconds, CPU seconds and peaks of memory (MiB) of what is done inside, by a name."""
    import torch

    on_gpu = device == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start, cpu_start = time.perf_counter(), time.process_time()
    yield
    if on_gpu:
        torch.cuda.synchronize()
    figures[name] = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "peak_mib": peak_mib(),
    }
    if on_gpu:
        figures[name]["gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20


def whole(slice_count: int, device: str) -> dict[str, Figures]:
    """Loading the libraries, and a run from a scan to its numbers."""
    figures: dict[str, Figures] = {}
    start, cpu_start = time.perf_counter(), time.process_time()
    from CovidLungQuantLib.pipeline import quantify
    from CovidLungQuantLib.quantification import Options

    figures["loading libraries"] = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
    }
    ct = a_chest(slice_count)
    _warm_up(device)
    with measured("whole run", device, figures):
        quantify(ct, Options(device=device))
    return figures


def steps(slice_count: int, device: str) -> dict[str, Figures]:
    """The steps of a run one by one; of the lesions also what the network alone takes."""
    from CovidLungQuantLib.anatomy.lobes import segment_lobes
    from CovidLungQuantLib.anatomy.lungs import segment_lungs
    from CovidLungQuantLib.lesions.inference import segment_lesions
    from CovidLungQuantLib.lesions.kinds import DENSITY, tell_kinds_apart
    from CovidLungQuantLib.lesions.lesion_model import load_model
    from CovidLungQuantLib.pipeline import measure

    ct = a_chest(slice_count)
    spacing_mm = ct.geometry.spacing_mm
    model = load_model()
    _warm_up(device)
    figures: dict[str, Figures] = {}
    with measured("lungs", device, figures):
        anatomy = segment_lungs(ct.hu, spacing_mm)
    with measured("lobes", device, figures):
        lobes = segment_lobes(ct.hu, anatomy.lungs, spacing_mm).lobes
    with measured("lesions", device, figures):
        found = segment_lesions(ct.hu, spacing_mm, anatomy, model, device)
        kinds = tell_kinds_apart(
            found.labels, ct.hu, spacing_mm, anatomy, DENSITY, None, device=found.device
        )
    with measured("measuring", device, figures):
        measure(ct, kinds.labels, lobes=lobes)
    return figures


def network(slice_count: int, device: str) -> dict[str, Figures]:
    """The lesion network as it is run, and read literally: all of a window anew for each slice.

    Both with the same weights, in the same way through; `agreement_percent` is of the voxels in the
    lungs, of the labels that come out.
    """
    from CovidLungQuantLib.anatomy.lungs import segment_lungs
    from CovidLungQuantLib.lesions.inference import segment_lesions
    from CovidLungQuantLib.lesions.lesion_model import load_model

    ct = a_chest(slice_count)
    spacing_mm = ct.geometry.spacing_mm
    anatomy = segment_lungs(ct.hu, spacing_mm)
    model = load_model()
    literal = replace(model, network=_literal(model.network))
    _warm_up(device)
    figures: dict[str, Figures] = {}
    labels = {}
    for name, used in (("network", model), ("network, literally", literal)):
        inside = _Stopwatch(device)
        with inside.around(type(used.network)):
            labels[name] = segment_lesions(ct.hu, spacing_mm, anatomy, used, device).labels
        figures[name] = {"seconds": inside.seconds, "cpu_seconds": inside.cpu_seconds}
    lungs = anatomy.lungs > 0
    same = labels["network"][lungs] == labels["network, literally"][lungs]
    figures["network, literally"]["agreement_percent"] = 100.0 * float(same.mean())
    return figures


class _Stopwatch:
    """Seconds spent in a network's `see_slices` and `attend`."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = self.cpu_seconds = 0.0

    @contextmanager
    def around(self, network_class: type) -> Iterator[None]:
        kept = {name: getattr(network_class, name) for name in ("see_slices", "attend")}
        for name, method in kept.items():
            setattr(network_class, name, self._timed(method))
        try:
            yield
        finally:
            for name, method in kept.items():
                setattr(network_class, name, method)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            figures: dict[str, Figures] = {}
            with measured("call", self.device, figures):
                answer = method(*arguments)
            self.seconds += figures["call"]["seconds"]
            self.cpu_seconds += figures["call"]["cpu_seconds"]
            return answer

        return timed


def _literal(inner: Any) -> Any:
    """A network that gives each window to `inner` by itself, in float32, as the paper has it."""
    from torch import Tensor, nn

    class Slices(NamedTuple):
        slices: Tensor

    class LiteralNetwork(nn.Module):
        Seen = Slices

        def __init__(self) -> None:
            super().__init__()
            self.config = inner.config
            plain = copy.deepcopy(inner).eval()
            plain._attention_precision = nullcontext
            # Out of sight of what makes networks fast.
            self.hidden = (plain,)

        def to(self, *arguments: Any, **options: Any) -> Any:
            self.hidden[0].to(*arguments, **options)
            return self

        def see_slices(self, slices: Tensor) -> Slices:
            return Slices(slices)

        def attend(self, seen: Slices, windows: Tensor) -> Any:
            import torch

            alone = torch.arange(windows.shape[1], device=windows.device)[None]
            answers = [self.hidden[0](seen.slices[window], alone) for window in windows]
            return type(answers[0])(*(torch.cat(parts) for parts in zip(*answers, strict=True)))

    return LiteralNetwork()


def lungmask(slice_count: int, device: str) -> dict[str, Figures]:
    """The network of lungmask's R231 with random weights: each slice at 256×256, 20 at once.

    One batch of 20 is timed and multiplied, as all batches take as long.
    """
    import torch

    unet = _file_of_lungmask("resunet").UNet(
        n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False
    )
    unet = unet.eval().to(device)
    _warm_up(device)
    figures: dict[str, Figures] = {}
    batch = torch.rand(20, 1, 256, 256)
    name = "lungmask R231, network alone"
    with measured(name, device, figures), torch.inference_mode():
        unet(batch.to(device)).argmax(dim=1).to(torch.uint8).cpu()
    for figure in ("seconds", "cpu_seconds"):
        figures[name][figure] *= slice_count / len(batch)
    return figures


def _file_of_lungmask(name: str) -> Any:
    """A file of the package, without what the package itself needs to be imported."""
    package = find_spec("lungmask")
    if package is None or package.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'lungmask'", name="lungmask")
    file = Path(package.submodule_search_locations[0]) / f"{name}.py"
    found = spec_from_file_location(name, file)
    assert found is not None and found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def monai(slice_count: int, device: str) -> dict[str, Figures]:
    """MONAI's 3D U-Net with random weights and a sliding window, lungs' box at 1.5 mm."""
    import torch
    from monai.inferers import sliding_window_inference
    from monai.networks.nets import UNet

    unet = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=3,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )
    unet = unet.eval().to(device)
    _warm_up(device)
    figures: dict[str, Figures] = {}
    # 300 × 240 × 330 mm: as large whatever the slices are.
    volume = torch.rand(1, 1, 200, 160, 220)
    with measured("MONAI 3D U-Net, network alone", device, figures), torch.inference_mode():
        sliding_window_inference(
            volume, (96, 96, 96), 4, unet, overlap=0.25, sw_device=device, device="cpu"
        )
    return figures


def _warm_up(device: str) -> None:
    """Have a GPU ready, so that its start is not counted."""
    if device == "cuda":
        import torch

        torch.nn.functional.conv2d(
            torch.rand(1, 1, 64, 64, device=device), torch.rand(1, 1, 3, 3, device=device)
        )
        torch.cuda.synchronize()


MEASURED: dict[str, Callable[[int, str], dict[str, Figures]]] = {
    "whole": whole,
    "steps": steps,
    "network": network,
    "lungmask": lungmask,
    "monai": monai,
}


if __name__ == "__main__":
    print(json.dumps(MEASURED[sys.argv[1]](int(sys.argv[2]), sys.argv[3])))
