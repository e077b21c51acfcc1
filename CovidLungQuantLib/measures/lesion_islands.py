"""The lesions one by one, largest first: connected islands of GGO and high opacity.

`lesion_islands` gives their list, `map_islands` their voxels, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.labels import (
    BACKGROUND_VALUE,
    GGO,
    HIGH_OPACITY,
    LEFT_LUNG_VALUE,
    LOBES,
    RIGHT_LUNG_VALUE,
    Label,
    Lobe,
    is_lesion,
)
from CovidLungQuantLib.lesions.probability import share_of_code

Box = tuple[slice, slice, slice]

# A ball of 6 mm; what is smaller is as likely noise as lesion.
SMALLEST_ISLAND_ML = 0.1
# Voxels that touch by a face, an edge or a corner.
NEIGHBOURS = np.ones((3, 3, 3), bool)
# Border of the lung in the middle 60 % of the way between the middles of both lungs is that with
# mediastinum, heart and hila; the rest is chest wall and diaphragm.
MEDIASTINAL_HALF_WIDTH = 0.3
# The lungs' middles need not be known to the voxel.
_COARSE = 4
# Halves what size tells against an island.
_DOUBTFUL_ML = 1.0


@dataclass(frozen=True)
class LesionIsland:
    """One connected lesion.

    Attributes:
        volume_ml: its volume.
        place: a voxel (z, y, x) of it to look at: in the slice along the first axis where it is
            largest, nearest to its middle there.
        box: slices (z, y, x) of the label map that just hold it.
        lobe: the lobe that holds most of it; None where lobes are not known.
        index: 1 for the largest.
        lung: `LEFT_LUNG_VALUE` or `RIGHT_LUNG_VALUE`; 0 where neither lobes nor lungs are known.
        ggo_ml: its volume of GGO.
        high_opacity_ml: its volume of high opacity.
        mean_hu: of its voxels; NaN where the scan is not given.
        confidence: mean probability of its voxels, 0…1, as the network saw them; NaN where no
            probability was kept.
        elongation: 0 for a ball or a plate, towards 1 for a rod, as a vessel is.
        mediastinal_share: share 0…1 of its voxels next to background that have it towards the
            mediastinum; NaN where the lungs are not given.
    """

    volume_ml: float
    place: tuple[int, int, int]
    # Slices can be hashed from Python 3.12 on only.
    box: tuple[slice, slice, slice] = field(hash=False)
    lobe: Lobe | None
    index: int = 0
    lung: int = 0
    ggo_ml: float = 0.0
    high_opacity_ml: float = 0.0
    mean_hu: float = math.nan
    confidence: float = math.nan
    elongation: float = 0.0
    mediastinal_share: float = math.nan

    @property
    def kind(self) -> Label:
        """GGO or high opacity, whichever has the larger share."""
        return HIGH_OPACITY if self.high_opacity_ml > self.ggo_ml else GGO

    @property
    def doubt(self) -> float:
        """How much speaks for something else than a lesion, 0…1.

        The mean of three: 1 − confidence; elongation or contact with the mediastinal border,
        whichever is more (a vessel, or heart, hilum and sternum blurred into the lung); and size,
        from 1 for a speck to 0 for a large island. Half where confidence is not known.
        """
        unsure = 0.5 if math.isnan(self.confidence) else 1.0 - self.confidence
        contact = 0.0 if math.isnan(self.mediastinal_share) else self.mediastinal_share
        small = _DOUBTFUL_ML / (_DOUBTFUL_ML + self.volume_ml)
        return (unsure + max(self.elongation, contact) + small) / 3.0


@dataclass(frozen=True, eq=False)
class IslandMap:
    """The islands of a label map with their voxels.

    Attributes:
        islands: largest first.
        numbered: int32, numbers of the islands in `box`, those too small for the list among them;
            0 is no lesion.
        box: slices (z, y, x) of the label map.
        numbers: the number in `numbered` of each of `islands`.
    """

    islands: tuple[LesionIsland, ...] = ()
    numbered: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.int32))
    box: tuple[slice, ...] = (slice(0, 0),) * 3
    numbers: tuple[int, ...] = ()

    def mask_of(self, island: LesionIsland) -> np.ndarray:
        """Return the voxels of an island, bool in its own `box`."""
        number = self.numbers[self.islands.index(island)]
        inner = tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip(island.box, self.box, strict=True)
        )
        return self.numbered[inner] == number

    def island_at(self, place: Iterable[int]) -> LesionIsland | None:
        """Return the island that holds a voxel (z, y, x); None where none does."""
        inner = [index - outer.start for index, outer in zip(place, self.box, strict=True)]
        is_inside = all(
            0 <= index < size for index, size in zip(inner, self.numbered.shape, strict=True)
        )
        number = int(self.numbered[tuple(inner)]) if is_inside else 0
        return self.islands[self.numbers.index(number)] if number in self.numbers else None


def lesion_islands(
    labels: np.ndarray, voxel_volume_ml: float, lobes: np.ndarray | None = None
) -> tuple[LesionIsland, ...]:
    """Return the islands of lesion of at least `SMALLEST_ISLAND_ML`, largest first.

    Args:
        labels: label map (z, y, x); values as in `labels.py`.
        voxel_volume_ml: volume of one voxel.
        lobes: values of `labels.LOBES` on the same grid; None where they are not known.
    """
    edge_mm = (1000.0 * voxel_volume_ml) ** (1 / 3)
    return map_islands(labels, (edge_mm,) * 3, lobes).islands


def map_islands(
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    lobes: np.ndarray | None = None,
    lungs: np.ndarray | None = None,
    hu: np.ndarray | None = None,
    probability: np.ndarray | None = None,
) -> IslandMap:
    """Find the islands of lesion of at least `SMALLEST_ISLAND_ML`, and what is known of each.

    Args:
        labels: label map (z, y, x); values as in `labels.py`.
        spacing_mm: voxel size (x, y, z).
        lobes: values of `labels.LOBES` on the same grid; None where they are not known.
        lungs: `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, likewise.
        hu: Hounsfield units, likewise.
        probability: uint8 codes of `lesions.probability`, likewise.
    """
    lesion = is_lesion(labels)
    if not lesion.any():
        return IslandMap()
    box = bounding_box(lesion, (0, 0, 0))
    numbered, _count = ndimage.label(lesion[box], structure=NEIGHBOURS)
    voxel_ml = math.prod(spacing_mm) / 1000.0
    volumes_ml = np.bincount(numbered.ravel())[1:] * voxel_ml
    boxes = ndimage.find_objects(numbered)
    middles_mm = None if lungs is None else _middles_of_lungs(lungs, spacing_mm)
    islands: list[LesionIsland] = []
    numbers: list[int] = []
    for number in np.argsort(-volumes_ml, kind="stable") + 1:
        if volumes_ml[number - 1] < SMALLEST_ISLAND_ML:
            break
        mask = numbered[boxes[number - 1]] == number
        own_box = _moved(boxes[number - 1], box)
        islands.append(
            _island(
                len(islands) + 1,
                mask,
                own_box,
                labels,
                spacing_mm,
                lobes,
                lungs,
                hu,
                probability,
                middles_mm,
            )
        )
        numbers.append(int(number))
    return IslandMap(tuple(islands), numbered, box, tuple(numbers))


def _island(
    index: int,
    mask: np.ndarray,
    box: Box,
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    lobes: np.ndarray | None,
    lungs: np.ndarray | None,
    hu: np.ndarray | None,
    probability: np.ndarray | None,
    middles_mm: tuple[np.ndarray, np.ndarray] | None,
) -> LesionIsland:
    """What is known of one island: bool `mask` in `box` of the arrays of `map_islands`."""
    voxel_ml = math.prod(spacing_mm) / 1000.0
    z, y, x = (start.start + inside for start, inside in zip(box, _place_in(mask), strict=True))
    lobe = None if lobes is None else _main_lobe(lobes[box][mask])
    high_opacity = int(np.count_nonzero(labels[box][mask] == HIGH_OPACITY.value))
    count = int(np.count_nonzero(mask))
    return LesionIsland(
        volume_ml=count * voxel_ml,
        place=(int(z), int(y), int(x)),
        lobe=lobe,
        box=box,
        index=index,
        lung=lobe.lung_value if lobe else 0 if lungs is None else _main_lung(lungs[box][mask]),
        ggo_ml=(count - high_opacity) * voxel_ml,
        high_opacity_ml=high_opacity * voxel_ml,
        mean_hu=math.nan if hu is None else float(hu[box][mask].mean(dtype=np.float64)),
        confidence=(
            math.nan
            if probability is None
            else share_of_code(float(probability[box][mask].mean(dtype=np.float64)))
        ),
        elongation=_elongation(mask, spacing_mm),
        mediastinal_share=(
            math.nan
            if middles_mm is None
            else _mediastinal_share(mask, box, labels, spacing_mm, *middles_mm)
        ),
    )


def doubtful_first(islands: Iterable[LesionIsland]) -> tuple[LesionIsland, ...]:
    """Return islands with those first that are most likely no lesion; see `LesionIsland.doubt`."""
    return tuple(sorted(islands, key=lambda island: -island.doubt))


def _moved(box: tuple[slice, ...], outer: tuple[slice, ...]) -> Box:
    """A box within another one, in the coordinates that the other one is in."""
    z, y, x = (
        slice(part.start + start.start, part.stop + start.start)
        for part, start in zip(box, outer, strict=True)
    )
    return z, y, x


def _place_in(mask: np.ndarray) -> np.ndarray:
    """Index (z, y, x) of the voxel to look at."""
    z = int(mask.sum(axis=(1, 2)).argmax())
    voxels = np.argwhere(mask[z])
    nearest = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()
    return np.array([z, *voxels[nearest]])


def _main_lobe(values: np.ndarray) -> Lobe | None:
    counts = np.bincount(values[values != BACKGROUND_VALUE], minlength=1)
    if not counts.any():
        return None
    value = int(counts.argmax())
    return next((lobe for lobe in LOBES if lobe.value == value), None)


def _main_lung(values: np.ndarray) -> int:
    counts = [np.count_nonzero(values == value) for value in (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE)]
    if not any(counts):
        return 0
    return LEFT_LUNG_VALUE if counts[0] >= counts[1] else RIGHT_LUNG_VALUE


def _elongation(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """1 − second longest / longest axis of the island's spread, in 0…1."""
    positions_mm = np.argwhere(mask) * np.array(spacing_mm[::-1])
    # A single voxel's own extent, so that a line of them is no infinitely thin rod.
    own = np.diag(np.square(spacing_mm[::-1]) / 12.0)
    spread = np.cov(positions_mm, rowvar=False, bias=True) + own
    variances = np.linalg.eigvalsh(spread)
    return float(1.0 - math.sqrt(variances[1] / variances[2]))


def _middles_of_lungs(
    lungs: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The middles of both lungs, mm along (z, y, x) from the first voxel; None without both."""
    coarse = lungs[::_COARSE, ::_COARSE, ::_COARSE]
    places = [np.argwhere(coarse == value) for value in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE)]
    if not all(len(place) for place in places):
        return None
    right, left = (place.mean(axis=0) * _COARSE * np.array(spacing_mm[::-1]) for place in places)
    return right, left


def _mediastinal_share(
    mask: np.ndarray,
    box: Box,
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    right_mm: np.ndarray,
    left_mm: np.ndarray,
) -> float:
    """Of the island's voxels next to background, the share that lies towards the mediastinum."""
    around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
    inside = tuple(
        slice(part.start - outer.start, part.stop - outer.start)
        for part, outer in zip(box, around, strict=True)
    )
    beside = ndimage.binary_dilation(labels[around] == BACKGROUND_VALUE)[inside] & mask
    places_mm = (np.argwhere(beside) + [part.start for part in box]) * np.array(spacing_mm[::-1])
    if not len(places_mm):
        return 0.0
    way = left_mm - right_mm
    along = (places_mm - right_mm) @ way / (way @ way)
    return float(np.mean(np.abs(along - 0.5) <= MEDIASTINAL_HALF_WIDTH))
