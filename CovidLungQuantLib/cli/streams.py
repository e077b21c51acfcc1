"""What is printed must never lose what was computed: streams that fail, or cannot show a letter."""

from __future__ import annotations

import errno
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from CovidLungQuantLib.cli.explaining import explain
from CovidLungQuantLib.errors import OutOfResourcesError

STANDARD_DESCRIPTORS = (0, 1, 2)
# Where the terminal has no such letter.
PLAIN_LETTERS = {
    "…": "...",
    "−": "-",
    "–": "-",
    "±": "+/-",
    "×": "x",
    "“": '"',
    "”": '"',
    "·": "*",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "°": " deg",
    "√": "sqrt",
    "Σ": "sum",
    "∩": "and",
    "ρ": "rho",
    "α": "alpha",
    "ε": "epsilon",
    "χ": "chi",
    "⁻": "-",
}


class PatientStream:
    """A text stream that never raises: it remembers its failure and is silent from then on.

    Attributes:
        failure: why nothing more could be written; None while all is well.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text as the stream's encoding can show it."""
        if self._stream is not None and self.failure is None:
            try:
                self._stream.write(encodable(text, getattr(self._stream, "encoding", None)))
            except OSError as error:
                self.failure = error
            except ValueError as error:  # It was closed.
                self.failure = OSError(errno.EBADF, str(error))
        return len(text)

    def flush(self) -> None:
        """Flush it."""
        if self._stream is not None and self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self.failure = error
            except ValueError as error:
                self.failure = OSError(errno.EBADF, str(error))

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        with suppress(ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient_streams() -> Iterator[PatientStream]:
    """Put patient streams in the place of stdout and stderr; gives that of stdout."""
    _occupy_standard_descriptors()
    before = sys.stdout, sys.stderr
    output, errors = PatientStream(sys.stdout), PatientStream(sys.stderr)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        sys.stdout, sys.stderr = before
        for stream, original in ((output, before[0]), (errors, before[1])):
            stream.flush()
            if stream.failure is not None and original is not None:
                _forget_unwritten(original)


def exit_code_of_output(output: PatientStream, exit_code: int) -> int:
    """The exit code of a command, given how printing went.

    A reader that has seen enough (`| head`) is no failure; a full disk is, though the result in
    files is whole.
    """
    output.flush()
    failure = output.failure
    if exit_code != 0 or failure is None or failure.errno in (errno.EPIPE, errno.EBADF):
        return exit_code
    return explain(
        OutOfResourcesError(
            f"What is printed could not be written ({failure.strerror}), while files of results "
            "are whole; free some space and see them."
        )
    )


def encodable(text: str, encoding: str | None) -> str:
    """Text without letters that an encoding lacks: “≥ 5 …” is “>= 5 ...” in ASCII."""
    if encoding is None or _has(text, encoding):
        return text
    return "".join(
        letter if _has(letter, encoding) else _plain(letter, encoding) for letter in text
    )


def _plain(letter: str, encoding: str) -> str:
    plain = PLAIN_LETTERS.get(letter) or "".join(
        part for part in unicodedata.normalize("NFKD", letter) if _has(part, encoding)
    )
    return plain or "?"


def _has(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    except LookupError:
        return True
    return True


def _occupy_standard_descriptors() -> None:
    """Open what was closed, so that no file of results becomes the place where others print."""
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is given, which is this one.
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)


def _forget_unwritten(stream: TextIO) -> None:
    """Let what Python still holds for a stream go nowhere, or it would complain when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
