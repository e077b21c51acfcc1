"""Versions of everything that can change a number; written next to every result."""

from __future__ import annotations

import platform
from importlib import metadata

from CovidLungQuantLib import __version__

PACKAGES = ("numpy", "scipy", "SimpleITK", "torch")


def software_versions() -> dict[str, str]:
    """Return name → version of this software, Python and the packages that compute.

    Packages are not imported for this; one that is not installed is said to be so.
    """
    versions = {"covidlungquant": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
