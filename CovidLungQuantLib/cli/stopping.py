"""Ctrl-C, SIGTERM and a terminal that is closed: a run ends with its cleaning up, and at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from CovidLungQuantLib.cli.explaining import say
from CovidLungQuantLib.errors import Cancelled

COMMANDS_FOLDER = Path(__file__).parent
CANCELLED = "Cancelled; nothing was written."
# How code of the import system is called in the stack.
IMPORTING = "<frozen importlib"


@contextmanager
def stoppable() -> Iterator[None]:
    """Let these signals raise KeyboardInterrupt, so that what was begun is cleaned up.

    While a command loads its libraries, which takes seconds, nothing was begun, and the process
    ends there and then: some libraries take an exception for a missing package, or abort.
    """
    earlier = {}
    for name, usual in (
        ("SIGINT", signal.default_int_handler),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGHUP", signal.SIG_DFL),
    ):
        number = getattr(signal, name, None)
        # Otherwise whoever started this has other plans, as nohup has.
        if number is not None and signal.getsignal(number) == usual:
            try:
                earlier[number] = signal.signal(number, _stop)
            except ValueError:
                break  # Not in the main thread, where no signal arrives.
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    if _is_loading(frame):
        say(CANCELLED)
        os._exit(Cancelled.exit_code)
    raise KeyboardInterrupt


def _is_loading(frame: FrameType | None) -> bool:
    """Whether the stack below a frame holds an import that the command line itself began."""
    importer = None
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORTING):
            importer = frame.f_back
        frame = frame.f_back
    return importer is not None and Path(importer.f_code.co_filename).parent == COMMANDS_FOLDER
