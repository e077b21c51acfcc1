"""What the decoders of JPEG and JPEG 2000 say on the terminal instead of failing.

They write that the data are corrupt to the standard error stream, give what they have, and the
rest of the slice is whatever. Nothing else tells.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from typing import TypeVar

STANDARD_ERROR = 2
# Of libjpeg and OpenJPEG.
COMPLAINTS = (b"Corrupt JPEG data", b"Failed to decode", b"segment too long", b"Premature end of")
Result = TypeVar("Result")

# The stream is one for the whole process.
_one_at_a_time = threading.Lock()


def listening(call: Callable[[], Result]) -> tuple[Result, bool]:
    """Call a decoder; tell whether it complained meanwhile.

    Its complaints do not reach the terminal, nor does anything where the call fails. What others
    write there meanwhile comes out later.

    Returns:
        result: of the call.
        complained: whether the decoder did; False where there is no stream to listen to.
    """
    with _one_at_a_time:
        try:
            stream = os.dup(STANDARD_ERROR)
        except OSError:
            return call(), False
        try:
            with tempfile.TemporaryFile(buffering=0) as heard:
                os.dup2(heard.fileno(), STANDARD_ERROR)
                try:
                    result = call()
                finally:
                    os.dup2(stream, STANDARD_ERROR)
                return result, _read_apart(heard.fileno())
        finally:
            os.close(stream)


def _read_apart(heard: int) -> bool:
    """Tell whether a file holds complaints, and write its other lines to the terminal."""
    size = os.lseek(heard, 0, os.SEEK_END)
    if not size:
        return False
    os.lseek(heard, 0, os.SEEK_SET)
    lines = os.read(heard, size).splitlines(keepends=True)
    others = [line for line in lines if not any(words in line for words in COMPLAINTS)]
    if others:
        os.write(STANDARD_ERROR, b"".join(others))
    return len(others) < len(lines)
