"""A chest CT in memory: reading, checking and turning it. The lowest floor of the library."""

from __future__ import annotations

from CovidLungQuantLib.ct.checks import check_ct
from CovidLungQuantLib.ct.dicom import SeriesInfo, list_series
from CovidLungQuantLib.ct.orientation import (
    Orientation,
    lps_oriented,
    orient_like,
    restore_orientation,
)
from CovidLungQuantLib.ct.reading import read_ct, read_ct_and_files
from CovidLungQuantLib.ct.volume import CTVolume, Geometry, ScanWarning

__all__ = [
    "CTVolume",
    "Geometry",
    "Orientation",
    "ScanWarning",
    "SeriesInfo",
    "check_ct",
    "list_series",
    "lps_oriented",
    "orient_like",
    "read_ct",
    "read_ct_and_files",
    "restore_orientation",
]
