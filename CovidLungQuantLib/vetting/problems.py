"""What is said of a file that does not pass."""

from __future__ import annotations

from CovidLungQuantLib.errors import BadInputError

LONGEST_NAME_SHOWN = 80


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
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    if len(printable) <= LONGEST_NAME_SHOWN:
        return printable
    half = LONGEST_NAME_SHOWN // 2 - 1
    return f"{printable[:half]}…{printable[-half:]}"
