"""Progress and cancelling through one callback, `progress(fraction, message)`.

It may raise `Cancelled`.
"""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[float, str], None]


def no_progress(fraction: float, message: str) -> None:
    """Ignore progress; the default wherever a callback is optional."""


def subrange(progress: ProgressCallback, start: float, stop: float) -> ProgressCallback:
    """Return a callback whose 0…1 is the part `start`…`stop` of `progress`."""

    def scaled(fraction: float, message: str) -> None:
        progress(start + (stop - start) * fraction, message)

    return scaled
