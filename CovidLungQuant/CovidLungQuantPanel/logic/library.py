"""What of the library needs PyTorch: loaded when it is first used, which takes a moment."""

import importlib
import importlib.util
import sys

import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError


def isTorchInstalled():
    """Whether PyTorch can be imported; importing it takes seconds, so this does not."""
    return importlib.util.find_spec("torch") is not None


def requireTorch():
    """Raise a CovidLungQuantError that says what to do where PyTorch is not installed."""
    if not isTorchInstalled():
        raise CovidLungQuantError(
            _("PyTorch is not installed; install it through the PyTorch extension.")
        )


def loadPipeline(progress=None):
    """Return the library's module `pipeline`; `progress` says so where that takes a moment."""
    requireTorch()
    if progress is not None and "torch" not in sys.modules:
        progress(0.0, _("Loading PyTorch"))
        slicer.app.processEvents()
    return importlib.import_module("CovidLungQuantLib.pipeline")
