"""One result in a reader's hands: its labels, what is done to them, and the numbers of now.

`labels` is the one label map: every change goes through `Session`, is counted at once and can be
undone, so that numbers and labels never part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.ct import CTVolume, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import BACKGROUND_VALUE, BOTH_LUNGS_REGION, CLASS_COUNT, is_lung
from CovidLungQuantLib.measures.correction import Correction
from CovidLungQuantLib.measures.measurements import Measurements
from CovidLungQuantLib.measures.recount import Recounted, RunningCount
from CovidLungQuantLib.quantification import Quantification
from CovidLungQuantLib.viewer.opening import OpenedResult
from CovidLungQuantLib.viewer.painting import Stroke, voxels_of_stroke

LUNGS_CHANGED = ScanWarning(
    "lungs_changed_by_hand",
    "The lungs themselves were changed by hand; left, right and lobes are those of before, added "
    "lung counts to the nearest. Saving divides them anew.",
)


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of labels.

    Attributes:
        what: in a few words, for the undo button.
        voxels: flat indices, each once.
        before: their labels before the change.
        after: and after it.
    """

    what: str
    voxels: np.ndarray
    before: np.ndarray
    after: np.ndarray


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
        self._saved_after: int | None = 0
        codes = {warning.code for warning in measured.warnings}
        # What measuring alone would not say again.
        self.run_warnings = tuple(w for w in opened.warnings if w.code not in codes)
        self.run_notes = tuple(n for n in opened.notes if n not in measured.measurements.notes)
        self._measured = measured
        self._done: list[Edit] = []
        self._undone: list[Edit] = []
        self._start_counting()

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
        return self._recounted.correction

    @property
    def warnings(self) -> tuple[ScanWarning, ...]:
        """What to know about the numbers of now."""
        return (
            *self.run_warnings,
            *beyond_the_numbers(self._measured),
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

    @property
    def changed_voxels(self) -> int:
        """How many voxels are not as the network made them, or where that is unknown, as opened."""
        if self.correction is not None:
            return self.correction.changed_voxels
        if not self._done:
            return 0
        voxels = np.concatenate([edit.voxels for edit in self._done])
        before = np.concatenate([edit.before for edit in self._done])
        voxels, first = np.unique(voxels, return_index=True)
        return int(np.count_nonzero(before[first] != self.labels.reshape(-1)[voxels]))

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
        return self.relabel(voxels, np.full(len(voxels), value, np.uint8), "stroke")

    def relabel(self, voxels: np.ndarray, values: np.ndarray, what: str) -> int:
        """Give voxels new labels as one step that can be undone; return how many changed.

        Args:
            voxels: flat indices, each once.
            values: a label for each.
            what: the step in a few words.

        Raises:
            BadInputError: nothing would be left to measure, or a value is no label.
        """
        before = self.labels.reshape(-1)[voxels]
        changed = before != values
        if not changed.any():
            return 0
        edit = Edit(what, voxels[changed], before[changed], values[changed].astype(np.uint8))
        if edit.after.max() >= CLASS_COUNT:
            raise BadInputError("There is no such label; choose one of the list.")
        self._apply(edit.voxels, edit.after)
        if self.measurements.region(BOTH_LUNGS_REGION).volume_ml == 0:
            self._apply(edit.voxels, edit.before)
            raise BadInputError("No lung would be left; the step was not taken.")
        if self._saved_after is not None and self._saved_after > len(self._done):
            # What was saved can no longer be reached by redo.
            self._saved_after = None
        self._done.append(edit)
        self._undone.clear()
        return len(edit.voxels)

    def undo(self) -> Edit | None:
        """Take the last step back; return it, or None where there was none."""
        if not self._done:
            return None
        edit = self._done.pop()
        self._undone.append(edit)
        self._apply(edit.voxels, edit.before)
        return edit

    def redo(self) -> Edit | None:
        """Do the step again that was taken back last; return it, or None where there was none."""
        if not self._undone:
            return None
        edit = self._undone.pop()
        self._done.append(edit)
        self._apply(edit.voxels, edit.after)
        return edit

    def saved(self, measured: Quantification) -> None:
        """Go on with what was saved, measured anew; what was done can still be undone.

        Raises:
            BadInputError: it was measured of other labels.
        """
        check_labels(measured.labels, self.labels.shape)
        if not np.array_equal(measured.labels, self.labels):
            raise BadInputError("The labels were changed meanwhile; measure them again.")
        self._measured = measured
        self._start_counting()
        self._saved_after = len(self._done)

    def _apply(self, voxels: np.ndarray, values: np.ndarray) -> None:
        self.labels.reshape(-1)[voxels] = values
        self._recounted = self._count.recount(self.labels)

    def _start_counting(self) -> None:
        measured, ct = self._measured, self.ct
        has_lobes = measured.segments is not None
        regions = measured.segments if measured.segments is not None else measured.lungs
        self._count = RunningCount(
            ct.hu,
            self.labels,
            regions,
            has_lobes,
            ct.geometry.spacing_mm,
            ct.geometry.voxel_volume_ml,
            self.opened.machine_labels,
        )
        self._recounted: Recounted = self._count.recount(self.labels)


def beyond_the_numbers(measured: Quantification) -> tuple[ScanWarning, ...]:
    """Warnings of a measured label map that its numbers alone do not give."""
    own = measured.measurements.warnings
    return tuple(warning for warning in measured.warnings if warning not in own)
