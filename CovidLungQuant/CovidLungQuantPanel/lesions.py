"""The section "Lesions": the list, decisions by one key each, and sliders of sensitivity."""

import qt
import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.measures.lesion_islands import doubtful_first
from CovidLungQuantLib.measures.review import REASONS, REJECTED
from CovidLungQuantLib.mrml.display import look_at
from CovidLungQuantPanel.lesion_texts import measuringOnce, reasonText, rowTexts, tip
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.sensitivity import SensitivitySliders
from CovidLungQuantPanel.widgets import keepColumnsInSight, showText

# The key of each button, as it stands on the button; several where there are two ways.
KEYS = {
    "nextLesionButton": ("N",),
    "previousLesionButton": ("P",),
    "acceptButton": ("A",),
    "rejectButton": ("X",),
    "kindButton": ("K",),
    "lockButton": ("L",),
    "undoButton": ("Ctrl+Z",),
    "redoButton": ("Ctrl+Y", "Ctrl+Shift+Z"),
}


class LesionsSection(Section):
    """Shows the lesions of the chosen result and lets a reader decide on each.

    The list is read when the section is open; its keys work while the module is.
    """

    def setup(self):
        """Make the list, its buttons and keys, and the sliders."""
        self._review = None
        self._shownIndices = []
        self._filling = False
        self._seenTable = None
        self._widget, self.ui = self._panel.addSection("Lesions")
        keepColumnsInSight(self.ui.lesionTable)
        for reason in REASONS:
            self.ui.reasonComboBox.addItem(reasonText(reason), reason)
        self._connectButtons()
        self._sliders = SensitivitySliders(self.ui, self._slide, self._settle)

    def _connectButtons(self):
        actions = {
            "largestLesionButton": self.onLargest,
            "nextLesionButton": self.onNext,
            "previousLesionButton": self.onPrevious,
            "acceptButton": self.onAccept,
            "rejectButton": self.onReject,
            "kindButton": self.onKind,
            "lockButton": self.onLock,
            "undoButton": self.onUndo,
            "redoButton": self.onRedo,
        }
        parent = slicer.util.mainWindow() or self._widget
        self._shortcuts = []
        for name, action in actions.items():
            button = getattr(self.ui, name)
            button.connect("clicked(bool)", action)
            for key in KEYS.get(name, ()):
                shortcut = qt.QShortcut(parent)
                shortcut.setKey(qt.QKeySequence(key))
                press = _pressing(button)
                shortcut.activated.connect(press)
                # Slicer's own menu may have the same key.
                shortcut.activatedAmbiguously.connect(press)
                shortcut.setEnabled(False)
                self._shortcuts.append(shortcut)
        self.ui.doubtfulFirstCheckBox.connect("clicked(bool)", self.onOrder)
        self.ui.lesionTable.connect("itemSelectionChanged()", self.onSelected)
        self._widget.connect("contentsCollapsed(bool)", self.onCollapsed)

    def show(self):
        """Show the lesions of the chosen result."""
        self._setKeysOn(True)
        if not self._isOpen or not self._result.is_measured or self._logic.isRunning:
            self._seenTable = None
            if not self._result.is_measured:
                self._forget()
            self._showAll()
            return
        seen = (self._result, self._result.table.GetMTime())
        if seen == self._seenTable:
            return
        self._seenTable = seen
        self._readList()

    def letGo(self):
        """Forget the lesions, and let the keys be another module's."""
        self._setKeysOn(False)
        if self._review is not None and self._review.result.present().is_measured:
            self._act(self._review.endSlide)
        self._forget()

    def onSetChanged(self):
        """The lesions were another set's."""
        self._forget()
        if self._parameterNode is not None:
            self.show()

    def onSceneClosing(self):
        """Let go of the scene."""
        self._forget()

    def setRunning(self, running):
        """Refuse clicks during a run; afterwards show its lesions."""
        super().setRunning(running)
        if not running and self._parameterNode is not None:
            self.show()

    def cleanup(self):
        """Let go of the keys for good."""
        super().cleanup()
        self._sliders.cleanup()
        for shortcut in self._shortcuts:
            shortcut.setKey(qt.QKeySequence())
        self._shortcuts = []

    def onCollapsed(self, collapsed):
        """Read the list once the section is opened."""
        if not collapsed and self._parameterNode is not None:
            self.show()

    def onLargest(self):
        """Go to the largest lesion."""
        if self._isReady():
            lesions = self._listed(bySize=True)
            self._goTo(lesions[0].island.index if lesions else 0)
            self._showAll()

    def onNext(self):
        """Go to the next lesion of the list."""
        self._goBy(1)

    def onPrevious(self):
        """Go to the lesion before in the list."""
        self._goBy(-1)

    def onAccept(self):
        """Accept the lesion at hand and go on."""
        self._decide(lambda review, index: review.accept(index), goOn=True)

    def onReject(self):
        """Make the lesion at hand normal lung and go on."""
        reason = self.ui.reasonComboBox.currentData
        self._decide(lambda review, index: review.reject(index, reason), goOn=True)

    def onKind(self):
        """Make the lesion at hand the other kind."""
        self._decide(lambda review, index: review.changeKind(index))

    def onLock(self):
        """Keep the lesion at hand from the sliders."""
        self._decide(lambda review, index: review.lock(index))

    def onUndo(self):
        """Take the last decision or slide back, and go to its lesion."""
        self._stepBack(lambda review: review.undo())

    def onRedo(self):
        """Decide or slide again."""
        self._stepBack(lambda review: review.redo())

    def onOrder(self):
        """List the lesions in the other order."""
        self._showAll()

    def onSelected(self):
        """A row was chosen: go to its lesion."""
        row = self.ui.lesionTable.currentRow()
        if not self._filling and 0 <= row < len(self._shownIndices):
            self._goTo(self._shownIndices[row])
            self._showAll()

    @property
    def _isOpen(self):
        return not self._widget.collapsed

    def _forget(self):
        self._sliders.stop()
        self._review, self._seenTable = None, None
        self._showAll()

    def _readList(self):
        with slicer.util.WaitCursor():
            self._act(self._takeReview, self._result)
        self._showAll()

    def _takeReview(self, result):
        self._review = None
        self._review = self._logic.lesionReview(
            result.volume, result.segmentation, result.table, result.given_lobes
        )
        self._review.follow()

    def _act(self, action, *arguments):
        """Do something that changes the scene; what is refused is said, where it was asked for."""
        try:
            action(*arguments)
        except CovidLungQuantError as reason:
            showText(self.ui.lesionsProblemLabel, str(reason))
            return False
        showText(self.ui.lesionsProblemLabel, "")
        # What was just written needs no second look.
        if self._parameterNode is not None and self._result.is_measured:
            self._seenTable = (self._result, self._result.table.GetMTime())
        return True

    def _change(self, action, *arguments):
        """As `_act`, of what changes numbers; where that takes a while it is said."""
        if self._review.isCounted:
            return self._act(action, *arguments)
        showText(self.ui.lesionsProblemLabel, measuringOnce())
        with slicer.util.WaitCursor():
            return self._act(action, *arguments)

    def _isReady(self):
        """Whether there is a list to act on; read where the section was closed."""
        if self._parameterNode is None or not self._result.is_measured or self._logic.isRunning:
            return False
        self._sliders.finish()
        if self._review is None or not self._review.isOf(self._result):
            self._readList()
        return self._review is not None and self._act(self._review.follow)

    def _decide(self, decide, goOn=False):
        index = self._parameterNode.shownLesion if self._isReady() else 0
        if index == 0:
            return
        before = self._listed()
        if self._change(lambda: decide(self._review, index)) and goOn:
            self._goTo(self._nextLeft(before, index))
        self._showAll()

    def _stepBack(self, step):
        if not self._isReady():
            return
        indices = []
        self._change(lambda: indices.append(step(self._review)))
        if indices and indices[0] is not None:
            self._goTo(indices[0])
        self._showAll()

    def _listed(self, bySize=False):
        """The lesions in the order of the list."""
        if self._review is None:
            return []
        lesions = list(self._review.lesions)
        if bySize or not self.ui.doubtfulFirstCheckBox.checked:
            return lesions
        ofIndex = {lesion.island.index: lesion for lesion in lesions}
        islands = doubtful_first(lesion.island for lesion in lesions)
        return [ofIndex[island.index] for island in islands]

    def _nextLeft(self, lesions, index):
        """The next lesion of a list that is left to look at, else the one at hand."""
        indices = [lesion.island.index for lesion in lesions]
        place = indices.index(index)
        left = {lesion.island.index for lesion in self._review.lesions if not lesion.is_decided}
        following = [*indices[place + 1 :], *indices[:place]]
        return next((other for other in following if other in left), index)

    def _goBy(self, step):
        if not self._isReady():
            return
        indices = [lesion.island.index for lesion in self._listed()]
        shown = self._parameterNode.shownLesion
        if shown not in indices:
            self._goTo(indices[0] if indices else 0)
        else:
            self._goTo(indices[min(max(indices.index(shown) + step, 0), len(indices) - 1)])
        self._showAll()

    def _goTo(self, index):
        """Centre the slice views on a lesion; one that is not there is not shown."""
        self._sliders.finish()
        lesion = self._lesionOf(index)
        self._parameterNode.shownLesion = 0 if lesion is None else index
        if lesion is not None:
            volume, island = self._parameterNode.inputVolume, lesion.island
            self._act(look_at, slicer.mrmlScene, volume, island.place, island.box)

    def _lesionOf(self, index):
        lesions = self._review.lesions if self._review is not None else ()
        return next((lesion for lesion in lesions if lesion.island.index == index), None)

    def _lesionAtHand(self):
        node = self._parameterNode
        return None if node is None else self._lesionOf(node.shownLesion)

    def _slide(self, code, ofLesion):
        """Let the segments be as a slider says."""
        if self._review is None or self._logic.isRunning:
            return
        index = self._parameterNode.shownLesion if ofLesion else None
        self._change(self._review.setSensitivity, code, index)
        self._sliders.show(self._review, self._lesionAtHand())

    def _settle(self):
        """A slider stands: make the list anew."""
        if self._review is not None and self._parameterNode is not None:
            self._act(self._review.endSlide)
            self._showAll()

    def _setKeysOn(self, isOn):
        for shortcut in self._shortcuts:
            shortcut.setEnabled(isOn)

    def _showAll(self):
        """Let list, buttons and sliders say how it is now."""
        self._filling = True
        try:
            lesions = self._listed()
            self._fillTable(lesions)
            self._showButtons(lesions)
            self._sliders.show(self._review, self._lesionAtHand())
        finally:
            self._filling = False

    def _fillTable(self, lesions):
        table = self.ui.lesionTable
        self._shownIndices = [lesion.island.index for lesion in lesions]
        table.setRowCount(len(lesions))
        for row, lesion in enumerate(lesions):
            for column, text in enumerate(rowTexts(lesion)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tip(lesion))
                table.setItem(row, column, item)
        shown = self._parameterNode.shownLesion if self._parameterNode is not None else 0
        if shown in self._shownIndices:
            table.selectRow(self._shownIndices.index(shown))
        else:
            table.clearSelection()

    def _showButtons(self, lesions):
        ui, review = self.ui, self._review
        isMeasured = self._parameterNode is not None and self._result.is_measured
        shown = self._parameterNode.shownLesion if isMeasured else 0
        lesion = self._lesionAtHand()
        isPresent = lesion is not None and lesion.state != REJECTED
        indices = self._shownIndices
        ui.largestLesionButton.enabled = isMeasured
        ui.previousLesionButton.enabled = shown in indices and shown != indices[0]
        # Where the section is closed the list is read with the first step.
        ui.nextLesionButton.enabled = isMeasured and (
            review is None or (bool(indices) and shown != indices[-1])
        )
        for button in (ui.acceptButton, ui.rejectButton, ui.kindButton, ui.lockButton):
            button.enabled = isPresent
        # A fix of the section "Correction" is undone here, too.
        ui.undoButton.enabled = isMeasured and self._logic.canUndo
        ui.redoButton.enabled = review is not None and review.canRedo
        text = ""
        if review is not None and not lesions:
            text = _("There is no lesion of at least 0.1 mL.")
        elif review is not None:
            text = _("{left} of {count} left to look at").format(
                left=review.left, count=len(lesions)
            )
        showText(ui.leftLabel, text)


def _pressing(button):
    """What a key does: what a click on the button does, while that can be clicked."""

    def press():
        if button.enabled:
            button.click()

    return press
