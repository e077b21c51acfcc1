"""The section "Correction": the way to Segment Editor and back; the numbers follow each stroke."""

import logging

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY
from CovidLungQuantLib.measures.structures import LESION, LUNG
from CovidLungQuantLib.mrml.nodes import result_of
from CovidLungQuantLib.mrml.table import is_stale, set_stale
from CovidLungQuantPanel.section import Section, resultOf
from CovidLungQuantPanel.widgets import formatNumber, keepColumnsInSight, showText

# Rows of the table of corrections in the .ui file.
SHOWN_STRUCTURES = (LUNG, LESION, GGO.name, HIGH_OPACITY.name)
# Several changes of one stroke are counted once; short, since the reader waits for the numbers.
RECOUNT_DELAY_MS = 200


class CorrectionSection(Section):
    """Sets Segment Editor up, follows its strokes, and shows machine against corrected.

    The segments are followed while the user is in Segment Editor, too: only the end of the scene
    or of the panel lets go of them.
    """

    def setup(self):
        """Connect the buttons and the timer that waits for the end of a stroke."""
        self._observedTable = None
        self._observedSegmentations = []
        self._recountTimer = qt.QTimer()
        self._recountTimer.setSingleShot(True)
        self._recountTimer.setInterval(RECOUNT_DELAY_MS)
        self._recountTimer.connect("timeout()", self.onRecountTimer)
        keepColumnsInSight(self.ui.correctionTable)
        self.ui.correctButton.connect("clicked(bool)", self.onCorrectButton)
        self.ui.mayLeaveLungsCheckBox.connect("toggled(bool)", self.onMayLeaveLungs)

    def show(self):
        """Follow the chosen result and show how far it is corrected."""
        self.ui.mayLeaveLungsCheckBox.checked = self._parameterNode.mayLeaveLungs
        self._updateButton(self._logic.isRunning)
        self._observeSegmentations(self._segmentationsOfResults())
        self._observeTable(self._parameterNode.outputTable)
        self.showTable(self._parameterNode.outputTable)

    def letGo(self):
        """Follow no table any more."""
        self._observeTable(None)

    def onSetChanged(self):
        """What was to be counted was another set's."""
        self._recountTimer.stop()
        showText(self.ui.staleLabel, "")
        if self._parameterNode is not None:
            self._showStale(self._parameterNode.outputTable)

    def onSceneClosing(self):
        """Let go of the segments and of what is kept for counting."""
        self._observeSegmentations([])
        self._logic.forget()

    def setRunning(self, running):
        """Refuse to correct during a run."""
        self._updateButton(running)

    def cleanup(self):
        """Let go of the scene, and count no stroke any more."""
        self._recountTimer.stop()
        self._observeSegmentations([])
        super().cleanup()

    def onCorrectButton(self):
        """Open Segment Editor on the result, so set up that strokes keep to the lungs."""
        chosen = self._parameterNode
        self._logic.prepareCorrection(
            chosen.inputVolume, chosen.outputSegmentation, chosen.mayLeaveLungs
        )
        slicer.util.selectModule("SegmentEditor")

    def onMayLeaveLungs(self, checked):
        """Keep in the parameter node whether strokes may leave the lungs."""
        if self._parameterNode is not None:
            self._parameterNode.mayLeaveLungs = checked

    def onTableModified(self, caller, event):
        """The shown table holds other numbers now."""
        self.showTable(self._observedTable)

    def onSegmentationChanged(self, caller, event):
        """A stroke, an undo, a redo: the numbers are out of date at once, and are taken soon."""
        if self._logic.isWriting or slicer.mrmlScene.IsBatchProcessing():
            return
        chosen = self._logic.getParameterNode()
        for tableNode in slicer.util.getNodesByClass("vtkMRMLTableNode"):
            if result_of(tableNode) is caller:
                set_stale(tableNode, True)
        if caller is chosen.outputSegmentation and chosen.outputTable is not None:
            set_stale(chosen.outputTable, True)
            self._recountTimer.start()
        self._showStale(chosen.outputTable)

    def onRecountTimer(self):
        """The stroke has ended: take the numbers again."""
        # Not self._parameterNode: the user is in Segment Editor.
        result = resultOf(self._logic.getParameterNode())
        if self._isRemoved or not result.is_measured:
            return
        if self._logic.isRunning:
            self._recountTimer.start()
            return
        try:
            self._logic.recount(
                result.volume, result.segmentation, result.table, result.given_lobes
            )
            showText(self.ui.staleLabel, "")
        except CovidLungQuantError as reason:
            # No message box in the middle of painting; the table goes on saying it is out of date.
            showText(self.ui.staleLabel, str(reason))
        except Exception:
            logging.exception("Recounting failed")
            showText(self.ui.staleLabel, _("Recounting failed; the log has the details."))
        self._panel.results.showTable(result.table)
        self.showTable(result.table)

    def showTable(self, tableNode):
        """Show the machine's and the corrected volumes; without a correction, take no room."""
        correction = self._logic.correctionOf(tableNode)
        isCorrected = correction is not None and correction.changed_voxels > 0
        self.ui.correctionTable.visible = isCorrected
        text = ""
        if isCorrected:
            text = _("{voxels} voxels ({volume:.1f} mL) changed by hand.").format(
                voxels=correction.changed_voxels, volume=correction.changed_ml
            )
            self._fillTable(correction)
        showText(self.ui.correctionLabel, text)
        self._showStale(tableNode)

    def _fillTable(self, correction):
        structures = {row.structure: row for row in correction.structures}
        for row, structure in enumerate(SHOWN_STRUCTURES):
            shown = structures[structure]
            for column, (value, digits) in enumerate(
                ((shown.machine_ml, 1), (shown.corrected_ml, 1), (shown.dice, 3))
            ):
                self.ui.correctionTable.item(row, column).setText(formatNumber(value, digits))

    def _showStale(self, tableNode):
        """Say whether the shown numbers are out of date."""
        stale = tableNode is not None and is_stale(tableNode)
        text = self.ui.staleLabel.text or (
            _("Numbers out of date; counting again…")
            if self._recountTimer.isActive()
            else _("Numbers out of date; press Measure again.")
        )
        showText(self.ui.staleLabel, text if stale else "")

    def _updateButton(self, running):
        chosen = self._parameterNode
        isSegmented = chosen is not None and self._result.is_segmented
        self.ui.correctButton.enabled = isSegmented and not running

    def _segmentationsOfResults(self):
        """What is shown and what other tables were counted from: none may change unnoticed."""
        tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
        nodes = [self._parameterNode.outputSegmentation, *map(result_of, tables)]
        return list(dict.fromkeys(node for node in nodes if node is not None))

    def _observeTable(self, tableNode):
        """Follow changes of the shown table, which a script or the user may make."""
        if tableNode is self._observedTable:
            return
        modified = vtk.vtkCommand.ModifiedEvent
        if self._observedTable is not None:
            self.removeObserver(self._observedTable, modified, self.onTableModified)
        self._observedTable = tableNode
        if tableNode is not None:
            self.addObserver(tableNode, modified, self.onTableModified)

    def _observeSegmentations(self, segmentationNodes):
        """Follow changes of the results, also while the user is in Segment Editor."""
        if segmentationNodes == self._observedSegmentations:
            return
        events = (
            slicer.vtkSegmentation.SourceRepresentationModified,
            # All that an undo says.
            slicer.vtkSegmentation.SegmentModified,
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
        )
        for event in events:
            for node in self._observedSegmentations:
                self.removeObserver(node, event, self.onSegmentationChanged)
            for node in segmentationNodes:
                self.addObserver(node, event, self.onSegmentationChanged)
        self._observedSegmentations = segmentationNodes
