"""The buttons that run something: Segment, Measure again and Cancel, with progress and status."""

import logging
import time

import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.widgets import showText


class RunSection(Section):
    """Segments and measures, and lets other sections run what takes long (`runWork`)."""

    def setup(self):
        """Connect the buttons."""
        # Whether Cancel was pressed in this run, which may consist of several.
        self.isStopping = False
        self.ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self.ui.measureButton.connect("clicked(bool)", self.onMeasureButton)

    def show(self):
        """Offer what can be run on the chosen nodes."""
        self._updateButtons(self._logic.isRunning)

    def onSetChanged(self):
        """Another set's run is no news here."""
        self.showStatus("")

    def setRunning(self, running):
        """Show the progress of a run, and offer to stop it."""
        self.ui.progressBar.visible = running
        self.ui.progressBar.value = 0
        self.ui.cancelButton.enabled = running
        self.ui.outputsCollapsibleButton.enabled = not running
        self._updateButtons(running)

    def onSegmentButton(self):
        """Segment the selected volume and show the result."""
        chosen = self._parameterNode
        volumeNode = chosen.inputVolume
        if not self._mayOverwrite(volumeNode, chosen.outputSegmentation):
            return
        nodes = self._runAndKeep(
            chosen,
            lambda: self._logic.segment(
                volumeNode,
                chosen.outputSegmentation,
                chosen.outputTable,
                options=self._logic.chosenOptions(chosen),
                progress=self.showProgress,
                lobesNode=chosen.lobes,
            ),
        )
        if nodes is not None:
            self._logic.showResult(volumeNode, *nodes)
            chosen.shownLesion = 0
            self._panel.onSegmented()

    def onMeasureButton(self):
        """Measure the selected segmentation as it is now."""
        chosen = self._parameterNode
        self._runAndKeep(
            chosen,
            lambda: self._logic.measure(
                chosen.inputVolume,
                chosen.outputSegmentation,
                chosen.outputTable,
                progress=self.showProgress,
                lobesNode=chosen.lobes,
            ),
        )

    def onCancelButton(self):
        """Stop the run at its next step."""
        self.isStopping = True
        self.showStatus(_("Cancelling…"))
        self.ui.cancelButton.enabled = False
        self._logic.cancel()

    def runWork(self, work):
        """Do `work` while the panel shows its progress; say how it ended.

        Returns what `work` returns; None where it was cancelled or failed, which a box says then.
        """
        if self._logic.isRunning or not self._panel.installation.ensureLibrary():
            return None
        start = time.monotonic()
        self.isStopping = False
        self._panel.setRunning(True)
        result, status, error = done(work)
        if self._isRemoved:
            return None
        self._panel.setRunning(False)
        seconds = time.monotonic() - start
        self.showStatus(status or _("Done in {seconds:.0f} s.").format(seconds=seconds))
        self._panel.updateSections()
        if error:
            slicer.util.errorDisplay(error)
        return result

    def showStatus(self, text):
        """Say something below the buttons."""
        showText(self.ui.statusLabel, text)

    def showProgress(self, fraction, message):
        """Show how far a run is."""
        if not self._isRemoved:
            self.ui.progressBar.value = round(100 * fraction)
            if self.ui.cancelButton.enabled:
                self.showStatus(message)

    def _runAndKeep(self, chosen, work):
        """Do `work`, which returns the output nodes, and put them into `chosen`; return its result.

        `chosen` and not self._parameterNode: the user may have left the module meanwhile.
        """
        nodes = self.runWork(work)
        if nodes is not None:
            chosen.outputSegmentation, chosen.outputTable = nodes
            self._panel.updateSections()
        return nodes

    def _mayOverwrite(self, volumeNode, segmentationNode):
        """Return whether segmenting may replace the chosen segmentation; asks if it was edited."""
        if not self._logic.isEdited(volumeNode, segmentationNode):
            return True
        return slicer.util.confirmOkCancelDisplay(
            _(
                "The segmentation “{name}” was edited or made elsewhere. Segmenting replaces its"
                " normal lung, GGO and high opacity. To keep them and renew the numbers, press"
                " Cancel here and then Measure again."
            ).format(name=segmentationNode.GetName()),
            _("Replace the segmentation?"),
        )

    def _updateButtons(self, running):
        chosen = self._parameterNode
        hasVolume = chosen is not None and chosen.inputVolume is not None
        hasSegmentation = chosen is not None and chosen.outputSegmentation is not None
        self.ui.segmentButton.enabled = hasVolume and not running
        self.ui.measureButton.enabled = hasVolume and hasSegmentation and not running
        if running:
            self.ui.segmentButton.toolTip = _("A run is on; wait for it or cancel it.")
        elif hasVolume:
            self.ui.segmentButton.toolTip = _("Segment the lungs and lesions and measure them.")
        else:
            self.ui.segmentButton.toolTip = _("Select a CT volume first.")


def done(work):
    """Do `work`; return (result, status, error): empty texts where all went well."""
    try:
        return work(), "", ""
    except Cancelled as reason:
        return None, str(reason), ""
    except CovidLungQuantError as reason:
        return None, _("Not done."), str(reason)
    except Exception as reason:
        logging.exception("CovidLungQuant failed")
        text = _("The run failed unexpectedly ({reason}); the log has the details.")
        return (
            None,
            _("Not done."),
            text.format(reason=reason or type(reason).__name__),
        )
