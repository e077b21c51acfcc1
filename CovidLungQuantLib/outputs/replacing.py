"""A finished folder takes the place of another, whatever moment the process is killed at.

Where the system can exchange two names at once (Linux, macOS), there is no moment without a result.
Elsewhere the earlier folder is first set aside, and `recover` puts it back if that is where a run
was killed. A folder that is being written is locked for as long as its process lives, so that what
a killed run left is told from what another run is writing.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

UNFINISHED, EARLIER = "unfinished", "earlier"
# What writers leave beside their files when they are killed, and Slicer its cache.
_SCRATCH = re.compile(r"\.unfinished-.+|\..+\.partial|\.covidlungquant-.+")
# Where a lock cannot tell, what a day has passed over is not being written any more.
ABANDONED_AFTER_S = 24 * 3600.0
ATTEMPTS = 10
NO_LOCKS = -1
# A name may have 255 bytes; what is added to it has 22.
LONGEST_NAME_BYTES = 200
# Not an error of the disk: this file system, or this system, exchanges no names.
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
_AT_FDCWD_LINUX, _RENAME_EXCHANGE_LINUX = -100, 2
_RENAME_SWAP_MACOS = 2


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """A new hidden folder beside `folder`, locked; removed at the end wherever it still is.

    Raises:
        OSError: it cannot be made.
    """
    unfinished, lock = _new_locked_folder(folder)
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        _unlock(lock)


def _new_locked_folder(folder: Path) -> tuple[Path, int]:
    for _attempt in range(ATTEMPTS):
        unfinished = beside(folder, UNFINISHED)
        unfinished.mkdir(parents=True)
        lock = _locked(unfinished)
        # Between both lines another run may have taken it for abandoned.
        if lock is not None and unfinished.is_dir():
            return unfinished, lock
        _unlock(lock)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(folder))


def put_in_place(finished: Path, folder: Path) -> None:
    """Give a finished folder its name, after all of it is on the disk.

    A folder that has the name already is afterwards found under that of `finished`, or removed.

    Raises:
        OSError: it cannot be done; `folder` stays as it was.
    """
    _sync_tree(finished)
    if not folder.exists():
        finished.rename(folder)
    elif not exchange(finished, folder):
        _replace_in_two_steps(finished, folder)
    _sync(folder.parent)


def recover(folder: Path, files: Sequence[str]) -> None:
    """Put back what a killed run had set aside, and remove what killed runs left beside `folder`.

    Only folders named as this file names them, of this user, that hold nothing but `files` and
    scratch, and that no living process writes, are touched.
    """
    left = [path for path in _beside_all(folder) if _holds_only(path, files)]
    locks = [_locked(path) for path in left]
    try:
        if any(_is_being_written(path, lock) for path, lock in zip(left, locks, strict=True)):
            return
        for path in left:
            if _kind_of(path, folder) == EARLIER and not _has_content(folder):
                if folder.is_dir():
                    folder.rmdir()
                path.rename(folder)
            else:
                shutil.rmtree(path, ignore_errors=True)
    except OSError:
        # What cannot be tidied up is no reason not to write; writing itself says what is wrong.
        return
    finally:
        for lock in locks:
            _unlock(lock)


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, innermost first, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once; False where that cannot be done here.

    Raises:
        OSError: the system can, but it failed.
    """
    renamed = _exchange_call(os.fsencode(one), os.fsencode(other))
    if renamed is None:
        return False
    if renamed == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _exchange_call(one: bytes, other: bytes) -> int | None:
    """What the system's call returned; None where there is none."""
    # As a text of its own: a type checker would only look at its own system.
    system = str(sys.platform)
    try:
        if system.startswith("linux"):
            call = ctypes.CDLL(None, use_errno=True).renameat2
            call.argtypes = [
                ctypes.c_int,
                ctypes.c_char_p,
                ctypes.c_int,
                ctypes.c_char_p,
                ctypes.c_uint,
            ]
            return int(call(_AT_FDCWD_LINUX, one, _AT_FDCWD_LINUX, other, _RENAME_EXCHANGE_LINUX))
        if system == "darwin":
            call = ctypes.CDLL(None, use_errno=True).renamex_np
            call.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]
            return int(call(one, other, _RENAME_SWAP_MACOS))
    except (AttributeError, OSError):
        # A C library without the call.
        return None
    return None


def _replace_in_two_steps(finished: Path, folder: Path) -> None:
    """Set the earlier folder aside first; `recover` knows it by its name."""
    earlier = beside(folder, EARLIER)
    folder.rename(earlier)
    try:
        finished.rename(folder)
    except BaseException:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{_stem(folder)}.{kind}-{secrets.token_hex(4)}")


def _stem(folder: Path) -> str:
    """The folder's name, or its beginning and a hash of it where that is long."""
    name = os.fsencode(folder.name)
    if len(name) <= LONGEST_NAME_BYTES:
        return folder.name
    return f"{folder.name[:20]}-{hashlib.sha256(name).hexdigest()[:16]}"


def _beside_all(folder: Path) -> list[Path]:
    """What lies beside a folder under a name of `_beside`, real folders of this user only."""
    try:
        entries = list(os.scandir(folder.parent))
    except OSError:
        return []
    found = []
    for entry in entries:
        path = Path(entry.path)
        if _kind_of(path, folder) is None or not entry.is_dir(follow_symlinks=False):
            continue
        if hasattr(os, "geteuid") and entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            continue
        found.append(path)
    return sorted(found)


def _kind_of(path: Path, folder: Path) -> str | None:
    pattern = rf"\.{re.escape(_stem(folder))}\.({UNFINISHED}|{EARLIER})-[0-9a-f]{{8}}"
    match = re.fullmatch(pattern, path.name)
    return None if match is None else match[1]


def _holds_only(path: Path, files: Sequence[str]) -> bool:
    try:
        return all(
            entry.name in files or _SCRATCH.fullmatch(entry.name) for entry in os.scandir(path)
        )
    except OSError:
        return False


def _has_content(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _is_being_written(path: Path, lock: int | None) -> bool:
    if lock is None:
        return True
    # Without locks on this system or file system only time tells.
    return lock == NO_LOCKS and time.time() - path.stat().st_mtime < ABANDONED_AFTER_S


def _locked(path: Path) -> int | None:
    """Lock a folder: an open file to be closed, None if another has it, or `NO_LOCKS`.

    The system releases the lock when the process ends, however it does.
    """
    if sys.platform == "win32":
        return NO_LOCKS
    try:
        opened = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(opened)
        return None if error.errno in (errno.EAGAIN, errno.EACCES) else NO_LOCKS
    return opened


def _unlock(lock: int | None) -> None:
    if lock is not None and lock >= 0:
        os.close(lock)


def _sync_tree(folder: Path) -> None:
    for parent, _folders, names in os.walk(folder):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    """Have the system put a file, or the names in a folder, on the disk now."""
    if sys.platform == "win32" and path.is_dir():
        return
    opened = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(opened)
    except OSError as error:
        # Some network file systems sync no folders.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)
