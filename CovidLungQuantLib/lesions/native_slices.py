"""Between the slices of a scan and those that the network works on, on any device.

Thin slices are averaged on the way in (`preprocessing` has the rule); on the way out a slice
between the centres of two working slices takes the linear mix of what the network says of both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.lesions.preprocessing import (
    InPlaneBox,
    context_indices,
    group_bounds,
    group_centres,
    slices_per_group,
    window_indices,
    working_slice,
    working_step_mm,
)
from CovidLungQuantLib.models.network import LesionNetworkConfig

# The network looks at slices this far above and below the lungs found beforehand.
MARGIN_MM = 15.0


@dataclass(frozen=True, eq=False)
class SlicePlan:
    """Which slices are worked on.

    Attributes:
        bounds: first and past-the-last native slice of each working slice.
        centres: position of each working slice, in native slice indices.
        windows: int64 (working slices, window_length).
        contexts: int64 (working slices, context_slices).
        targets: working slices to segment, rising.
    """

    bounds: list[tuple[int, int]]
    centres: np.ndarray
    windows: np.ndarray
    contexts: np.ndarray
    targets: list[int]


def plan_slices(
    count: int, spacing_z_mm: float, lungs: slice, config: LesionNetworkConfig
) -> SlicePlan:
    """Plan a scan.

    Args:
        count: its slices.
        spacing_z_mm: distance between them.
        lungs: the slices with lungs.
        config: of the network.
    """
    group = slices_per_group(spacing_z_mm, config)
    step_mm = working_step_mm(spacing_z_mm, config)
    bounds = group_bounds(count, group)
    margin = MARGIN_MM / spacing_z_mm
    first, last = lungs.start - margin, lungs.stop - 1 + margin
    return SlicePlan(
        bounds,
        group_centres(count, group),
        window_indices(len(bounds), step_mm, config),
        context_indices(len(bounds), step_mm, config),
        [
            index
            for index, (start, stop) in enumerate(bounds)
            if stop - 1 >= first and start <= last
        ],
    )


def slices_loader(
    hu: Tensor, plan: SlicePlan, box: InPlaneBox, config: LesionNetworkConfig
) -> Callable[[list[int], str], Tensor]:
    """A function that gives what the network sees of some working slices.

    Args:
        hu: int16 (z, y, x), on the device where slices are to be averaged and resized.
        plan: of the scan.
        box: what the network sees of a slice.
        config: of the network.

    Returns:
        Indices and a device → float32 (slices, context_slices, size, size) on that device.
    """

    @functools.lru_cache(maxsize=2 * config.context_slices)
    def prepared(index: int) -> Tensor:
        return working_slice(hu, plan.bounds[index], box, config)

    def load(indices: list[int], device: str) -> Tensor:
        shown = [
            torch.stack([prepared(neighbour) for neighbour in plan.contexts[index].tolist()])
            for index in indices
        ]
        return torch.stack(shown).to(device)

    return load


def native_planes(
    batches: Iterable[tuple[list[int], Tensor]], plan: SlicePlan
) -> Iterator[tuple[list[int], Tensor]]:
    """Mix what the network says of working slices into what it says of the scan's.

    Args:
        batches: targets of `plan`, in order, and (targets, classes, size, size) of each.
        plan: of the scan.

    Yields:
        Native slices, in order, and (slices, classes, size, size) of each.
    """
    next_native = plan.bounds[plan.targets[0]][0]
    before: tuple[float, Tensor] | None = None
    for targets, planes in batches:
        natives, lower, upper, weights = [], [], [], []
        centres = plan.centres[targets].tolist()
        if before is not None:
            centres = [before[0], *centres]
            planes = torch.cat([before[1], planes])
        for place in range(len(centres) - len(targets), len(centres)):
            centre = centres[place]
            is_last = place == len(centres) - 1 and targets[-1] == plan.targets[-1]
            stop = plan.bounds[targets[-1]][1] if is_last else int(np.floor(centre)) + 1
            for native in range(next_native, stop):
                between = place > 0 and native < centre
                natives.append(native)
                upper.append(place)
                lower.append(place - 1 if between else place)
                below = centres[place - 1]
                weights.append((native - below) / (centre - below) if between else 1.0)
            next_native = max(next_native, stop)
        before = centres[-1], planes[-1:]
        if natives:
            yield natives, _mixed(planes, lower, upper, weights)


def _mixed(planes: Tensor, lower: list[int], upper: list[int], weights: list[float]) -> Tensor:
    """Planes between two others; the weight is that of the upper one."""
    ends = planes[torch.tensor(upper, device=planes.device)]
    if lower == upper:
        return ends
    share = torch.tensor(weights, device=planes.device)[:, None, None, None]
    return torch.lerp(planes[torch.tensor(lower, device=planes.device)], ends, share)


def drawn_on_box(planes: Tensor, box: InPlaneBox) -> Tensor:
    """Planes (slices, classes, size, size) on the voxels of a box, (slices, classes, y, x)."""
    return torch.nn.functional.interpolate(
        planes, size=(box.y1 - box.y0, box.x1 - box.x0), mode="bilinear", align_corners=False
    )
