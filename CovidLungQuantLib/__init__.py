"""Quantification of COVID-19 pneumonia on chest CT.

    from CovidLungQuantLib import Options, measure, quantify, read_ct

    quantification = quantify(read_ct("scan.nrrd"), Options(device="cpu"))

Nothing here imports qt or slicer, and nothing is downloaded. These four names are loaded when they
are first used, since PyTorch takes seconds. For research; not a medical device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from CovidLungQuantLib.ct import read_ct
    from CovidLungQuantLib.pipeline import measure, quantify
    from CovidLungQuantLib.quantification import Options

__all__ = ["Options", "measure", "quantify", "read_ct"]
__version__ = "0.1.0"

_HOMES = {
    "Options": "CovidLungQuantLib.quantification",
    "measure": "CovidLungQuantLib.pipeline",
    "quantify": "CovidLungQuantLib.pipeline",
    "read_ct": "CovidLungQuantLib.ct",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
