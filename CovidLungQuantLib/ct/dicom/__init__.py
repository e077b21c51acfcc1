"""The door for DICOM: which series, which slices, where they lie, and their Hounsfield units.

A file passes through here in this order, and nothing native sees one that failed:
`elements` walks its bytes with suspicion, `headers` makes slices of them, `stacks` finds what a
folder holds, `one_scan` asks whether the slices are those of one scan, `places` where they lie, and
`pixels` (with `codestreams` for compressed ones) makes Hounsfield units. `reading` leads through.
"""

from __future__ import annotations

from CovidLungQuantLib.ct.dicom.headers import is_dicom, is_named_dicom
from CovidLungQuantLib.ct.dicom.reading import list_series, read_dicom, read_dicom_files
from CovidLungQuantLib.ct.dicom.stacks import SeriesInfo

__all__ = [
    "SeriesInfo",
    "is_dicom",
    "is_named_dicom",
    "list_series",
    "read_dicom",
    "read_dicom_files",
]
