"""Types of arguments: what no command could use is refused before anything is opened.

A path may lead to a file, a folder or nothing yet; which of these is right is for the command to
say. A pipe or a device never is: reading one may wait for ever.
"""

from __future__ import annotations

import errno
import math
import os
import re
import stat
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.printable import shortened

LONGEST_TEXT = 4096
# Beyond this a text file, such as a table, is none.
MOST_TEXT_BYTES = 64 << 20
# No network that a scan is segmented with is so large.
MOST_MODEL_BYTES = 8 << 30
GIB, MIB = 1 << 30, 1 << 20
MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?B?)", re.ASCII | re.IGNORECASE)
MEMORY_UNITS = {
    f"{letter}{end}": (1000 if end == "b" else 1024) ** power
    for power, letter in enumerate("kmgt", start=1)
    for end in ("", "b", "i", "ib")
}
LEAST_MEMORY_BYTES = 512 * MIB


def given_text(text: str) -> str:
    """A name or other short text.

    Raises:
        BadInputError: it is not UTF-8, so no file could hold it, or endless.
    """
    if len(text) > LONGEST_TEXT:
        raise BadInputError(f"“{shortened(text)}” is too long; give a shorter text.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInputError(
            f"“{shortened(text)}” holds letters that are not UTF-8; rename it, or write it anew."
        ) from None
    return text


def given_path(text: str) -> Path:
    """A path to read from or to write to.

    Raises:
        BadInputError: it is no path, may not be looked at, or leads to a pipe or device.
    """
    _status(text)
    return _named(text)


def scan_path(text: str) -> Path:
    """The path of a scan: a file or folder that is there, so that nothing is loaded in vain.

    Raises:
        BadInputError: as `given_path`, or there is nothing.
    """
    if _status(text) is None:
        raise BadInputError(f'There is no file or folder "{_name(text)}"; check the path.')
    return _named(text)


def text_file(text: str) -> Path:
    """The path of a table, a list or a configuration; raises as `given_path`, or it is huge."""
    _check_size(text, MOST_TEXT_BYTES)
    return _named(text)


def model_file(text: str) -> Path:
    """The path of a file of weights; raises as `given_path`, or it is huge."""
    _check_size(text, MOST_MODEL_BYTES)
    return _named(text)


def name_or_path(text: str) -> str:
    """What may be the name of a model or a word of our own, or else a path; as `model_file`."""
    _check_size(text, MOST_MODEL_BYTES)
    return text


def finite_number(text: str) -> float:
    """A number; argparse turns what is none into its own error.

    Raises:
        BadInputError: it is infinite or "nan".
    """
    value = float(text)
    if not math.isfinite(value):
        raise BadInputError(f"“{shortened(text)}” is no number to compute with; give another.")
    return value


def memory_size(text: str) -> int:
    """An amount of memory, such as 4GiB or 6000MB, in bytes.

    Raises:
        BadInputError: it is none, or too little for a scan.
    """
    match = MEMORY.fullmatch(text.strip())
    if match is None:
        raise BadInputError(f"“{shortened(text)}” is no amount of memory; write it as 4GiB.")
    size = int(float(match[1]) * MEMORY_UNITS[match[2].lower()])
    if size < LEAST_MEMORY_BYTES:
        raise BadInputError(
            f"“{shortened(text)}” of memory is too little for a scan; give at least "
            f"{LEAST_MEMORY_BYTES // MIB} MiB."
        )
    return size


def _check_size(text: str, most_bytes: int) -> None:
    status = _status(text)
    if status is not None and stat.S_ISREG(status.st_mode) and status.st_size > most_bytes:
        limit = f"{most_bytes // GIB} GiB" if most_bytes >= GIB else f"{most_bytes // MIB} MiB"
        raise BadInputError(
            f"“{_name(text)}” is larger than {limit}, as no such file is; check the path."
        )


def _status(text: str) -> os.stat_result | None:
    """What the system says of a path; None where there is nothing."""
    if not given_text(text):
        raise BadInputError("An empty path was given; name a file or folder.")
    try:
        status = Path(text).expanduser().stat()
    except RuntimeError:
        raise BadInputError(
            f"“{shortened(text)}” names the home of somebody unknown; give the whole path."
        ) from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise _unusable(text, error) from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise BadInputError(
            f"“{_name(text)}” is neither a file nor a folder but a pipe, socket or device; give a "
            "file or folder."
        )
    return status


def _unusable(text: str, error: OSError | ValueError) -> BadInputError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENAMETOOLONG:
        return BadInputError(f"The name “{_name(text)}” is too long for a file; shorten it.")
    if number == errno.ELOOP:
        return BadInputError(f"“{_name(text)}” is a link that leads to itself; check the path.")
    reason = error.strerror if isinstance(error, OSError) else "no file can be called so"
    return BadInputError(
        f"“{_name(text)}” cannot be used ({reason}); check the path and that you may use it."
    )


def _named(text: str) -> Path:
    """The path, by the name of its folder where it is “.” or “..”, for messages name it."""
    path = Path(text)
    return path.resolve() if path.name in ("", "..") else path


def _name(text: str) -> str:
    return shortened(Path(text).name or text)
