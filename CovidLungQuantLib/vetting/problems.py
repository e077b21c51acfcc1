"""What is said of a file that does not pass."""

from __future__ import annotations

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.printable import masked, shortened

# What reading a file of ours that was cut or changed since may raise.
NOT_AS_WRITTEN_ERRORS = (
    BadInputError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


class UnreadableFileError(BadInputError):
    """A file is truncated, damaged or not what its name says; `reason` tells how that shows."""

    def __init__(self, file_name: str, reason: str) -> None:
        super().__init__(
            f'"{file_name}" cannot be read ({reason}): it is truncated, damaged or not what its'
            " name says; copy or export it again."
        )
        self.reason = reason


def damaged(file_name: str, reason: str) -> UnreadableFileError:
    """Return the refusal of a damaged file; `reason` is half a sentence, without a full stop."""
    return UnreadableFileError(shown(file_name), reason)


def shown(text: str) -> str:
    """Return text from outside as a message may show it: printable and not too long."""
    return shortened(masked(text))
