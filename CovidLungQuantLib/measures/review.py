"""A reader's decisions on the lesions: accept, reject, change kind, lock; undo and redo.

A `Review` changes a label map in place, by the boxes of its islands, and keeps what it needs to
undo. A lesion keeps its number and its state when the list is made anew after a stroke of the brush
or another sensitivity (`refresh`): the new island takes those of the one it overlaps most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LOBES, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.measures.lesion_islands import IslandMap, LesionIsland

OPEN = "open"
ACCEPTED = "accepted"
REJECTED = "rejected"
LOCKED = "locked"
# Why a lesion is none.
REASONS = ("vessel", "motion", "not lung", "atelectasis", "other")


@dataclass(frozen=True, eq=False)
class ReviewedLesion:
    """One lesion of the list.

    Attributes:
        island: what is known of it, with the number it keeps as `index`.
        mask: its voxels, bool in `island.box`.
        state: one of the four above.
        reason: one of `REASONS` where rejected.
        kind_changed: whether the reader changed GGO to high opacity or back.
    """

    island: LesionIsland
    mask: np.ndarray
    state: str = OPEN
    reason: str | None = None
    kind_changed: bool = False

    @property
    def is_decided(self) -> bool:
        """Whether the reader has looked at it, so that no slider may change it."""
        return self.state != OPEN or self.kind_changed


@dataclass(frozen=True, eq=False)
class _Step:
    """One decision: the lesion before and after it, and the labels of its voxels likewise."""

    before: ReviewedLesion
    after: ReviewedLesion
    values_before: np.ndarray
    values_after: np.ndarray


class Review:
    """Decisions on one label map; lesions are named by the number they keep, `island.index`."""

    def __init__(self, labels: np.ndarray, islands: IslandMap) -> None:
        """Begin.

        Args:
            labels: uint8 (z, y, x), values of `labels.py`; changed in place.
            islands: of these labels, from `measures.lesion_islands.map_islands`.
        """
        self._labels = labels
        self._lesions: dict[int, ReviewedLesion] = {
            island.index: ReviewedLesion(island, islands.mask_of(island))
            for island in islands.islands
        }
        self._done: list[_Step] = []
        self._undone: list[_Step] = []

    @property
    def labels(self) -> np.ndarray:
        """The label map that is reviewed."""
        return self._labels

    @property
    def lesions(self) -> tuple[ReviewedLesion, ...]:
        """All lesions, those rejected too, largest first."""
        return tuple(sorted(self._lesions.values(), key=lambda lesion: -lesion.island.volume_ml))

    @property
    def left(self) -> int:
        """How many are left to look at."""
        return sum(not lesion.is_decided for lesion in self._lesions.values())

    def lesion(self, index: int) -> ReviewedLesion:
        """Return the lesion of a number.

        Raises:
            BadInputError: there is none.
        """
        if index not in self._lesions:
            raise BadInputError(f"There is no lesion {index}; choose one of the list.")
        return self._lesions[index]

    def accept(self, index: int) -> None:
        """Say that a lesion is one; sliders leave it alone from now on."""
        self._decide(replace(self._present(index), state=ACCEPTED))

    def reject(self, index: int, reason: str) -> None:
        """Make a lesion normal lung.

        Raises:
            BadInputError: no such lesion or reason.
        """
        if reason not in REASONS:
            raise BadInputError(f"“{reason}” is no reason; use one of {', '.join(REASONS)}.")
        rejected = replace(self._present(index), state=REJECTED, reason=reason)
        self._decide(rejected, NORMAL_LUNG.value)

    def change_kind(self, index: int) -> None:
        """Make a lesion all high opacity if it is mostly GGO, and all GGO otherwise."""
        lesion = self._present(index)
        island = lesion.island
        other = GGO if island.kind is HIGH_OPACITY else HIGH_OPACITY
        changed = replace(
            island,
            ggo_ml=island.volume_ml if other is GGO else 0.0,
            high_opacity_ml=island.volume_ml if other is HIGH_OPACITY else 0.0,
        )
        self._decide(replace(lesion, island=changed, kind_changed=True), other.value)

    def lock(self, index: int) -> None:
        """Keep a lesion as it is, whatever sliders do, without accepting it."""
        self._decide(replace(self._present(index), state=LOCKED))

    def undo(self) -> int | None:
        """Take the last decision back; returns the lesion's number, None where there is none."""
        if not self._done:
            return None
        step = self._done.pop()
        self._undone.append(step)
        self._restore(step.before, step.values_after, step.values_before)
        return step.before.island.index

    def redo(self) -> int | None:
        """Decide again as before `undo`; returns as `undo`."""
        if not self._undone:
            return None
        step = self._undone.pop()
        self._done.append(step)
        self._restore(step.after, step.values_before, step.values_after)
        return step.after.island.index

    def refresh(self, labels: np.ndarray, islands: IslandMap) -> None:
        """Go on with a label map that was changed elsewhere, and its list made anew.

        Args:
            labels: uint8 (z, y, x) on the same grid; changed in place from now on.
            islands: of these labels.
        """
        self._labels = labels
        earlier = [lesion for lesion in self._lesions.values() if lesion.state != REJECTED]
        rejected = [lesion for lesion in self._lesions.values() if lesion.state == REJECTED]
        found = {lesion.island.index: lesion for lesion in rejected}
        next_index = max(self._lesions, default=0) + 1
        matches = _matches(earlier, islands)
        taken: set[int] = set()
        # Of the parts of one lesion the largest keeps its number.
        for island in islands.islands:
            before = matches.get(island.index)
            index = next_index
            if before is not None and before.island.index not in taken:
                index = before.island.index
            else:
                next_index += 1
            taken.add(index)
            lesion = ReviewedLesion(replace(island, index=index), islands.mask_of(island))
            if before is not None:
                lesion = replace(lesion, state=before.state, kind_changed=before.kind_changed)
            found[index] = lesion
        self._lesions = found

    def held(self) -> np.ndarray:
        """Return the voxels that are decided, bool (z, y, x): no slider may change them."""
        held = np.zeros(self._labels.shape, bool)
        for lesion in self._lesions.values():
            if lesion.is_decided:
                held[lesion.island.box] |= lesion.mask
        return held

    def record(self) -> list[dict[str, Any]]:
        """Return what was decided, by number, for the provenance and for `take_up`."""
        return [
            {
                "lesion": lesion.island.index,
                "decision": lesion.state,
                "reason": lesion.reason,
                "kind_changed": lesion.kind_changed,
                "kind": lesion.island.kind.name,
                "volume_ml": lesion.island.volume_ml,
                "lobe": lesion.island.lobe.short_name if lesion.island.lobe else None,
                "place_zyx": list(lesion.island.place),
            }
            for _index, lesion in sorted(self._lesions.items())
            if lesion.is_decided
        ]

    def take_up(self, record: Iterable[Mapping[str, Any]]) -> None:
        """Go on with decisions of an earlier session, each found again by the place it names.

        A rejected lesion, which is no longer in the label map, is kept in the list.
        """
        for entry in record:
            place = tuple(int(index) for index in entry["place_zyx"])
            if entry["decision"] == REJECTED:
                self._keep_rejected(entry, place)
                continue
            for index, lesion in self._lesions.items():
                if _holds(lesion, place):
                    self._lesions[index] = replace(
                        lesion,
                        state=entry["decision"],
                        kind_changed=bool(entry.get("kind_changed")),
                    )

    def _keep_rejected(self, entry: Mapping[str, Any], place: tuple[int, ...]) -> None:
        z, y, x = place
        island = LesionIsland(
            volume_ml=float(entry["volume_ml"]),
            place=(z, y, x),
            lobe=next((lobe for lobe in LOBES if lobe.short_name == entry["lobe"]), None),
            box=(slice(z, z + 1), slice(y, y + 1), slice(x, x + 1)),
            index=max(self._lesions, default=0) + 1,
            ggo_ml=float(entry["volume_ml"]) if entry["kind"] == GGO.name else 0.0,
            high_opacity_ml=float(entry["volume_ml"]) if entry["kind"] != GGO.name else 0.0,
        )
        self._lesions[island.index] = ReviewedLesion(
            island, np.zeros((1, 1, 1), bool), REJECTED, entry["reason"]
        )

    def _present(self, index: int) -> ReviewedLesion:
        lesion = self.lesion(index)
        if lesion.state == REJECTED:
            raise BadInputError(f"Lesion {index} is rejected; undo that first.")
        return lesion

    def _decide(self, after: ReviewedLesion, value: int | None = None) -> None:
        """Set a lesion's state, and the label of its voxels that are lesion still."""
        before = self._lesions[after.island.index]
        now = self._labels[after.island.box][after.mask]
        values = now if value is None else np.where(is_lesion(now), np.uint8(value), now)
        self._undone.clear()
        self._done.append(_Step(before, after, now, values))
        self._restore(after, now, values)

    def _restore(self, lesion: ReviewedLesion, expected: np.ndarray, values: np.ndarray) -> None:
        """Put a lesion and its voxels back, but those somebody has painted since."""
        self._lesions[lesion.island.index] = lesion
        part = self._labels[lesion.island.box]
        now = part[lesion.mask]
        part[lesion.mask] = np.where(now == expected, values, now)


def review_sentence(record: Iterable[Mapping[str, Any]]) -> str:
    """Return what a reader decided in one sentence; empty where nothing was."""
    record = list(record)
    decisions = Counter(entry["decision"] for entry in record)
    reasons = Counter(entry["reason"] for entry in record if entry["decision"] == REJECTED)
    parts = [f"{decisions[ACCEPTED]} accepted"] if decisions[ACCEPTED] else []
    if decisions[REJECTED]:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        parts.append(f"{decisions[REJECTED]} rejected ({why})")
    if decisions[LOCKED]:
        parts.append(f"{decisions[LOCKED]} locked")
    changed = sum(bool(entry.get("kind_changed")) for entry in record)
    if changed:
        parts.append(f"{changed} of changed kind")
    return f"Lesions reviewed: {', '.join(parts)}." if parts else ""


def _matches(lesions: Iterable[ReviewedLesion], islands: IslandMap) -> dict[int, ReviewedLesion]:
    """The lesion that each new island (by its index) overlaps most."""
    of_number = {
        number: island.index
        for number, island in zip(islands.numbers, islands.islands, strict=True)
    }
    best: dict[int, tuple[int, ReviewedLesion]] = {}
    for lesion in lesions:
        for number, overlap in enumerate(_overlaps(lesion, islands)):
            index = of_number.get(number)
            if index is not None and overlap > best.get(index, (0, lesion))[0]:
                best[index] = (int(overlap), lesion)
    return {index: lesion for index, (_overlap, lesion) in best.items()}


def _overlaps(lesion: ReviewedLesion, islands: IslandMap) -> np.ndarray:
    """How many voxels of a lesion each number of the map holds."""
    own, theirs = lesion.island.box, islands.box
    common = [
        slice(max(part.start, other.start), min(part.stop, other.stop))
        for part, other in zip(own, theirs, strict=True)
    ]
    if any(part.start >= part.stop for part in common):
        return np.zeros(0, np.int64)
    within_own, within_theirs = (
        tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip(common, box, strict=True)
        )
        for box in (own, theirs)
    )
    return np.bincount(islands.numbered[within_theirs][lesion.mask[within_own]])


def _holds(lesion: ReviewedLesion, place: tuple[int, ...]) -> bool:
    inner = [index - part.start for index, part in zip(place, lesion.island.box, strict=True)]
    return all(
        0 <= index < size for index, size in zip(inner, lesion.mask.shape, strict=True)
    ) and bool(lesion.mask[tuple(inner)])
