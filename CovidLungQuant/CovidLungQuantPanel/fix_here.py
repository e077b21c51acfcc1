"""Within "Correction": clicks and strokes say what is lesion or not; looked at, then applied."""

import qt
import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.labels import is_lesion
from CovidLungQuantLib.mrml.fix_marks import (
    begin_stroke,
    clear_marks,
    extend_stroke,
    mark_nodes,
    marked_voxels,
    show_preview,
    start_marking,
    stop_marking,
)
from CovidLungQuantLib.mrml.volumes import geometry_of
from CovidLungQuantPanel.lesion_texts import measuringOnce
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.strokes import StrokeDrawing
from CovidLungQuantPanel.widgets import showText

# While something is previewed, these keys press the buttons.
KEYS = {"applyFixButton": ("Return", "Enter"), "discardFixButton": ("Esc",)}


class FixHereSection(Section):
    """Lets a reader mark places or draw, shows what that would change, and writes it when told."""

    def setup(self):
        """Put the buttons under "Correct in Segment Editor" and connect them."""
        self._fix = None
        self._followedMarks = ()
        self._markedResult = None
        self._marksNode = None
        self._isLesion = False
        self._drawing = StrokeDrawing(self.onStrokePlace, self.onStrokeEnd)
        # Where a stroke has begun, and its node once it goes on from there.
        self._strokeStart = self._stroke = None
        self._widget = slicer.util.loadUI(self._panel.resourcePath("UI/CovidLungQuantFixHere.ui"))
        layout = self._panel.ui.correctionCollapsibleButton.layout()
        layout.insertWidget(layout.indexOf(self._panel.ui.staleLabel), self._widget)
        self.ui = slicer.util.childWidgetVariables(self._widget)
        actions = {
            "lesionHereButton": self.onLesionHere,
            "notLesionHereButton": self.onNotLesionHere,
            "applyFixButton": self.onApply,
            "discardFixButton": self.onDiscard,
        }
        parent = slicer.util.mainWindow() or self._widget
        self._shortcuts = []
        for name, action in actions.items():
            getattr(self.ui, name).connect("clicked(bool)", action)
            for key in KEYS.get(name, ()):
                shortcut = qt.QShortcut(parent)
                shortcut.setKey(qt.QKeySequence(key))
                shortcut.activated.connect(action)
                shortcut.activatedAmbiguously.connect(action)
                self._shortcuts.append(shortcut)
        self._showButtons()

    def show(self):
        """Offer to mark where there is a result; marks on another one go."""
        if self._followedMarks and self._result != self._markedResult:
            self._discard()
        self._showButtons()

    def letGo(self):
        """Marks and preview go when the module is left."""
        self._discard()

    def onSetChanged(self):
        """They were another set's."""
        self._discard()

    def onSceneClosing(self):
        """The nodes go with the scene."""
        self._discard()

    def setRunning(self, running):
        """A run makes other labels."""
        self._discard()
        super().setRunning(running)

    def cleanup(self):
        """Let go of the keys for good."""
        super().cleanup()
        for shortcut in self._shortcuts:
            shortcut.setKey(qt.QKeySequence())
        self._shortcuts = []

    def onLesionHere(self):
        """Let the next click or stroke in a view say that there is lesion."""
        self._startMarking(True)

    def onNotLesionHere(self):
        """Let the next click or stroke in a view say that there is none."""
        self._startMarking(False)

    def onStrokePlace(self, place):
        """The mouse is drawing: let the stroke be seen."""
        if self._strokeStart is None:
            self._strokeStart = place
        elif self._stroke is None:
            self._stroke = begin_stroke(slicer.mrmlScene, self._isLesion, self._strokeStart)
            extend_stroke(self._stroke, place)
        else:
            extend_stroke(self._stroke, place)

    def onStrokeEnd(self):
        """The button was let go: a stroke is a mark, and a click is one."""
        start, stroke = self._strokeStart, self._stroke
        self._stopDrawing()
        stop_marking(slicer.mrmlScene)
        if stroke is None:
            # Says so itself.
            self._marksNode.AddControlPointWorld(*start)
        else:
            self.onMarked(stroke, None)

    def onMarked(self, caller, event):
        """A mark was placed or moved: show what all marks together change."""
        if self._parameterNode is None or not self._result.is_measured:
            return
        self._fix = None
        text = ""
        try:
            with slicer.util.WaitCursor():
                marks = marked_voxels(slicer.mrmlScene, self._result.volume)
                self._fix = self._review().fixAt(*marks)
                show_preview(slicer.mrmlScene, self._result.volume, self._fix)
                text = self._told(self._fix)
        except CovidLungQuantError as reason:
            text = str(reason)
        self._showText(text)

    def onApply(self):
        """Write what is previewed; the numbers follow."""
        fix, self._fix = self._fix, None
        if fix is None:
            return
        self._discard()
        try:
            with slicer.util.WaitCursor():
                review = self._review()
                if not review.isCounted:
                    self._showText(measuringOnce())
                review.applyFix(fix)
        except CovidLungQuantError as reason:
            self._showText("")
            slicer.util.errorDisplay(str(reason))
            return
        self._panel.updateSections()
        self._showText(_("Applied. Ctrl+Z takes it back."))

    def onDiscard(self):
        """Take marks and preview away; nothing was changed."""
        self._discard()

    def _review(self):
        result = self._result
        return self._logic.lesionReview(
            result.volume, result.segmentation, result.table, result.given_lobes
        )

    def _startMarking(self, isLesion):
        self._markedResult = self._result
        self._isLesion = isLesion
        self._stopDrawing()
        node = self._marksNode = start_marking(slicer.mrmlScene, isLesion)
        self._drawing.start()
        if node not in self._followedMarks:
            self._followedMarks = (*self._followedMarks, node)
            for event in (node.PointPositionDefinedEvent, node.PointEndInteractionEvent):
                self.addObserver(node, event, self.onMarked)
        self._showText(
            _("Click the place in a slice view, or draw over it; more marks may follow.")
        )

    def _stopDrawing(self):
        self._drawing.stop()
        self._strokeStart = self._stroke = None

    def _discard(self):
        self._stopDrawing()
        for node in self._followedMarks:
            for event in (node.PointPositionDefinedEvent, node.PointEndInteractionEvent):
                self.removeObserver(node, event, self.onMarked)
        self._followedMarks = ()
        self._marksNode = None
        self._fix = None
        if mark_nodes(slicer.mrmlScene):
            clear_marks(slicer.mrmlScene)
        self._showText("")

    def _told(self, fix):
        """What a fix changes, in words."""
        voxel_ml = geometry_of(self._result.volume).voxel_volume_ml
        added = (fix.changed & is_lesion(fix.labels[fix.box])).sum()
        removed = fix.changed.sum() - added
        if not fix.changed.any():
            return _("Nothing changes: all marked places are already what they are marked as.")
        return _("Would add {added:.1f} mL of lesion and take {removed:.1f} mL away.").format(
            added=added * voxel_ml, removed=removed * voxel_ml
        )

    def _showText(self, text):
        showText(self.ui.fixLabel, text)
        self._showButtons()

    def _showButtons(self):
        ui = self.ui
        canMark = (
            self._parameterNode is not None
            and self._result.is_measured
            and not self._logic.isRunning
        )
        ui.lesionHereButton.enabled = canMark
        ui.notLesionHereButton.enabled = canMark
        ui.applyFixButton.enabled = self._fix is not None and bool(self._fix.changed.any())
        ui.discardFixButton.enabled = bool(self._followedMarks)
        ui.applyFixButton.visible = ui.discardFixButton.visible = bool(self._followedMarks)
        for shortcut in self._shortcuts:
            shortcut.setEnabled(bool(self._followedMarks))
