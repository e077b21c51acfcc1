"""The errors a user may meet. Each message is one sentence: what is wrong and what to do."""

from __future__ import annotations


class CovidLungQuantError(Exception):
    """Base of every error this library raises on purpose; `exit_code` is the command line's."""

    exit_code = 1


class BadInputError(CovidLungQuantError):
    """The given scan, segmentation, model or option cannot be used."""

    exit_code = 2


class OutOfResourcesError(CovidLungQuantError):
    """Memory or disk ran out, also after falling back to smaller batches and the CPU."""

    exit_code = 3


class Cancelled(CovidLungQuantError):
    """The user stopped the run; raised from inside a `progress` callback."""

    exit_code = 130
