"""Progress and cancelling through one callback, `progress(fraction, message)`.

It may raise `Cancelled`.
"""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[float, str], None]
# Called in the midst of a step, at least each half second of it; may raise `Cancelled`.
Poll = Callable[[], None]


def no_progress(fraction: float, message: str) -> None:
    """Ignore progress; the default wherever a callback is optional."""


def no_poll() -> None:
    """Go on; the default wherever a poll is optional."""


def polling(progress: ProgressCallback, fraction: float, message: str) -> Poll:
    """Report the beginning of a step; return a poll that says the same again in its midst."""
    progress(fraction, message)
    return lambda: progress(fraction, message)


def subrange(progress: ProgressCallback, start: float, stop: float) -> ProgressCallback:
    """Return a callback whose 0…1 is the part `start`…`stop` of `progress`."""

    def scaled(fraction: float, message: str) -> None:
        progress(start + (stop - start) * fraction, message)

    return scaled
