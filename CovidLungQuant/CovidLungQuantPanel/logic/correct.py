"""Correcting by hand: Segment Editor set up for it, strokes counted, corrections told."""

from dataclasses import replace

from slicer.i18n import tr as _

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.labels import GGO
from CovidLungQuantLib.mrml.chart import lobe_chart_to_node
from CovidLungQuantLib.mrml.density import renew_density
from CovidLungQuantLib.mrml.scene_result import as_it_lies
from CovidLungQuantLib.mrml.segmentation import note_edits, segmentation_from_node
from CovidLungQuantLib.mrml.table import (
    correction_from_node,
    is_stale,
    measurements_to_node,
    set_correction,
    set_stale,
)
from CovidLungQuantLib.mrml.volumes import ct_from_node

LUNGS_CHANGED = "lungs_changed_by_hand"
# What Segment Editor's own module calls its node.
SEGMENT_EDITOR_TAG = "SegmentEditor"


class CorrectLogic:
    """Keeps the numbers of a result true to its segments while a person paints."""

    def __init__(self, run, writing, counter):
        self._run = run
        self._writing = writing
        self._counter = counter

    def takeUp(self, result):
        """Be ready to count changes of a result as it lies, such as one of a loaded scene.

        :return: whether that is so; where the numbers are not those of the segments it is not, and
            the next change measures the whole scan.
        """
        if self._counter.isOf(result):
            return True
        try:
            lying = as_it_lies(result, ct_from_node(result.volume))
        except CovidLungQuantError:
            # Measuring says what is wrong.
            return False
        if lying is None:
            return False
        self._counter.start(result, lying)
        return True

    def recount(self, result, review=None):
        """Take the numbers again after a stroke, an undo or a redo.

        :param review: (margin, record of decisions) of a reader, kept with the numbers.
        """
        if not self._counter.isOf(result):
            self._run.measure(result)
            if review is None:
                return
        labels = result.labels()
        recounted = self._counter.recount(labels)
        isNoted = review is not None and self._note(*review)
        if recounted.changed_voxels == 0 and not isNoted and not is_stale(result.table):
            return
        with self._writing():
            if recounted.changed_voxels or isNoted:
                self._write(result, labels, recounted)
            set_stale(result.table, False)

    def _note(self, margin, record):
        """Keep a reader's decisions in the provenance; return whether they are news."""
        quantification = self._counter.quantification
        before = quantification.provenance
        after = replace(before, review=record or None)
        if margin is not None:
            after = replace(after, lesion_margin=margin)
        self._counter.quantification = replace(quantification, provenance=after)
        return after != before

    def _write(self, result, labels, recounted):
        """Write the numbers of a corrected label map, of which `recounted` tells."""
        quantification = _recounted(self._counter.quantification, labels, recounted)
        self._counter.quantification = quantification
        measurements_to_node(result.scene, quantification, result.volume, result.table)
        lobe_chart_to_node(result.scene, quantification, result.volume, result.segmentation)
        renew_density(result.scene, result.volume, labels)
        note_edits(result.segmentation, labels)
        set_correction(result.table, recounted.correction)

    def correctionOf(self, tableNode):
        """Return how the segments behind a table differ from the machine's; None if unknown."""
        return None if tableNode is None else correction_from_node(tableNode)

    def isEdited(self, result):
        """Whether the segments are not what was last written into them."""
        node = result.segmentation
        if node is None or node.GetSegmentation().GetNumberOfSegments() == 0:
            return False
        try:
            labels, _warnings = segmentation_from_node(node, result.volume)
        except CovidLungQuantError:
            return True
        return note_edits(node, labels)

    def prepareCorrection(self, result, mayLeaveLungs=False):
        """Set Segment Editor up for correcting a result; return its node."""
        segmentationNode = result.segmentation
        editorNode = _segmentEditorNode(result.scene)
        editorNode.SetAndObserveSegmentationNode(segmentationNode)
        editorNode.SetAndObserveSourceVolumeNode(result.volume)
        editorNode.SetOverwriteMode(editorNode.OverwriteAllSegments)
        editorNode.SetMaskMode(
            segmentationNode.EditAllowedEverywhere
            if mayLeaveLungs
            else segmentationNode.EditAllowedInsideAllSegments
        )
        if segmentationNode.GetSegmentation().GetSegment(GGO.segment_id) is not None:
            editorNode.SetSelectedSegmentID(GGO.segment_id)
        return editorNode


def _segmentEditorNode(scene):
    """The node of Segment Editor's module; made where the module was not opened yet."""
    editorNode = scene.GetSingletonNode(SEGMENT_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if editorNode is None:
        editorNode = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        editorNode.UnRegister(None)
        editorNode.SetSingletonTag(SEGMENT_EDITOR_TAG)
        editorNode = scene.AddNode(editorNode)
    return editorNode


def _recounted(quantification, labels, recounted):
    """Return a quantification with the numbers of a corrected label map."""
    before = quantification.measurements
    kept = [
        warning
        for warning in quantification.warnings
        if warning not in before.warnings and warning.code != LUNGS_CHANGED
    ]
    if recounted.lung_was_added or recounted.lung_was_removed:
        kept.append(
            ScanWarning(
                LUNGS_CHANGED,
                _(
                    "The lungs themselves were changed by hand; left, right and lobes are those of"
                    " before, added lung counts to the nearest. Measure again divides them anew."
                ),
            )
        )
    correction = recounted.correction
    changedVoxels = None if correction is None else correction.changed_voxels
    provenance = quantification.provenance
    return replace(
        quantification,
        labels=labels,
        measurements=replace(recounted.measurements, notes=before.notes),
        warnings=(*kept, *recounted.measurements.warnings),
        provenance=replace(
            provenance, options={**provenance.options, "changed_voxels": changedVoxels}
        ),
    )
