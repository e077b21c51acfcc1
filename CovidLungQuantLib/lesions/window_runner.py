"""Runs a lesion network window by window: in batches, each slice seen once, as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.lesions.networks.blocks import class_probabilities
from CovidLungQuantLib.models.folding import folded, memory_layout
from CovidLungQuantLib.models.polling import polled
from CovidLungQuantLib.progress import ProgressCallback, polling

# On a CPU a batch should stay in its cache, on a GPU it should give every core something to do.
WINDOWS_PER_BATCH = {"cpu": 2, "cuda": 64, "mps": 8}

LoadSlices = Callable[[list[int], str], Tensor]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch says so in several ways, by the device."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    )


class WindowRunner:
    """Runs windows in batches, seeing each slice once and forgetting it when passed."""

    def __init__(self, model: LoadedModel, device: str, mirror: bool) -> None:
        """Make ready; arguments as of `segment_lesions`."""
        self.mirror = mirror
        self.warnings: list[ScanWarning] = []
        self.name = model.name
        self.network = folded(model.network).to(device)
        self.device = device
        self.batch_size = WINDOWS_PER_BATCH[device]
        self._seen = _SeenSlices()

    def run(
        self,
        load_slices: LoadSlices,
        windows: np.ndarray,
        targets: list[int],
        progress: ProgressCallback,
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Yield batches of targets and their probabilities, in order; under inference mode.

        Args:
            load_slices: what the network sees of some working slices, float32 (slices,
                context_slices, size, size), on the device named.
            windows: int64 (working slices, window_length).
            targets: the working slices to segment, rising.
            progress: called before each layer; may raise `Cancelled`.

        Yields:
            targets, and float32 (targets, classes, size, size) on `device`.

        Raises:
            BadInputError: the network's answer is not finite.
            MemoryError, RuntimeError: memory ran out for a single window (`is_out_of_memory`).
        """
        done = 0
        while done < len(targets):
            message = f"Segmenting slice {done + 1} of {len(targets)} ({self.device})"
            poll = polling(progress, done / len(targets), message)
            batch = targets[done : done + self.batch_size]
            try:
                with polled(self.network, poll):
                    probabilities = self._run_batch(load_slices, windows[batch])
            except (MemoryError, RuntimeError) as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
                self._use_less_memory()
                continue
            self._check_finite(probabilities)
            yield batch, probabilities
            done += len(batch)

    def _run_batch(self, load_slices: LoadSlices, windows: np.ndarray) -> Tensor:
        places = self._see(windows, load_slices)
        with self._precision():
            logits = [
                self.network.attend(seen, places).logits
                for seen in self._seen.views(self.network.Seen)
            ]
        probabilities = [class_probabilities(each) for each in logits]
        if self.mirror:
            plain, mirrored = probabilities
            return (plain + mirrored.flip(-1)) / 2.0
        return probabilities[0]

    def _see(self, windows: np.ndarray, load_slices: LoadSlices) -> Tensor:
        """Show new slices to the network, with their mirror images where asked for.

        Returns:
            `windows` as places among the slices kept.
        """
        new = self._seen.make_room(windows)
        for start in range(0, len(new), self.batch_size):
            some = new[start : start + self.batch_size]
            slices = load_slices(some, self.device)
            views = [slices, slices.flip(-1)] if self.mirror else [slices]
            with self._precision():
                self._seen.keep(some, [self.network.see_slices(view) for view in views])
        return torch.from_numpy(self._seen.places(windows)).to(self.device)

    def _precision(self) -> torch.autocast:
        """Half precision on CUDA, for the network alone."""
        return torch.autocast(self.device, dtype=torch.float16, enabled=self.device == "cuda")

    def _check_finite(self, probabilities: Tensor) -> None:
        # NaN compares as false, which would pass for normal lung. One sum finds it anywhere.
        if not bool(torch.isfinite(probabilities.sum())):
            raise BadInputError(
                f"The network of the model {self.name} answers with numbers that are not finite; "
                "choose another model."
            )

    def _use_less_memory(self) -> None:
        """Halve the batch, and say so once."""
        self._seen = _SeenSlices()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        self.batch_size //= 2
        if not self.warnings:
            text = "Memory was short, so the network ran in smaller batches."
            self.warnings.append(ScanWarning("smaller_batches", text))


class _SeenSlices:
    """What the network saw of the slices that the windows at hand need: a ring of places."""

    def __init__(self) -> None:
        self._size = 0
        self._held: dict[int, int] = {}
        # For each view (plain, mirrored) the tensors of a `Seen`, (places, …).
        self._rings: list[list[Tensor]] = []

    def make_room(self, windows: np.ndarray) -> list[int]:
        """Which slices of these windows are yet to be seen; those passed lose their places."""
        first, last = int(windows.min()), int(windows.max())
        if last - first >= self._size:
            self._grow(last - first + 1)
        self._held = {place: index for place, index in self._held.items() if first <= index <= last}
        held = set(self._held.values())
        return [index for index in np.unique(windows).tolist() if index not in held]

    def _grow(self, size: int) -> None:
        """Have `size` places; slices held move to where they now belong."""
        indices = list(self._held.values())
        for ring in self._rings:
            for part, old in enumerate(ring):
                ring[part] = _places_like(old, size)
                for index in indices:
                    ring[part][index % size] = old[index % self._size]
        self._held = {index % size: index for index in indices}
        self._size = size

    def keep(self, indices: list[int], views: list[tuple[Tensor, ...]]) -> None:
        """Keep what the network saw of some slices."""
        if not self._rings:
            self._rings = [[_places_like(part, self._size) for part in view] for view in views]
        for ring, view in zip(self._rings, views, strict=True):
            for kept, part in zip(ring, view, strict=True):
                for index, one in zip(indices, part, strict=True):
                    kept[index % self._size] = one
        self._held.update({index % self._size: index for index in indices})

    def places(self, windows: np.ndarray) -> np.ndarray:
        """Where the slices of some windows are kept."""
        return windows % self._size

    def views(self, kind: type) -> list[tuple[Tensor, ...]]:
        """All that is kept, plain and mirrored, as `kind`."""
        return [kind(*ring) for ring in self._rings]


def _places_like(part: Tensor, places: int) -> Tensor:
    """Room for `places` slices, laid out in memory as `part` (slices, …) is."""
    room = torch.zeros((places, *part.shape[1:]), dtype=part.dtype, device=part.device)
    return room.contiguous(memory_format=memory_layout(part))
