"""Memory: asked before it is taken, so that too little is said and not suffered."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from CovidLungQuantLib.errors import OutOfResourcesError
from CovidLungQuantLib.vetting.problems import shown

LINUX_MEMORY_FILE = Path("/proc/meminfo")
# Below this nothing is asked: it is there, or nothing works.
SMALL_BYTES = 1 << 28
GIB = 1 << 30


def available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        text = LINUX_MEMORY_FILE.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def empty_array(shape: tuple[int, ...], dtype: np.dtype, file_name: str) -> np.ndarray:
    """Return an array of undefined content for what a file holds.

    Raises:
        OutOfResourcesError: there is not the memory for it.
    """
    byte_count = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    available = available_memory() if byte_count > SMALL_BYTES else None
    if available is not None and byte_count > available:
        raise too_little_memory(file_name, byte_count)
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise too_little_memory(file_name, byte_count) from error


def too_little_memory(file_name: str, byte_count: int) -> OutOfResourcesError:
    """Return the error that says how much memory a file takes."""
    return OutOfResourcesError(
        f'The memory does not hold "{shown(file_name)}", which takes {byte_count / GIB:.3g} GiB;'
        " close other programs or use a machine with more memory."
    )
