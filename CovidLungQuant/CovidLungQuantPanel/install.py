"""Python packages that Slicer may lack: offered when first needed, installed after the user's yes.

PyTorch comes through the PyTorch extension, all others from pypi.org. Nothing is installed or
looked for when the module is loaded.
"""

import importlib
import importlib.util
import logging

import slicer
from slicer.i18n import tr as _

TORCH_VERSION_REQUIREMENT = ">=2.2"
REPORT_PACKAGE, PDF_PACKAGE, DICOM_PACKAGE = "jinja2", "weasyprint", "highdicom"
# Beyond what every Slicer has; PyTorch usually brings it.
CORE_PACKAGES = (REPORT_PACKAGE,)
# Name in Python → what pip is asked for.
REQUIREMENTS = {
    REPORT_PACKAGE: "Jinja2>=3.1",
    PDF_PACKAGE: "weasyprint>=63",
    DICOM_PACKAGE: "highdicom>=0.22",
}


class Installation:
    """Makes sure that what is about to run has what it needs."""

    def __init__(self, panel):
        self._panel = panel

    def ensureLibrary(self):
        """Return whether all is there that segmenting, measuring and reports need; offers it."""
        return self.ensureTorch() and all(
            self.ensurePackage(package, _("lays out reports")) for package in CORE_PACKAGES
        )

    def ensureTorch(self):
        """Return whether PyTorch is there, after offering to install it where it is not."""
        if self._panel.logic.isTorchInstalled():
            return True
        try:
            import PyTorchUtils
        except ModuleNotFoundError:
            slicer.util.errorDisplay(
                _(
                    "PyTorch is needed and is not installed. Install the PyTorch extension in the"
                    " Extensions Manager, restart Slicer and press Segment again."
                )
            )
            return False
        showStatus = self._panel.run.showStatus
        if not _isTorchWanted():
            showStatus(_("PyTorch was not installed."))
            return False
        showStatus(_("Installing PyTorch…"))
        slicer.app.processEvents()
        if _installedTorch(PyTorchUtils) is None:
            showStatus(_("PyTorch was not installed."))
            slicer.util.errorDisplay(
                _(
                    "PyTorch could not be installed. Check the network connection and try again, or"
                    " install it in the PyTorch Util module."
                )
            )
            return False
        return True

    def ensurePackage(self, package, does):
        """Return whether a package is there, after offering to install it where it is not.

        :param package: name in Python; a key of `REQUIREMENTS`.
        :param does: what it does, to go on with “which”.
        """
        if _isInstalled(package):
            return True
        try:
            _offer(package, does)
        except Exception:
            logging.exception("Installing %s failed", package)
            text = (
                _("{package} could not be installed. Check the network connection and try again.")
                if package in CORE_PACKAGES
                else _(
                    "{package} could not be installed. Check the network connection and try again,"
                    " or take the tick away."
                )
            )
            slicer.util.errorDisplay(text.format(package=package))
        return _isInstalled(package)


def _isInstalled(package):
    return importlib.util.find_spec(package) is not None


def _isTorchWanted():
    """Ask whether PyTorch may be installed."""
    return slicer.util.confirmOkCancelDisplay(
        _(
            "PyTorch, the library that runs the network, is not installed yet.\n\n"
            "OK downloads it from pytorch.org (0.2 GB for CPU, up to 3 GB for an NVIDIA"
            " graphics card) and installs it into this Slicer through the PyTorch extension."
            " This takes some minutes and is needed once. No data leave this computer."
        ),
        _("Install PyTorch?"),
    )


def _installedTorch(pyTorchUtils):
    """Let the PyTorch extension install PyTorch; return it, or None where that failed."""
    try:
        with slicer.util.WaitCursor():
            return pyTorchUtils.PyTorchUtilsLogic().installTorch(
                askConfirmation=False, torchVersionRequirement=TORCH_VERSION_REQUIREMENT
            )
    except Exception:
        logging.exception("Installing PyTorch failed")
        return None


def _offer(package, does):
    """Ask for a package and install it after a yes."""
    requirement = REQUIREMENTS[package]
    if _isInstalled("slicer.packaging"):
        # Since Slicer 5.12; it asks by itself.
        importlib.import_module("slicer.packaging").pip_ensure(
            requirement, requester=_("COVID-19 Lung Quantification")
        )
    elif slicer.util.confirmOkCancelDisplay(
        _(
            "The Python package {package}, which {does}, is not installed yet. OK downloads"
            " it from pypi.org and installs it into this Slicer. No data leave this"
            " computer."
        ).format(package=package, does=does),
        _("Install {package}?").format(package=package),
    ):
        with slicer.util.WaitCursor():
            slicer.util.pip_install(requirement)
    importlib.invalidate_caches()
