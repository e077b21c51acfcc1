"""The sliders of the section "Lesions": how probable lesion must be, in all or in one of them."""

import qt
from slicer.i18n import tr as _

from CovidLungQuantLib.lesions.probability import DECISION_CODE, HIGHEST_CODE, share_of_code
from CovidLungQuantPanel.widgets import showText

# Moves that come faster than they can be shown are shown once.
SLIDE_DELAY_MS = 20
# So long after its last move a slider is taken to stand.
SETTLE_DELAY_MS = 500


class SensitivitySliders:
    """Two sliders; further to the right more is lesion, a double click resets.

    `onSlide(code, ofLesion)` follows each move, `onSettled()` the last of them: when the mouse lets
    a slider go, or a moment after a key or the wheel.
    """

    def __init__(self, ui, onSlide, onSettled):
        self._ui = ui
        self._onSlide = onSlide
        self._onSettled = onSettled
        self._sliders = {False: ui.scanSensitivitySlider, True: ui.lesionSensitivitySlider}
        self._defaults = {False: DECISION_CODE, True: DECISION_CODE}
        # Which slider is waiting to be followed.
        self._moved = None
        self._isShowing = False
        self._slideTimer = _timer(SLIDE_DELAY_MS, self.onSlideTimer)
        self._settleTimer = _timer(SETTLE_DELAY_MS, self.onSettleTimer)
        # Kept, or nobody would hold the filters.
        self._filters = []
        for ofLesion, slider in self._sliders.items():
            slider.connect("valueChanged(int)", self._mover(ofLesion))
            slider.connect("sliderReleased()", self.finish)
            resetting = ResetOnDoubleClick(self._resetter(ofLesion))
            slider.installEventFilter(resetting)
            self._filters.append(resetting)

    def show(self, review, lesion):
        """Show the codes of a `LesionReview`, or of none, and of the lesion at hand, or of none."""
        isOn = review is not None and review.hasProbability
        isOfLesion = isOn and lesion is not None and not lesion.is_decided
        codes = {
            False: review.codeOf() if isOn else DECISION_CODE,
            True: review.codeOf(lesion.island.index) if isOfLesion else DECISION_CODE,
        }
        self._defaults[True] = codes[False]
        self._isShowing = True
        for ofLesion, isEnabled in ((False, isOn), (True, isOfLesion)):
            self._sliders[ofLesion].enabled = isEnabled
            self._sliders[ofLesion].value = HIGHEST_CODE - codes[ofLesion]
        self._isShowing = False
        for label, code in (
            (self._ui.scanSensitivityLabel, codes[False]),
            (self._ui.lesionSensitivityLabel, codes[True]),
        ):
            label.text = _("from {percent:.0f} %").format(percent=100 * share_of_code(code))
        text = ""
        if review is not None and not isOn:
            text = _("This result holds no probability; segment again to change the sensitivity.")
        showText(self._ui.noProbabilityLabel, text)

    def finish(self):
        """Do at once what the timers wait for."""
        if self._slideTimer.isActive():
            self._slideTimer.stop()
            self.onSlideTimer()
        if self._settleTimer.isActive():
            self._settleTimer.stop()
            self._onSettled()

    def stop(self):
        """Do nothing any more of what the timers wait for."""
        self._slideTimer.stop()
        self._settleTimer.stop()
        self._moved = None

    def cleanup(self):
        """Let go of the sliders for good."""
        self.stop()
        for ofLesion, resetting in zip(self._sliders, self._filters, strict=True):
            self._sliders[ofLesion].removeEventFilter(resetting)
        self._filters = []

    def onSlideTimer(self):
        """Follow the slider that was moved last."""
        moved, self._moved = self._moved, None
        if moved is not None:
            self._onSlide(HIGHEST_CODE - self._sliders[moved].value, moved)

    def onSettleTimer(self):
        """The last move was a while ago: take it as it is, but while a slider is held."""
        if any(slider.sliderDown for slider in self._sliders.values()):
            self._settleTimer.start()
        else:
            self._onSettled()

    def _mover(self, ofLesion):
        def move():
            if self._isShowing:
                return
            if self._moved not in (None, ofLesion):
                self.finish()
            self._moved = ofLesion
            self._slideTimer.start()
            self._settleTimer.start()

        return move

    def _resetter(self, ofLesion):
        def reset():
            self._sliders[ofLesion].value = HIGHEST_CODE - self._defaults[ofLesion]

        return reset


class ResetOnDoubleClick(qt.QObject):
    """Calls back when the widget it filters is clicked twice."""

    def __init__(self, onDoubleClick):
        super().__init__()
        self._onDoubleClick = onDoubleClick

    def eventFilter(self, watched, event):
        """Qt asks before each event of the widget; True keeps the event from it."""
        if event.type() == qt.QEvent.MouseButtonDblClick:
            self._onDoubleClick()
            return True
        return False


def _timer(delayMs, onTimeout):
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(delayMs)
    timer.connect("timeout()", onTimeout)
    return timer
