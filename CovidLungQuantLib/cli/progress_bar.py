"""Progress in the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.progress import ProgressCallback

# Part of the bar at which reading ends and writing begins.
READ_UNTIL = 0.05
WRITE_FROM = 0.9


@contextmanager
def shown_progress() -> Iterator[ProgressCallback]:
    """A progress bar where stderr is a terminal, one line for each new message elsewhere."""
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    with tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed}", leave=False) as bar:

        def show(fraction: float, message: str) -> None:
            percent = round(100 * min(max(fraction, 0.0), 1.0))
            # Within a step the same is said again and again.
            if (percent, printable(message)) != (bar.n, bar.desc):
                bar.n = percent
                bar.set_description_str(printable(message))

        yield show


class LineProgress:
    """Prints a line when a new step begins, and within a long one every tenth of the way."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None

    def __call__(self, fraction: float, message: str) -> None:
        step_without_counts = re.sub(r"\d+", "", message)
        current = (step_without_counts, int(10 * fraction))
        if current != self._last:
            print(f"{100 * fraction:3.0f} %  {printable(message)}", file=sys.stderr, flush=True)
            self._last = current
