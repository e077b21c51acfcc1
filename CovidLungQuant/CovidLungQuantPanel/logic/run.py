"""Segmenting and measuring: voxels are read here, computed on in the worker, written here."""

from dataclasses import replace

from slicer.i18n import tr as _

from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError
from CovidLungQuantLib.mrml.lungs_so_far import remove_lungs_so_far, show_lungs_so_far
from CovidLungQuantLib.mrml.nodes import no_new_nodes_on_error
from CovidLungQuantLib.mrml.scene_result import with_model_of, write_numbers, write_result
from CovidLungQuantLib.mrml.segmentation import note_edits, segmentation_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node, geometry_of
from CovidLungQuantLib.quantification import AUTOMATIC_LOBES
from CovidLungQuantPanel.logic.library import loadPipeline
from CovidLungQuantPanel.logic.options import optionsWith


class RunLogic:
    """Segments and measures a result; afterwards its strokes can be counted."""

    def __init__(self, workers, writing, counter):
        self._workers = workers
        self._writing = writing
        self._counter = counter

    def segment(self, result, options=None, individual=None, progress=None):
        """Segment and measure the volume of a result; return the result that was written.

        :param result: `SceneResult`; its nodes are overwritten, missing ones are made.
        :param options: `CovidLungQuantLib.Options`; None is the default.
        :param individual: fields of the options by name that replace those of `options`.
        """
        options = optionsWith(options, individual or {})
        with self._workers.exclusively() as worker:
            pipeline = loadPipeline(progress)
            ct = ct_from_node(result.volume)
            lobes, warnings = None, ()
            if result.present().given_lobes is not None:
                lobes, warnings = result.read_lobes()
            # Over a result that is there already they would only be in the way.
            isNew = result.present().segmentation is None
            quantification = _compute(
                worker,
                result,
                ct,
                lambda report, show: pipeline.quantify(
                    ct, options, report, lobes, show if isNew else None
                ),
                progress,
            )
        quantification = _withWarnings(quantification, warnings)
        with self._writing():
            # Nodes may be gone by now; the result is then written into new ones.
            written = write_result(result.present(), quantification)
        written = replace(written, given_lobes=result.given_lobes)
        self._counter.start(written, quantification)
        return written

    def measure(self, result, progress=None):
        """Measure the segments of a result as they are now; return the result that was written."""
        with self._workers.exclusively() as worker:
            pipeline = loadPipeline(progress)
            ct = ct_from_node(result.volume)
            labels, warnings = segmentation_from_node(result.segmentation, result.volume)
            lobes, lobeWarnings = result.read_lobes()
            airwaysAndVessels, airwaysAndVesselsWarnings = result.read_airways_and_vessels()
            measured = _compute(
                worker,
                result,
                ct,
                lambda report, _show: pipeline.measure(
                    ct, labels, report, lobes, AUTOMATIC_LOBES, airwaysAndVessels
                ),
                progress,
            )
        measured = _withWarnings(measured, (*warnings, *lobeWarnings, *airwaysAndVesselsWarnings))
        measured = with_model_of(result, measured)
        with self._writing(), no_new_nodes_on_error(result.scene):
            # The user may have taken the segmentation away during the run.
            present = result.present()
            written = replace(result, table=write_numbers(present, measured).table)
            if present.segmentation is not None:
                note_edits(result.segmentation, labels)
                self._counter.start(written, measured)
        return written


def _compute(worker, result, ct, work, progress):
    """Let `worker` work on `ct`, which was read from a volume that has to stay as it is.

    :param work: called in the worker's thread with its progress callback, and with a function that
        takes lungs to be shown until the work is done.
    """
    volumeNode = result.volume
    volumeGone = _("Stopped: the volume is no longer in the scene.")
    modifiedBefore = volumeNode.GetImageData().GetMTime()
    found = []

    def isGone():
        return result.present().volume is None

    def look():
        if isGone():
            worker.cancel(volumeGone)
        elif found:
            show_lungs_so_far(result.scene, volumeNode, found.pop())

    try:
        computed = worker.compute(lambda report: work(report, found.append), progress, look)
    finally:
        remove_lungs_so_far(result.scene)
    if isGone():
        raise Cancelled(volumeGone)
    if not _isSame(volumeNode, ct, modifiedBefore):
        raise CovidLungQuantError(
            _("The volume was changed during the run, so nothing was written; run it again.")
        )
    return computed


def _isSame(volumeNode, ct, modifiedBefore):
    """Whether a volume still has the voxels and geometry of `ct`, which was read from it."""
    image = volumeNode.GetImageData()
    if image is None or (geometry_of(volumeNode).ijk_to_lps != ct.geometry.ijk_to_lps).any():
        return False
    if image.GetMTime() == modifiedBefore:
        return True
    # Marked as modified, which does not have to mean that a voxel is different.
    hu = ct_from_node(volumeNode).hu
    return hu.shape == ct.hu.shape and bool((hu == ct.hu).all())


def _withWarnings(quantification, warnings):
    return replace(quantification, warnings=(*quantification.warnings, *warnings))
