"""A worker thread: what takes long is computed there, and this thread keeps the window alive."""

import threading
from contextlib import contextmanager

import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError

# Long enough for the worker to compute, short enough for the window to feel alive.
POLL_INTERVAL_S = 0.02


class Workers:
    """Gives one worker at a time: events are handled during a run, so a second one may be asked."""

    def __init__(self):
        self._worker = None

    @property
    def isBusy(self):
        """Whether a run is under way."""
        return self._worker is not None

    def cancel(self, reason=None):
        """Stop the run, if there is one, at its next step; it then raises `Cancelled(reason)`."""
        if self._worker is not None:
            self._worker.cancel(reason or _("Cancelled; the scene is as it was."))

    @contextmanager
    def exclusively(self):
        """Give a worker for the `with` block; refuse a second one meanwhile."""
        if self._worker is not None:
            raise CovidLungQuantError(_("A run is already on; wait for it or cancel it."))
        self._worker = Worker()
        try:
            yield self._worker
        finally:
            self._worker = None


class Worker:
    """Computes in a thread of its own, which touches neither MRML nor Qt; can be stopped."""

    def __init__(self):
        self._fraction, self._message = 0.0, ""
        self._result = None
        self._error = None
        self._stopReason = None

    def cancel(self, reason):
        """Let the computation end at its next report of progress, with `Cancelled(reason)`."""
        self._stopReason = self._stopReason or reason

    def compute(self, work, progress=None, look=None):
        """Return what `work` returns; raise what it raises.

        :param work: called in the worker's thread with a progress callback of the library's kind.
        :param progress: called in this thread with (fraction, message); may raise, which stops
            the work.
        :param look: called in this thread between two looks at the worker; may cancel.
        """
        thread = threading.Thread(
            target=self._run, args=(work,), name="CovidLungQuant", daemon=True
        )
        thread.start()
        try:
            while thread.is_alive():
                if look is not None:
                    look()
                if progress is not None:
                    progress(self._fraction, self._message)
                slicer.app.processEvents()
                thread.join(POLL_INTERVAL_S)
        except BaseException as error:
            self.cancel(str(error))
            thread.join()
            raise
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self, work):
        try:
            self._result = work(self._report)
        except BaseException as error:
            self._error = error

    def _report(self, fraction, message):
        self._fraction, self._message = fraction, message
        if self._stopReason is not None:
            raise Cancelled(self._stopReason)
