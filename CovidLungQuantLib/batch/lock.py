"""One batch at a time in an output folder, also where a share is used by several computers.

The lock is a file with the process and the computer that hold it, touched every few seconds. A
batch that was killed leaves it behind: on the same computer the process is then gone, on another
one the file has not been touched for a while.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import replace_text

BEAT_S = 5.0
# Without a touch for this long, a batch on another computer is taken for dead.
DEAD_AFTER_S = 90.0
ATTEMPTS = 5
STOPPING = "stopping"


class BatchLock:
    """Holds the lock of an output folder while it is entered.

    Args:
        file: the lock; its folder must exist.
        lost: called once from another thread if somebody else has taken it meanwhile, as may happen
            to a computer that was asleep.

    Attributes:
        token: what the file holds while the lock is ours; workers look for it.
    """

    def __init__(self, file: Path, lost: Callable[[], None] = lambda: None) -> None:
        self.file = file
        self.token = secrets.token_hex(8)
        self._lost = lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="batch lock", daemon=True)

    def __enter__(self) -> BatchLock:
        """Take the lock.

        Raises:
            BadInputError: another batch has it.
            OSError: it cannot be written.
        """
        for _attempt in range(ATTEMPTS):
            if self._made():
                self._thread.start()
                return self
            held = holder(self.file)
            if held is None:
                continue
            if is_alive(held, self.file):
                raise BadInputError(_taken_message(held, self.file))
            self._remove_dead(held)
        raise BadInputError(
            f"The output folder {self.file.parents[1].name} is being taken by another batch; wait "
            "for it, or choose another folder."
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of the lock, if it is still ours."""
        self._stop.set()
        self._thread.join(BEAT_S)
        if self._is_ours():
            with suppress(OSError):
                self.file.unlink()

    def stop_workers(self) -> None:
        """Let workers see, within seconds, that what they do is not wanted any more."""
        with suppress(OSError):
            if self._is_ours():
                content = json.dumps({**self._content(), STOPPING: True})
                replace_text(self.file, content)

    def _is_ours(self) -> bool:
        held = holder(self.file)
        return held is not None and held.get("token") == self.token

    def _content(self) -> dict[str, Any]:
        return {
            "token": self.token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began": process_start(os.getpid()),
        }

    def _made(self) -> bool:
        """Whether the lock file could be made, which only one process can at a time."""
        content = self._content()
        partial = self.file.with_name(f".{self.file.name}.{self.token}")
        partial.write_text(json.dumps(content), encoding="utf-8")
        try:
            # A link appears whole or not at all, and not over another file.
            os.link(partial, self.file)
        except FileExistsError:
            return False
        except OSError:
            return self._made_without_links(content)
        finally:
            partial.unlink(missing_ok=True)
        return True

    def _made_without_links(self, content: dict[str, Any]) -> bool:
        try:
            with self.file.open("x", encoding="utf-8") as stream:
                stream.write(json.dumps(content))
        except FileExistsError:
            return False
        return True

    def _remove_dead(self, held: dict[str, Any]) -> None:
        """Move a dead lock away, and back if it was another one by now."""
        aside = self.file.with_name(f".{self.file.name}.{self.token}.dead")
        try:
            self.file.rename(aside)
        except OSError:
            return
        if holder(aside) != held:
            with suppress(OSError):
                os.link(aside, self.file)
        aside.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            held = holder(self.file)
            if held is not None and held.get("token") != self.token:
                self._lost()
                return
            with suppress(OSError):
                os.utime(self.file)


def holder(file: Path) -> dict[str, Any] | None:
    """Return who holds a lock; None where nobody does, or the file is not whole."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def holds(file: Path, token: str) -> bool:
    """Tell whether a lock is held with a token by a batch that still wants results."""
    held = holder(file)
    return held is not None and held.get("token") == token and not held.get(STOPPING)


def is_alive(held: dict[str, Any], file: Path) -> bool:
    """Tell whether the batch that holds a lock still runs."""
    if held.get("host") == socket.gethostname() and isinstance(held.get("pid"), int):
        began = process_start(held["pid"])
        return began is not None and began == held.get("began")
    return _seconds_since_touched(file) < DEAD_AFTER_S


def process_start(pid: int) -> str | None:
    """Return what tells a process from a later one of the same number; None where there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            # The name in brackets may hold blanks; the start is the 22nd field.
            fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "unknown"


def _seconds_since_touched(file: Path) -> float:
    """By the clock of the share, which need not be that of this computer."""
    probe = file.with_name(f".{file.name}.{secrets.token_hex(4)}.now")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        with suppress(OSError):
            probe.unlink()
    try:
        return now - file.stat().st_mtime
    except OSError:
        return 0.0


def _taken_message(held: dict[str, Any], file: Path) -> str:
    out = file.parents[1].name
    if held.get("host") == socket.gethostname():
        who = f"process {held.get('pid')} on this computer"
    else:
        who = (
            f"process {held.get('pid')} on {held.get('host')}, which gave a sign of life "
            f"{max(0, round(_seconds_since_touched(file)))} s ago"
        )
    return f"Another batch writes to {out} ({who}); wait for it, or choose another folder."
