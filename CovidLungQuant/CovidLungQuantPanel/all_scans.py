"""The section "All loaded CTs": segments one scan after the other, each in a set of its own."""

from functools import partial

import qt
import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import Cancelled
from CovidLungQuantPanel.inputs import scansOfScene
from CovidLungQuantPanel.run import done
from CovidLungQuantPanel.section import Section

SCAN_COLUMN, RESULT_COLUMN = range(2)


class AllScansSection(Section):
    """Keeps a queue: a line says of each scan what came of it, and a click on it shows its set."""

    def setup(self):
        """Make the table and connect the button."""
        # The parameter set of each line; None where there is none any more.
        self._sets = []
        # PythonQt lets go of an item that nothing in Python holds.
        self._items = []
        self._widget, self.ui = self._panel.addSection("AllScans")
        header = self.ui.queueTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        self.ui.queueTable.connect("itemClicked(QTableWidgetItem*)", self.onLineClicked)
        self.ui.segmentAllButton.connect("clicked(bool)", self.onSegmentAll)
        self._list([])

    def show(self):
        """Offer to segment where there are scans."""
        count = len(scansOfScene())
        self.ui.segmentAllButton.enabled = count > 0
        self.ui.segmentAllButton.toolTip = (
            _("Segment {count} CTs with the options chosen above, each in a parameter set.").format(
                count=count
            )
            if count
            else _("Load a CT first.")
        )

    def onSceneClosing(self):
        """Forget the lines: their sets are about to go."""
        self._list([])

    def onSegmentAll(self):
        """Segment every scan; one that fails does not stop the others."""
        shown = self._parameterNode
        volumes = scansOfScene()
        self._list(volumes)
        self._panel.run.runWork(lambda: self._segmentAll(shown, volumes))
        if self._parameterNode is not None and self._parameterNode.parameterNode in self._sets:
            # What is shown was segmented, too.
            result = self._result
            self._logic.showResult(result.volume, result.segmentation, result.table)
            self._parameterNode.shownLesion = 0
            self._panel.onSegmented()

    def onLineClicked(self, item):
        """Show the parameter set of a line."""
        node = self._sets[item.row()]
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            self._panel.chooseParameterSet(node)

    def _segmentAll(self, shown, volumes):
        for row in range(len(volumes)):
            if self._panel.run.isStopping:
                self._stop(row, _("Cancelled; earlier results stay."))
            self._say(row, _("Running…"))
            nodes, status, error = done(partial(self._segment, shown, row, volumes))
            if self._isRemoved:
                return
            if nodes is None and not error:
                self._stop(row, status)
            if error:
                self._say(row, _("Failed: {reason}").format(reason=error))

    def _stop(self, row, reason):
        """Say of this line and those below that they were cancelled, and end the queue."""
        for left in range(row, len(self._sets)):
            self._say(left, _("Cancelled."))
        raise Cancelled(reason)

    def _segment(self, shown, row, volumes):
        """Segment one scan of the queue in its set; return the output nodes."""
        volumeNode = volumes[row]
        if not slicer.mrmlScene.IsNodePresent(volumeNode):
            self._say(row, _("No longer in the scene."))
            return ()
        chosen, isNew = self._setOf(volumeNode, shown)
        if self._logic.isEdited(volumeNode, chosen.outputSegmentation):
            self._sets[row] = chosen.parameterNode
            self._say(row, _("Left as it is: its segmentation was edited; Segment replaces it."))
            return ()

        def showProgress(fraction, message):
            text = _("{number} of {count}: {message}")
            self._panel.run.showProgress(
                (row + fraction) / len(volumes),
                text.format(number=row + 1, count=len(volumes), message=message),
            )

        try:
            nodes = self._logic.segment(
                volumeNode,
                chosen.outputSegmentation,
                chosen.outputTable,
                options=self._logic.chosenOptions(chosen),
                progress=showProgress,
                lobesNode=chosen.lobes,
            )
        except BaseException:
            if isNew and slicer.mrmlScene.IsNodePresent(chosen.parameterNode):
                slicer.mrmlScene.RemoveNode(chosen.parameterNode)
            raise
        chosen.outputSegmentation, chosen.outputTable = nodes
        self._sets[row] = chosen.parameterNode
        if chosen.parameterNode is not shown.parameterNode:
            # It would lie over the scan that is shown.
            nodes[0].SetDisplayVisibility(False)
        self._say(
            row, _("Done; parameter set “{name}”.").format(name=chosen.parameterNode.GetName())
        )
        return nodes

    def _setOf(self, volumeNode, shown):
        """Return (set, whether it is new) of a scan; a new one has the options of the shown one."""
        sets = [part for part in self._logic.parameterSets() if part.inputVolume is volumeNode]
        if shown.inputVolume is volumeNode:
            return shown, False
        if sets:
            return sets[0], False
        return self._logic.newParameterSet(volumeNode, shown), True

    def _list(self, volumes):
        """Begin a line for each scan; without scans the table takes no room."""
        self._sets = [None] * len(volumes)
        self._items = []
        table = self.ui.queueTable
        table.rowCount = len(volumes)
        table.visible = bool(volumes)
        for row, volumeNode in enumerate(volumes):
            self._put(row, SCAN_COLUMN, volumeNode.GetName())
            self._say(row, _("Waiting."))

    def _say(self, row, text):
        """Say in its line what comes of a scan; a closed scene has no lines any more."""
        if not self._isRemoved and row < len(self._sets):
            self._put(row, RESULT_COLUMN, text)
            self.ui.queueTable.resizeRowsToContents()

    def _put(self, row, column, text):
        item = qt.QTableWidgetItem(text)
        item.setToolTip(text)
        item.setFlags(qt.Qt.ItemIsEnabled)
        self._items.append(item)
        self.ui.queueTable.setItem(row, column, item)
