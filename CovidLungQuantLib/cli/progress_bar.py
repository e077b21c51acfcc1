"""Progress in the terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.progress import ProgressCallback

# Part of the bar at which reading ends and writing begins.
READ_UNTIL = 0.05
WRITE_FROM = 0.9
SECONDS_BETWEEN_LINES = 20.0


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


class CountedScans:
    """How many scans of a batch are done, with the time left; a context manager.

    A bar where stderr is a terminal; elsewhere a line now and then, and at whatever is new.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._begun: tuple[float, int] | None = None
        self._said: tuple[int, str] = (-1, "")
        self._said_at = -SECONDS_BETWEEN_LINES

    def __enter__(self) -> CountedScans:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int, notes: str) -> None:
        """Show how many are done, and notes such as how many have failed."""
        now = time.monotonic()
        if self._begun is None:
            # Those of an earlier run took no time of this one.
            self._begun = now, done
        rate = (done - self._begun[1]) / max(now - self._begun[0], 1e-9)
        is_known = rate > 0 and done < total
        left = f"left {tqdm.format_interval((total - done) / rate)}" if is_known else ""
        text = ", ".join(part for part in (printable(notes), left) if part)
        if sys.stderr.isatty():
            self._show_bar(done, total, text)
        else:
            self._print_line(now, done, total, notes, text)

    def _show_bar(self, done: int, total: int, text: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=total, bar_format="{bar}| {n_fmt}/{total_fmt} scans{postfix} [{elapsed}]"
            )
        self._bar.n = done
        self._bar.set_postfix_str(text)

    def _print_line(self, now: float, done: int, total: int, notes: str, text: str) -> None:
        before, notes_before = self._said
        is_due = now - self._said_at >= SECONDS_BETWEEN_LINES or done in (total, 0)
        if notes != notes_before or (done != before and is_due):
            print(f"{done}/{total} scans{', ' if text else ''}{text}", file=sys.stderr, flush=True)
            self._said, self._said_at = (done, notes), now


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
