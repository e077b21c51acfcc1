"""When writing fails: whether the disk is full, which libraries in C++ do not tell."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
# Writers stop as soon as a block does not fit; what is left then is less than this.
NEARLY_NOTHING_BYTES = 1 << 20


def writing_error(error: OSError, folder: Path) -> BadInputError | OutOfResourcesError:
    """The error to show where results cannot be written to a folder."""
    if error.errno in DISK_FULL_ERRORS:
        return OutOfResourcesError(
            f"The disk is full, nothing was written to {folder.name}; free some space and run "
            "again."
        )
    return BadInputError(
        f"The results cannot be written to {folder.name} ({error.strerror}); choose another "
        "output folder."
    )


def not_written(path: Path, name: str) -> BadInputError | OutOfResourcesError:
    """The error to raise where a library could not write a file and did not say why.

    Call it before what was written of the file is removed.

    Args:
        path: where it was written to.
        name: what messages call the file.
    """
    try:
        is_full = shutil.disk_usage(path.parent).free < NEARLY_NOTHING_BYTES
    except OSError:
        is_full = False
    if is_full:
        return OutOfResourcesError(
            f"The disk is full, {name} was not written; free some space and run again."
        )
    return BadInputError(f"{name} cannot be written there; choose another folder.")
