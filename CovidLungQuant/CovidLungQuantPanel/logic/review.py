"""Lesions one by one, in the scene: a reader's decisions and other sensitivities, with undo.

What is decided and what another margin makes of the lesions is worked out by the library; here the
segments and the numbers of the result follow.
"""

from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _

from CovidLungQuantLib.counting import lungs_of_lobes
from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.labels import is_lung
from CovidLungQuantLib.lesions.local_fix import fix_locally
from CovidLungQuantLib.lesions.probability import DECISION_CODE, code_of_margin, margin_of_code
from CovidLungQuantLib.lesions.sensitivity import apply_sensitivity
from CovidLungQuantLib.measures.lesion_islands import map_islands
from CovidLungQuantLib.measures.review import LOCKED, Review
from CovidLungQuantLib.mrml.scene_result import read_table
from CovidLungQuantLib.mrml.segmentation import (
    PROVENANCE_ATTRIBUTE,
    renew_surfaces,
    write_labels,
)
from CovidLungQuantLib.mrml.segments import BINARY_LABELMAP
from CovidLungQuantLib.mrml.volumes import ct_from_node, geometry_of


@dataclass
class _Slide:
    """How all was before a slider was moved: labels, those the sliders made, the lesions' own."""

    lesion: int | None
    labels: np.ndarray
    slid: np.ndarray
    own: np.ndarray
    codes: dict


@dataclass
class _SlideStep:
    """What one slide changed, for undo and redo."""

    places: np.ndarray
    before: tuple
    after: tuple
    ownBefore: np.ndarray
    ownAfter: np.ndarray
    codesBefore: dict
    codesAfter: dict


class LesionReview:
    """The lesions of one measured result; every change is written into the scene at once.

    Codes are those of `lesions.probability`. What a person painted, what is decided, and what a
    lesion's own slider made is left alone by the slider of the whole scan.
    """

    def __init__(self, result, correct, counter, writing):
        self.result = result
        self._run = _runOf(result)
        self._correct = correct
        self._counter = counter
        self._writing = writing
        geometry = geometry_of(result.volume)
        self._spacing_mm = geometry.spacing_mm
        counted = counter.quantification if correct.takeUp(result) else None
        self._hu = ct_from_node(result.volume).hu if counted is None else counted.ct.hu
        self._lobes = _readLobes(result) if counted is None else counted.lobes
        self._lungs = _lungsOf(self._lobes) if counted is None else counted.lungs
        self._machine = result.machine_labels()
        self._probability = None if self._machine is None else result.lesion_probability()
        labels = result.labels()
        self._stamp = _stampOf(result.segmentation)
        self._review = Review(labels, self._map(labels))
        # Codes of the whole scan (None) and of lesions that have one of their own.
        self._codes = {None: DECISION_CODE}
        self._takeUpRecord()
        self._slid = self._labelsAt(self._codes[None])
        self._own = np.zeros(labels.shape, bool)
        self._slide = None
        self._areSurfacesOld = False
        # Steps back and forth: None is a decision, which `Review` keeps.
        self._done, self._undone = [], []

    def isOf(self, result):
        """Whether this is of the run that a result holds now."""
        return result == self.result and _runOf(result) == self._run

    @property
    def isCounted(self):
        """Whether a change is counted at once; otherwise the next one measures the whole scan."""
        return self._counter.isOf(self.result)

    @property
    def lesions(self):
        """All lesions, those rejected too, largest first: `measures.review.ReviewedLesion`."""
        return self._review.lesions

    @property
    def left(self):
        """How many lesions are left to look at."""
        return self._review.left

    @property
    def hasProbability(self):
        """Whether the sensitivity can be changed: the run has kept the network's probability."""
        return self._probability is not None

    @property
    def canUndo(self):
        """Whether there is anything to undo."""
        return bool(self._done) or self._slide is not None

    @property
    def canRedo(self):
        """Whether there is anything to redo."""
        return bool(self._undone)

    def codeOf(self, index=None):
        """Return the code of a lesion, or of the whole scan."""
        return self._codes.get(index, self._codes[None])

    def accept(self, index):
        """Say that a lesion is one."""
        self._decide(lambda: self._review.accept(index))

    def reject(self, index, reason):
        """Make a lesion normal lung, for one of `measures.review.REASONS`."""
        self._decide(lambda: self._review.reject(index, reason))

    def changeKind(self, index):
        """Make a lesion high opacity if it is mostly GGO, and GGO otherwise."""
        self._decide(lambda: self._review.change_kind(index))

    def lock(self, index):
        """Keep a lesion as it is, whatever sliders do."""
        self._decide(lambda: self._review.lock(index))

    def undo(self):
        """Take the last decision or slide back; return the number of its lesion, if of one."""
        self.follow()
        self.endSlide()
        return self._step(self._done, self._undone, forth=False)

    def redo(self):
        """Do again what was undone; returns as `undo`."""
        self.follow()
        self.endSlide()
        return self._step(self._undone, self._done, forth=True)

    def setSensitivity(self, code, index=None):
        """Let the whole scan, or one lesion, be as a code makes it; the numbers follow.

        Moves in a row are one step to undo, until `endSlide` or any other change.
        """
        if not self.hasProbability:
            raise CovidLungQuantError(
                _("The lesion probability was not kept with this result; segment the volume again.")
            )
        self.follow()
        if self._slide is None or self._slide.lesion != index:
            self.endSlide()
            self._slide = _Slide(
                index,
                self._review.labels.copy(),
                self._slid.copy(),
                self._own.copy(),
                dict(self._codes),
            )
        start = self._slide
        region, locked = None, start.labels != start.slid
        if index is None:
            locked |= self._review.held() | start.own
        else:
            lesion = self._review.lesion(index)
            if lesion.is_decided:
                raise CovidLungQuantError(_("This lesion is decided; undo that first."))
            region = np.zeros(locked.shape, bool)
            region[lesion.island.box] = lesion.mask
            locked |= self._review.held()
        labels = apply_sensitivity(
            self._machine,
            start.labels,
            self._probability,
            self._hu,
            self._spacing_mm,
            code,
            region,
            locked,
        )
        self._slid = np.where(locked, start.slid, labels)
        if index is not None:
            self._own = start.own | region | (labels != start.labels)
        self._codes = {**start.codes, index: code}
        np.copyto(self._review.labels, labels)
        self._write(isSliding=True)

    def fixAt(self, lesionMarks, otherMarks):
        """Return a `LocalFix`: what marked voxels, bool (z, y, x), change around them.

        Nothing is written; locked lesions stay. For `applyFix`.
        """
        self.follow()
        self.endSlide()
        labels = self._review.labels
        locked = np.zeros(labels.shape, bool)
        for lesion in self._review.lesions:
            if lesion.state == LOCKED:
                locked[lesion.island.box] |= lesion.mask
        return fix_locally(
            labels,
            self._probability,
            self._hu,
            is_lung(labels),
            self._spacing_mm,
            lesionMarks,
            otherMarks,
            locked,
        )

    def applyFix(self, fix):
        """Write what `fixAt` returned into segments and numbers; one step to undo."""
        self.follow()
        self.endSlide()
        labels = self._review.labels
        if ((labels[fix.box] != fix.labels[fix.box]) != fix.changed).any():
            raise CovidLungQuantError(
                _("The segments have changed since the fix was outlined; mark the place again.")
            )
        self._slide = _Slide(
            None, labels.copy(), self._slid.copy(), self._own.copy(), dict(self._codes)
        )
        np.copyto(labels[fix.box], fix.labels[fix.box], where=fix.changed)
        self.endSlide()
        self._write()

    def endSlide(self):
        """Take what the slider made as it is: one step to undo; list and surfaces made anew."""
        start, self._slide = self._slide, None
        if start is None:
            return
        if self._areSurfacesOld:
            self._areSurfacesOld = False
            with self._writing():
                renew_surfaces(self.result.segmentation)
        labels = self._review.labels
        places = np.flatnonzero((start.labels != labels) | (start.slid != self._slid))
        self._done.append(
            _SlideStep(
                places,
                (start.labels.reshape(-1)[places], start.slid.reshape(-1)[places]),
                (labels.reshape(-1)[places], self._slid.reshape(-1)[places]),
                np.packbits(start.own),
                np.packbits(self._own),
                start.codes,
                self._codes,
            )
        )
        self._undone.clear()
        self._review.refresh(labels, self._map(labels))

    def follow(self):
        """Take up what was painted meanwhile."""
        stamp = _stampOf(self.result.segmentation)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        labels = self.result.labels()
        if not np.array_equal(labels, self._review.labels):
            self.endSlide()
            self._review.refresh(labels, self._map(labels))

    def _decide(self, decide):
        self.follow()
        self.endSlide()
        decide()
        try:
            self._write()
        except CovidLungQuantError:
            self._review.undo()
            raise
        self._done.append(None)
        self._undone.clear()

    def _step(self, fromSteps, toSteps, forth):
        if not fromSteps:
            return None
        step = fromSteps.pop()
        toSteps.append(step)
        if step is None:
            index = self._review.redo() if forth else self._review.undo()
        else:
            index = self._slideBack(step, forth)
        self._write()
        return index

    def _slideBack(self, step, forth):
        labels = self._review.labels
        (expected, _slid), (wanted, slid) = (
            (step.before, step.after) if forth else (step.after, step.before)
        )
        now = labels.reshape(-1)[step.places]
        # What somebody has painted since stays.
        labels.reshape(-1)[step.places] = np.where(now == expected, wanted, now)
        self._slid.reshape(-1)[step.places] = slid
        own = step.ownAfter if forth else step.ownBefore
        self._own = np.unpackbits(own, count=labels.size).astype(bool).reshape(labels.shape)
        self._codes = step.codesAfter if forth else step.codesBefore
        self._review.refresh(labels, self._map(labels))

    def _write(self, isSliding=False):
        """Write segments, numbers and decisions into the scene; surfaces once a slider stands."""
        with self._writing():
            node, volume, labels = self.result.segmentation, self.result.volume, self._review.labels
            write_labels(node, volume, labels, with_surfaces=not isSliding)
            self._areSurfacesOld = isSliding
            self._stamp = _stampOf(self.result.segmentation)
        margin = margin_of_code(self._codes[None]) if self.hasProbability else None
        self._correct.recount(self.result, (margin, self._review.record()))

    def _map(self, labels):
        return map_islands(
            labels, self._spacing_mm, self._lobes, self._lungs, self._hu, self._probability
        )

    def _takeUpRecord(self):
        """Go on with what the table says was decided before."""
        record, _notices = read_table(self.result.table)
        provenance = (record and record.provenance) or {}
        self._review.take_up(provenance.get("review") or ())
        if self.hasProbability:
            self._codes = {None: code_of_margin(provenance.get("lesion_margin"))}

    def _labelsAt(self, code):
        """The machine's label map at a code; where that is not known, as all is now."""
        if not self.hasProbability:
            return self._review.labels.copy()
        return apply_sensitivity(
            self._machine, self._machine, self._probability, self._hu, self._spacing_mm, code
        )


def _runOf(result):
    """What tells the runs of one result apart: provenance with timings, and the volume's voxels."""
    image = result.volume.GetImageData()
    return (
        result.segmentation.GetAttribute(PROVENANCE_ATTRIBUTE),
        None if image is None else image.GetMTime(),
    )


def _stampOf(segmentationNode):
    """What changes with every change of the segments' voxels."""
    segmentation = segmentationNode.GetSegmentation()
    segments = map(segmentation.GetNthSegment, range(segmentation.GetNumberOfSegments()))
    images = (segment.GetRepresentation(BINARY_LABELMAP) for segment in segments)
    return tuple(0 if image is None else image.GetMTime() for image in images)


def _readLobes(result):
    try:
        return result.read_lobes()[0]
    except CovidLungQuantError:
        # Measuring says what is wrong with them; the lesions can be visited without.
        return None


def _lungsOf(lobes):
    return None if lobes is None else lungs_of_lobes(lobes)
