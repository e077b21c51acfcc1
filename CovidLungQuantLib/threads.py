"""How many threads compute: PyTorch's and ITK's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk
import torch


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Compute with so many threads, and with as many as before afterwards.

    How a sum is shared among threads decides its last digit, and that where a border lies which is
    as likely here as one voxel further.
    """
    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    _set_threads(count, count)
    try:
        yield
    finally:
        _set_threads(*before)


def _set_threads(of_torch: int, of_itk: int) -> None:
    torch.set_num_threads(of_torch)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(of_itk)
