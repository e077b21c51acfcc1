"""What the library needs to run: PyTorch, loaded when it is first used, and Slicer's own Python."""

import importlib
import importlib.util
import os
import shutil
import sys

import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError

PYTHON_SLICER = "PythonSlicer"


def isTorchInstalled():
    """Whether PyTorch can be imported; importing it takes seconds, so this does not."""
    return importlib.util.find_spec("torch") is not None


def requireTorch():
    """Raise a CovidLungQuantError that says what to do where PyTorch is not installed."""
    if not isTorchInstalled():
        raise CovidLungQuantError(
            _("PyTorch is not installed; install it through the PyTorch extension.")
        )


def slicersPython():
    """Return the path of Slicer's own Python; the running program may be Slicer itself.

    Raises CovidLungQuantError where it is neither beside the application nor on the PATH.
    """
    folders = (slicer.app.applicationDirPath(), f"{slicer.app.slicerHome}/bin")
    found = shutil.which(PYTHON_SLICER, path=os.pathsep.join(folders))
    found = found or shutil.which(PYTHON_SLICER)
    if found is None:
        raise CovidLungQuantError(
            _(
                "Slicer's own Python, {name}, was found neither in {folder} nor on the PATH;"
                " install Slicer again, or run covidlungquant fine-tune in a terminal."
            ).format(name=PYTHON_SLICER, folder=folders[0])
        )
    return found


def loadPipeline(progress=None):
    """Return the library's module `pipeline`; `progress` says so where that takes a moment."""
    requireTorch()
    if progress is not None and "torch" not in sys.modules:
        progress(0.0, _("Loading PyTorch"))
        slicer.app.processEvents()
    return importlib.import_module("CovidLungQuantLib.pipeline")
