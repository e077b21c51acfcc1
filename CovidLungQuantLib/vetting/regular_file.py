"""Regular files: no folder, pipe or device is ever opened, and none is read without a limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.problems import damaged, shown

MIB = 1 << 20
LARGEST_TEXT_BYTES = 64 * MIB

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def is_folder(path: Path | str) -> bool:
    """Tell whether a path names a folder; not where that cannot be found out."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def check_regular_file(path: Path | str, what: str = "file") -> os.stat_result:
    """Check that a path names a regular file, without opening it.

    Args:
        path: of the file.
        what: how messages call it.

    Returns:
        what the file system says of it.

    Raises:
        BadInputError: it is not there, may not be looked at, or is a folder, pipe or device.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _unreachable(path, what, error) from error
    for is_kind, kind in KINDS:
        if is_kind(status.st_mode):
            raise BadInputError(f'"{shown(path.name)}" is {kind}, not a {what}; check the path.')
    return status


def open_regular_file(path: Path | str, what: str = "file") -> BinaryIO:
    """Open a regular file for reading bytes; never waits, whatever was put in its place.

    Raises:
        BadInputError: as of `check_regular_file`, or it may not be read.
    """
    path = Path(path)
    check_regular_file(path, what)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise _unreachable(path, what, error) from error
    # What was opened counts, not what was there a moment ago.
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadInputError(f'"{shown(path.name)}" is not a regular {what}; check the path.')
    return file


def read_bytes(path: Path | str, what: str = "file", limit: int = LARGEST_TEXT_BYTES) -> bytes:
    """Return the content of a small file.

    Raises:
        BadInputError: as of `open_regular_file`, or it is larger than `limit`.
    """
    path = Path(path)
    with open_regular_file(path, what) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise _unreachable(path, what, error) from error
    if len(content) > limit:
        raise BadInputError(
            f'"{shown(path.name)}" is larger than {limit / MIB:.4g} MiB, which no such {what} is;'
            " check the path."
        )
    return content


def read_text(path: Path | str, what: str = "file", limit: int = LARGEST_TEXT_BYTES) -> str:
    """Return the content of a small UTF-8 file, without its byte order mark.

    Raises:
        BadInputError: as of `read_bytes`, or it is no text in UTF-8.
    """
    path = Path(path)
    try:
        return read_bytes(path, what, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise damaged(path.name, "it is not text in UTF-8") from error


def _unreachable(path: Path, what: str, error: OSError | ValueError) -> BadInputError:
    name = shown(path.name)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR):
        return BadInputError(f'There is no {what} "{name}"; check the path.')
    if number == errno.ENAMETOOLONG:
        return BadInputError(f'The name "{name}" is too long for a {what}; shorten it.')
    if number == errno.ELOOP:
        return BadInputError(f'"{name}" is a link that leads back to itself; check the path.')
    if not isinstance(error, OSError) or number is None:
        return BadInputError(f'"{name}" cannot be the name of a {what}; check the path.')
    reason = error.strerror or str(error)
    return BadInputError(
        f'"{name}" cannot be read ({reason}); check the {what} and that you may open it.'
    )
