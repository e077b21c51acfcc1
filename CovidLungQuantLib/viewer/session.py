"""One result in a reader's hands: its labels, what is done to them, and the numbers of now.

`labels` is the one label map: every change goes through `Session`, is counted at once and can be
undone, so that numbers and labels never part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.ct import CTVolume, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import BACKGROUND_VALUE, BOTH_LUNGS_REGION, CLASS_COUNT, is_lung
from CovidLungQuantLib.lesions.probability import DECISION_CODE, code_of_margin
from CovidLungQuantLib.lesions.sensitivity import apply_sensitivity
from CovidLungQuantLib.measures.correction import Correction
from CovidLungQuantLib.measures.lesion_islands import IslandMap, map_islands
from CovidLungQuantLib.measures.measurements import Measurements
from CovidLungQuantLib.measures.recount import RunningCount
from CovidLungQuantLib.measures.review import Review, ReviewedLesion
from CovidLungQuantLib.quantification import Quantification
from CovidLungQuantLib.viewer.opening import OpenedResult
from CovidLungQuantLib.viewer.painting import Stroke, voxels_of_stroke

LUNGS_CHANGED = ScanWarning(
    "lungs_changed_by_hand",
    "The lungs themselves were changed by hand; until they are saved, left, right and lobes are "
    "those of before, and added lung counts to the nearest.",
)
STROKE, SENSITIVITY = "stroke", "sensitivity"


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of labels.

    Attributes:
        what: in a few words, for the undo button.
        voxels: flat indices, each once.
        before: their labels before the change.
        after: and after it.
        margin_code: of a change of sensitivity.
        lesion: the number of the lesion that alone was changed by it; None for the whole scan.
    """

    what: str
    voxels: np.ndarray
    before: np.ndarray
    after: np.ndarray
    margin_code: int = DECISION_CODE
    lesion: int | None = None


@dataclass(frozen=True)
class Decision:
    """One decision on a lesion, which `Review` can take back; `what` in a few words."""

    what: str


class Session:
    """A result that is being corrected."""

    def __init__(self, opened: OpenedResult, measured: Quantification) -> None:
        """Begin with a result as it was opened.

        Args:
            opened: its `labels` become those of the session, which changes them in place.
            measured: the same labels, measured.
        """
        self.opened = opened
        self.labels = opened.labels
        codes = {warning.code for warning in measured.warnings}
        # What measuring alone would not say again.
        self.run_warnings = tuple(w for w in opened.warnings if w.code not in codes)
        self.run_notes = tuple(n for n in opened.notes if n not in measured.measurements.notes)
        machine_labels = opened.machine_labels
        # Where the machine's labels are not known, changes are counted from those opened.
        self._reference = opened.labels.copy() if machine_labels is None else machine_labels
        self._measured = measured
        self._saved_after: int | None = 0
        self._done: list[Edit | Decision] = []
        self._undone: list[Edit | Decision] = []
        self._start_counting()
        self._corrected_before = self._found_corrected()
        self.review = Review(self.labels, self._islands())
        self.lesions_are_fresh = True
        if opened.provenance is not None and opened.provenance.review:
            self.review.take_up(opened.provenance.review)

    @property
    def ct(self) -> CTVolume:
        """The scan."""
        return self.opened.ct

    @property
    def lobes(self) -> np.ndarray | None:
        """Values of `labels.LOBES` (z, y, x) wherever there was lung when it was last measured."""
        return self._measured.lobes

    @property
    def measurements(self) -> Measurements:
        """The numbers of `labels` as they are now."""
        return self._recounted.measurements

    @property
    def correction(self) -> Correction | None:
        """How `labels` differ from the network's; None where those are not known."""
        return None if self.opened.machine_labels is None else self._recounted.correction

    @property
    def changed_voxels(self) -> int:
        """How many voxels are not as the network made them, or where that is unknown, as opened."""
        correction = self._recounted.correction
        return 0 if correction is None else correction.changed_voxels

    @property
    def warnings(self) -> tuple[ScanWarning, ...]:
        """What to know about the numbers of now."""
        own = self._measured.measurements.warnings
        return (
            *self.run_warnings,
            *(warning for warning in self._measured.warnings if warning not in own),
            *((LUNGS_CHANGED,) if self.lungs_changed else ()),
            *self.measurements.warnings,
        )

    @property
    def lungs_changed(self) -> bool:
        """Whether voxels became lung, or are none any more, since it was last measured."""
        return self._recounted.lung_was_added or self._recounted.lung_was_removed

    @property
    def undoable(self) -> str | None:
        """What `undo` would take back; None where there is nothing."""
        return self._done[-1].what if self._done else None

    @property
    def redoable(self) -> str | None:
        """What `redo` would do again; None where there is nothing."""
        return self._undone[-1].what if self._undone else None

    @property
    def is_saved(self) -> bool:
        """Whether nothing was changed since it was opened or saved."""
        return self._saved_after == len(self._done)

    # Painting.

    def paint(self, stroke: Stroke, value: int, may_leave_lungs: bool = False) -> int:
        """Give the voxels of a stroke a label; return how many changed.

        Args:
            stroke: the way of the brush.
            value: of the label, or `BACKGROUND_VALUE`, which takes lung away.
            may_leave_lungs: whether voxels that are no lung may become lung, or lung none.

        Raises:
            BadInputError: nothing would be left to measure.
        """
        voxels = voxels_of_stroke(stroke, self.ct.geometry)
        if not may_leave_lungs:
            if value == BACKGROUND_VALUE:
                return 0
            voxels = voxels[is_lung(self.labels.reshape(-1)[voxels])]
        return self.relabel(voxels, np.full(len(voxels), value, np.uint8), STROKE)

    def relabel(self, voxels: np.ndarray, values: np.ndarray, what: str) -> int:
        """Give voxels new labels as one step that can be undone; return how many changed.

        Args:
            voxels: flat indices, each once.
            values: a label for each.
            what: the step in a few words.

        Raises:
            BadInputError: nothing would be left to measure, or a value is no label.
        """
        if len(values) and values.max() >= CLASS_COUNT:
            raise BadInputError("There is no such label; choose one of the list.")
        edit = self._edit(what, voxels, values)
        if not len(edit.voxels):
            return 0
        self._apply(edit.voxels, edit.after)
        if self.measurements.region(BOTH_LUNGS_REGION).volume_ml == 0:
            self._apply(edit.voxels, edit.before)
            raise BadInputError("No lung would be left; the step was not taken.")
        self._note(edit)
        return len(edit.voxels)

    # Lesions, one by one.

    @property
    def lesions(self) -> tuple[ReviewedLesion, ...]:
        """The lesions with what was decided, largest first; see `lesions_are_fresh`."""
        return self.review.lesions

    def refresh_lesions(self) -> None:
        """Make the list of lesions anew where labels were changed since."""
        if not self.lesions_are_fresh:
            self.review.refresh(self.labels, self._islands())
            self.lesions_are_fresh = True

    def accept(self, number: int) -> None:
        """Say that a lesion is one."""
        self._decide(number, "accepted", lambda: self.review.accept(number))

    def reject(self, number: int, reason: str) -> None:
        """Make a lesion normal lung, with one of `measures.review.REASONS`."""
        self._decide(number, "rejected", lambda: self.review.reject(number, reason))

    def change_kind(self, number: int) -> None:
        """Make a lesion all high opacity if it is mostly GGO, and all GGO otherwise."""
        self._decide(number, "kind changed", lambda: self.review.change_kind(number))

    def lock(self, number: int) -> None:
        """Keep a lesion as it is, whatever the sensitivity."""
        self._decide(number, "locked", lambda: self.review.lock(number))

    # Sensitivity.

    @property
    def has_sensitivity(self) -> bool:
        """Whether the probability was kept, and the labels it belongs to are known."""
        return self.opened.probability is not None and self.opened.machine_labels is not None

    def margin_code(self, lesion: int | None = None) -> int:
        """Return the code that was last chosen for the whole scan, or for one lesion."""
        provenance = self.opened.provenance
        opened = None if lesion is not None or provenance is None else provenance.lesion_margin
        return next(
            (
                step.margin_code
                for step in reversed(self._done)
                if isinstance(step, Edit) and step.what == SENSITIVITY and step.lesion == lesion
            ),
            code_of_margin(opened),
        )

    def set_sensitivity(self, margin_code: int, lesion: int | None = None) -> int:
        """Make lesion of what is above a code of `lesions.probability`; return voxels changed.

        What was decided or painted by hand stays. Moving on from one code to the next is one step.

        Args:
            margin_code: 0…255; the higher, the less is lesion.
            lesion: the number of the lesion that alone is changed; None changes the whole scan.

        Raises:
            BadInputError: the probability was not kept, or there is no such lesion or code.
        """
        if not self.has_sensitivity:
            raise BadInputError(
                "The lesion probability was not kept with this result; segment again with "
                "--probability."
            )
        last = self._done[-1] if self._done else None
        if isinstance(last, Edit) and last.what == SENSITIVITY and last.lesion == lesion:
            self.undo()
            self._undone.pop()
        region = None
        if lesion is not None:
            self.refresh_lesions()
            chosen = self.review.lesion(lesion)
            region = np.zeros(self.labels.shape, bool)
            region[chosen.island.box] = chosen.mask
        wanted = self._at_margin(self.labels, margin_code, region, self._held())
        voxels = np.flatnonzero(wanted != self.labels)
        edit = self._edit(SENSITIVITY, voxels, wanted.reshape(-1)[voxels], margin_code, lesion)
        self._apply(edit.voxels, edit.after)
        if margin_code != self.margin_code(lesion) or len(voxels):
            self._note(edit)
        return len(edit.voxels)

    # Back and forth.

    def undo(self) -> bool:
        """Take the last step back; return whether there was one."""
        if not self._done:
            return False
        step = self._done.pop()
        self._undone.append(step)
        if isinstance(step, Edit):
            self._apply(step.voxels, step.before)
        else:
            self.review.undo()
            self._count_decided()
        return True

    def redo(self) -> bool:
        """Do the step again that was taken back last; return whether there was one."""
        if not self._undone:
            return False
        step = self._undone.pop()
        self._done.append(step)
        if isinstance(step, Edit):
            self._apply(step.voxels, step.after)
        else:
            self.review.redo()
            self._count_decided()
        return True

    def saved(self, measured: Quantification) -> None:
        """Go on with what was saved, measured anew; what was done can still be undone.

        Raises:
            BadInputError: it was measured of other labels.
        """
        if not np.array_equal(measured.labels, self.labels):
            raise BadInputError("The labels were changed meanwhile; save them again.")
        self._measured = measured
        self._start_counting()
        self._saved_after = len(self._done)

    def _decide(self, number: int, what: str, decide: Callable[[], None]) -> None:
        self.refresh_lesions()
        decide()
        self._note(Decision(f"{number} {what}"))
        self._count_decided()

    def _at_margin(
        self,
        labels: np.ndarray,
        margin_code: int,
        region: np.ndarray | None = None,
        held: np.ndarray | None = None,
    ) -> np.ndarray:
        """Labels as a margin makes them; arguments as of `apply_sensitivity`."""
        probability, machine_labels = self.opened.probability, self.opened.machine_labels
        assert probability is not None and machine_labels is not None
        hu, spacing_mm = self.ct.hu, self.ct.geometry.spacing_mm
        return apply_sensitivity(
            machine_labels, labels, probability, hu, spacing_mm, margin_code, region, held
        )

    def _found_corrected(self) -> np.ndarray | None:
        """Voxels that were corrected in an earlier session, whatever its sensitivity; or None."""
        machine_labels = self.opened.machine_labels
        if not self.has_sensitivity or machine_labels is None or self.changed_voxels == 0:
            return None
        return self.labels != self._at_margin(machine_labels, self.margin_code())

    def _held(self) -> np.ndarray:
        """Voxels that no slider may change: decided, or painted by hand."""
        held = self.review.held()
        if self._corrected_before is not None:
            held |= self._corrected_before
        for step in self._done:
            if isinstance(step, Edit) and step.what == STROKE:
                held.reshape(-1)[step.voxels] = True
        return held

    def _edit(
        self,
        what: str,
        voxels: np.ndarray,
        values: np.ndarray,
        margin_code: int = DECISION_CODE,
        lesion: int | None = None,
    ) -> Edit:
        """A step of those voxels that it changes."""
        before = self.labels.reshape(-1)[voxels]
        changed = before != values
        return Edit(
            what,
            voxels[changed],
            before[changed],
            values[changed].astype(np.uint8),
            margin_code,
            lesion,
        )

    def _note(self, step: Edit | Decision) -> None:
        """Remember a step that was taken."""
        if self._saved_after is not None and self._saved_after > len(self._done):
            # What was saved can no longer be reached by redo.
            self._saved_after = None
        self._done.append(step)
        self._undone.clear()

    def _apply(self, voxels: np.ndarray, values: np.ndarray) -> None:
        self.labels.reshape(-1)[voxels] = values
        self._count_again()

    def _count_again(self) -> None:
        self._recounted = self._count.recount(self.labels)
        self.lesions_are_fresh = False

    def _count_decided(self) -> None:
        """Count again after a decision, of which the list of lesions knows already."""
        were_fresh = self.lesions_are_fresh
        self._count_again()
        self.lesions_are_fresh = were_fresh

    def _islands(self) -> IslandMap:
        return map_islands(
            self.labels,
            self.ct.geometry.spacing_mm,
            self._measured.lobes,
            self._measured.lungs,
            self.ct.hu,
            self.opened.probability,
        )

    def _start_counting(self) -> None:
        measured, ct = self._measured, self.ct
        regions = measured.segments if measured.segments is not None else measured.lungs
        self._count = RunningCount(
            ct.hu,
            self.labels,
            regions,
            measured.segments is not None,
            ct.geometry.spacing_mm,
            ct.geometry.voxel_volume_ml,
            self._reference,
        )
        self._recounted = self._count.recount(self.labels)
