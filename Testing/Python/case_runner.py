"""`python case_runner.py SCRIPT OUT`: runs a script that alters a series of lossless JPEGs.

pydicom decodes these with packages that the tests do without; here it is given the library's own
way to decode one frame.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path

from pydicom.pixels.decoders import JPEGLosslessSV1Decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGLosslessSV1

from CovidLungQuantLib.ct.dicom.codestreams import PixelKind, decode

# What pydicom asks of a plug-in.
DECODER_DEPENDENCIES = {JPEGLosslessSV1: ("SimpleITK",)}


def is_available(uid: str) -> bool:
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame as pydicom wants it."""
    bits = runner.bits_allocated, runner.bits_stored, runner.bits_stored - 1
    kind = PixelKind(runner.rows, runner.columns, *bits, is_signed=False)
    with tempfile.TemporaryDirectory() as folder:
        return decode(frame, JPEGLosslessSV1, kind, Path(folder))[0].tobytes()


if __name__ == "__main__":
    JPEGLosslessSV1Decoder.add_plugin("library", ("case_runner", "decode_frame"))
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
