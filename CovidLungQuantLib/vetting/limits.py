"""What no chest image exceeds; a header that says more is wrong."""

from __future__ import annotations

from CovidLungQuantLib.vetting.problems import damaged

MOST_DIMENSIONS = 8
LARGEST_SIZE = 1 << 16
MOST_COMPONENTS = 1 << 12
MOST_VOXEL_BYTES = 1 << 38


def check_sizes(file_name: str, sizes: tuple[int, ...], components: int, item_bytes: int) -> None:
    """Check the sizes that a header gives before anything is made of them.

    Raises:
        UnreadableFileError: there are none, one is below 1, or they are absurd.
    """
    if not 1 <= len(sizes) <= MOST_DIMENSIONS:
        raise damaged(file_name, f"its header gives it {len(sizes)} dimensions")
    if min(sizes) < 1 or components < 1:
        raise damaged(file_name, "it is empty: its header gives it a size below 1")
    total = components * item_bytes
    for size in sizes:
        total *= size
    if max(sizes) > LARGEST_SIZE or components > MOST_COMPONENTS or total > MOST_VOXEL_BYTES:
        raise damaged(file_name, "its header gives it a size that no image has")
