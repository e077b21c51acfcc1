"""The errors a user may meet. Each message is one sentence: what is wrong and what to do."""

from __future__ import annotations

from CovidLungQuantLib.printable import printable


class CovidLungQuantError(Exception):
    """Base of every error this library raises on purpose; `exit_code` is the command line's."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        """`message` may quote headers and file names; what a terminal would obey is written out."""
        super().__init__(printable(str(message)))


class BadInputError(CovidLungQuantError):
    """The given scan, segmentation, model or option cannot be used."""

    exit_code = 2


class OutOfResourcesError(CovidLungQuantError):
    """Memory or disk ran out, also after falling back to smaller batches and the CPU."""

    exit_code = 3


class Cancelled(CovidLungQuantError):
    """The user stopped the run; raised from inside a `progress` callback."""

    exit_code = 130
