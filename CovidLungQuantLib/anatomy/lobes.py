"""The five lobes, from the shape of the lungs and, where they can be seen, from the fissures.

Arrays are (z, y, x) and upright: x grows to the patient's Left, y to Posterior, z to Superior.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage

from CovidLungQuantLib.anatomy.fissures import (
    GRID_MM,
    FissureSurface,
    find_fissure,
    sheet_strengths,
    vessel_brightness,
)
from CovidLungQuantLib.anatomy.lobe_network import LobeNetwork, occupancy_on_grid
from CovidLungQuantLib.anatomy.lobe_weights import shipped_lobe_network
from CovidLungQuantLib.anatomy.morphology import bounding_box, component_sizes
from CovidLungQuantLib.anatomy.sides import each_lung
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import (
    LEFT_LOWER_LOBE,
    LEFT_LUNG_VALUE,
    LEFT_UPPER_LOBE,
    LOBES,
    RIGHT_LOWER_LOBE,
    RIGHT_LUNG_VALUE,
    RIGHT_MIDDLE_LOBE,
    RIGHT_UPPER_LOBE,
)
from CovidLungQuantLib.progress import (
    Poll,
    ProgressCallback,
    no_poll,
    no_progress,
    polling,
    subrange,
)
from CovidLungQuantLib.threads import computing_threads

Spacing = tuple[float, float, float]

# Parts of a lung smaller than this share of its largest do not set its bounding box.
SMALLEST_PART = 0.02
# The horizontal fissure ends this far in front of the oblique one, which is not taken for it.
BETWEEN_FISSURES_MM = 4.0
PRE_SMOOTHING = 0.35
LUNG_NAMES = {RIGHT_LUNG_VALUE: "right", LEFT_LUNG_VALUE: "left"}


@dataclass(frozen=True, eq=False)
class LobeSegmentation:
    """What `segment_lobes` found.

    Attributes:
        lobes: uint8 (z, y, x), values of `labels.LOBES`; they part the lungs exactly.
        warnings: what the user should know.
    """

    lobes: np.ndarray
    warnings: tuple[ScanWarning, ...] = field(default=())


def lobes_from_lungs(
    lungs: np.ndarray, spacing_mm: Spacing, network: LobeNetwork | None = None
) -> np.ndarray:
    """Divide the lungs into lobes by their shape alone.

    Args:
        lungs: uint8 (z, y, x), upright, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`.
        spacing_mm: voxel size (x, y, z).
        network: None is the shipped one.

    Returns:
        uint8 (z, y, x), values of `labels.LOBES`; every voxel of a lung is in one lobe of it.
    """
    network = network or shipped_lobe_network()
    lobes = np.zeros(lungs.shape, np.uint8)
    for lung_value, box, lung in each_lung(lungs):
        prior = _ShapePrior.of(lung, spacing_mm, network, lung_value)
        drawn = np.zeros(lung.shape, np.uint8)
        for index, plane in enumerate(lung):
            maps = prior.at(np.array([index]), *map(np.arange, plane.shape))[:, 0]
            drawn[index] = plane * _lobes_of_sides(list(maps > 0), lung_value)
        lobes[box] += _without_crumbs(drawn)
    return lobes


def segment_lobes(
    hu: np.ndarray,
    lungs: np.ndarray,
    spacing_mm: Spacing,
    progress: ProgressCallback = no_progress,
    network: LobeNetwork | None = None,
) -> LobeSegmentation:
    """Divide the lungs into lobes by their shape and by the fissures that can be seen.

    Args:
        hu: int16 Hounsfield units (z, y, x), upright.
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`.
        spacing_mm: voxel size (x, y, z).
        progress: progress callback; may raise `Cancelled`.
        network: None is the shipped one.
    """
    network = network or shipped_lobe_network()
    lobes = np.zeros(lungs.shape, np.uint8)
    parts = {RIGHT_LUNG_VALUE: (0.0, 0.55), LEFT_LUNG_VALUE: (0.55, 1.0)}
    for lung_value, box, lung in each_lung(lungs):
        message = f"Finding the lobes of the {LUNG_NAMES[lung_value]} lung"
        part = subrange(progress, *parts[lung_value])
        poll = polling(part, 0.0, message)
        prior = _ShapePrior.of(lung, spacing_mm, network, lung_value)
        poll()
        surfaces = _find_fissures(hu[box], lung, spacing_mm, prior, poll)
        poll = polling(part, 0.7, message)
        drawn = _drawn_along_surfaces(lung, spacing_mm, prior, surfaces, lung_value, poll)
        lobes[box] += _without_crumbs(drawn, poll)
    progress(1.0, "Found the lobes")
    return LobeSegmentation(lobes, _missing_warnings(lobes, lungs))


@dataclass(frozen=True, eq=False)
class _ShapePrior:
    """The network's fissure maps (fissure, z, y, x) over a box of the cropped lung, in voxels."""

    maps: np.ndarray
    box: tuple[slice, ...]

    @classmethod
    def of(
        cls, lung: np.ndarray, spacing_mm: Spacing, network: LobeNetwork, lung_value: int
    ) -> _ShapePrior:
        box = _box_of_main_part(lung)
        occupancy = occupancy_on_grid(lung[box], network.config.grid)
        size_mm = [
            (part.stop - part.start) * step_mm
            for part, step_mm in zip(box, reversed(spacing_mm), strict=True)
        ]
        # A small network: more threads would save little, and split sums in other ways.
        with torch.inference_mode(), computing_threads(1):
            maps = network.of_lung(lung_value)(occupancy[None], torch.tensor([size_mm]))
        if not bool(torch.isfinite(maps.sum())):
            raise BadInputError(
                "The network for the lobes answers with numbers that are not finite; install the "
                "software again or leave the lobes out."
            )
        return cls(maps[0].numpy(), box)

    def at(self, *positions: np.ndarray) -> np.ndarray:
        """Maps (fissure, z, y, x) at positions along z, y and x in voxels of the cropped lung."""
        along_z, along_y, along_x = (
            _interpolation(places, part, cells)
            for places, part, cells in zip(positions, self.box, self.maps.shape[1:], strict=True)
        )
        planes = np.tensordot(along_z, self.maps, axes=(1, 1)).transpose(1, 0, 2, 3)
        return along_y @ planes @ along_x.T


def _interpolation(places: np.ndarray, part: slice, cells: int) -> np.ndarray:
    """Matrix (places, cells) from the cells over `part` of an axis, held at the ends."""
    position = (places + 0.5 - part.start) / (part.stop - part.start) * cells - 0.5
    position = np.clip(position, 0, cells - 1)
    low = np.minimum(position.astype(int), cells - 2)
    matrix = np.zeros((len(places), cells), np.float32)
    rows = np.arange(len(places))
    matrix[rows, low] = 1 - (position - low)
    matrix[rows, low + 1] = position - low
    return matrix


def _box_of_main_part(lung: np.ndarray) -> tuple[slice, ...]:
    """Bounding box of a lung without its small islands."""
    components, count = ndimage.label(lung)
    if count <= 1:
        return bounding_box(lung)
    sizes = component_sizes(components, count)
    sizes[0] = 0
    large = np.flatnonzero(sizes >= SMALLEST_PART * sizes.max())
    boxes = ndimage.find_objects(components)
    parts = [boxes[part - 1] for part in large]
    return tuple(
        slice(min(part[axis].start for part in parts), max(part[axis].stop for part in parts))
        for axis in range(3)
    )


def _find_fissures(
    hu: np.ndarray, lung: np.ndarray, spacing_mm: Spacing, prior: _ShapePrior, poll: Poll
) -> list[FissureSurface | None]:
    """The fissures of one lung, sought on a cubic grid; None where the prior has none."""
    ratios = GRID_MM / np.array(spacing_mm[::-1])
    shape = [int((size - 1) / ratio) + 1 for size, ratio in zip(lung.shape, ratios, strict=True)]
    cubic_hu = _cubic_hu(hu, shape, ratios, poll)
    poll()
    cubic_lung = lung[
        np.ix_(
            *(
                np.floor(np.arange(count) * ratio + 0.5).astype(int)
                for count, ratio in zip(shape, ratios, strict=True)
            )
        )
    ]
    maps = prior.at(*(np.arange(count) * ratio for count, ratio in zip(shape, ratios, strict=True)))
    poll()
    strengths = sheet_strengths(cubic_hu, cubic_lung, maps, poll)
    vessels = vessel_brightness(cubic_hu)
    del cubic_hu
    oblique = find_fissure(strengths[0], vessels, maps[0], cubic_lung, poll)
    if len(maps) == 1:
        return [oblique]
    depth_mm = (
        oblique.depth_below_grid_mm(cubic_lung, poll) if oblique else np.sign(maps[0]) * np.inf
    )
    in_front = cubic_lung & (depth_mm < 0)
    strengths[1][depth_mm > -BETWEEN_FISSURES_MM] = 0.0
    poll()
    return [oblique, find_fissure(strengths[1], vessels, maps[1], in_front, poll)]


def _cubic_hu(hu: np.ndarray, shape: list[int], ratios: np.ndarray, poll: Poll) -> np.ndarray:
    """HU on the cubic grid, float32: smoothed where its cells are wider than voxels, then linear.

    Plane by plane, so that memory stays small.
    """
    sigma_z, sigma_y, sigma_x = (PRE_SMOOTHING * ratio if ratio > 1 else 0.0 for ratio in ratios)
    if sigma_z:
        hu = ndimage.gaussian_filter1d(hu, sigma_z, axis=0, output=np.float32)

    # One cubic plane needs two of these, and so may the next.
    @lru_cache(maxsize=2)
    def resampled(number: int) -> np.ndarray:
        smooth = ndimage.gaussian_filter(hu[number].astype(np.float32), (sigma_y, sigma_x))
        return _linear(_linear(smooth, 0, shape[1], ratios[1]), 1, shape[2], ratios[2])

    cubic_hu = np.empty(shape, np.float32)
    for index, cubic_plane in enumerate(cubic_hu):
        poll()
        low, share = divmod(index * ratios[0], 1)
        plane = resampled(int(low))
        if share:
            plane = (1 - share) * plane + share * resampled(int(low) + 1)
        cubic_plane[:] = plane
    return cubic_hu


def _linear(plane: np.ndarray, axis: int, count: int, ratio: float) -> np.ndarray:
    """Values of a plane at `count` places `ratio` apart along an axis, from its first, float64."""
    place = np.arange(count) * ratio
    low = np.minimum(place.astype(int), max(plane.shape[axis] - 2, 0))
    high = np.minimum(low + 1, plane.shape[axis] - 1)
    share = np.expand_dims(place - low, 1 - axis)
    return plane.take(low, axis) * (1 - share) + plane.take(high, axis) * share


def _drawn_along_surfaces(
    lung: np.ndarray,
    spacing_mm: Spacing,
    prior: _ShapePrior,
    surfaces: list[FissureSurface | None],
    lung_value: int,
    poll: Poll,
) -> np.ndarray:
    """Lobes on the voxels of the lung, plane by plane; by the prior where there is no surface."""
    steps_mm = np.array(spacing_mm[::-1])
    lobes = np.zeros(lung.shape, np.uint8)
    for index, plane in enumerate(lung):
        poll()
        rows, columns = np.nonzero(plane)
        if not rows.size:
            continue
        points_mm = np.stack([np.full(rows.shape, index), rows, columns]) * steps_mm[:, None]
        maps = None
        below = []
        for number, surface in enumerate(surfaces):
            if surface is not None:
                below.append(surface.depth_below_mm(points_mm) > 0)
                continue
            if maps is None:
                maps = prior.at(np.array([index]), *map(np.arange, plane.shape))[:, 0]
            below.append(maps[number][rows, columns] > 0)
        lobes[index, rows, columns] = _lobes_of_sides(below, lung_value)
    return lobes


def _lobes_of_sides(below: list[np.ndarray], lung_value: int) -> np.ndarray:
    """Lobe values from the sides of the fissures a voxel lies on."""
    if lung_value == LEFT_LUNG_VALUE:
        return np.where(below[0], LEFT_LOWER_LOBE.value, LEFT_UPPER_LOBE.value).astype(np.uint8)
    in_front = np.where(below[1], RIGHT_MIDDLE_LOBE.value, RIGHT_UPPER_LOBE.value)
    return np.where(below[0], RIGHT_LOWER_LOBE.value, in_front).astype(np.uint8)


def _without_crumbs(lobes: np.ndarray, poll: Poll = no_poll) -> np.ndarray:
    """Give parts of a lobe that are cut off from its largest part to the lobe around them.

    A part that touches no other lobe is an island of the lung itself and stays.
    """
    cleaned = lobes.copy()
    for value in range(1, len(LOBES) + 1):
        inside = lobes == value
        if not inside.any():
            continue
        poll()
        # One voxel of room, for what lies around a crumb.
        room = bounding_box(inside, (1, 1, 1))
        components, count = ndimage.label(inside[room])
        if count == 1:
            continue
        poll()
        largest = component_sizes(components, count)[1:].argmax()
        for part, box in enumerate(ndimage.find_objects(components)):
            if part == largest:
                continue
            near = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
            crumb = components[near] == part + 1
            wide = tuple(
                slice(whole.start + side.start, whole.start + side.start + size)
                for whole, side, size in zip(room, near, crumb.shape, strict=True)
            )
            rim = ndimage.binary_dilation(crumb) & ~crumb
            around = np.bincount(cleaned[wide][rim], minlength=2)
            around[[0, value if value < len(around) else 0]] = 0
            if around.any():
                cleaned[wide][crumb] = around.argmax()
    return cleaned


def _missing_warnings(lobes: np.ndarray, lungs: np.ndarray) -> tuple[ScanWarning, ...]:
    present = [value for value in LUNG_NAMES if (lungs == value).any()]
    missing = [
        lobe.name.lower()
        for lobe in LOBES
        if lobe.lung_value in present and not (lobes == lobe.value).any()
    ]
    if not missing:
        return ()
    return (
        ScanWarning(
            "lobe_missing",
            f"No {' and no '.join(missing)} was found (removed or collapsed, perhaps); check the "
            "lobes.",
        ),
    )
