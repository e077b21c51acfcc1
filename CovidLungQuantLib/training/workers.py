"""One process or several: what `torchrun` started, by the variables it sets."""

from __future__ import annotations

import os

import torch
from torch import distributed, nn


def is_first_process() -> bool:
    """Whether this process is the one that writes."""
    return _rank() == 0


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


class Workers:
    """The processes that train together.

    Attributes:
        device: of this process.
        first: whether this process is the one that writes.
        seed: added to the seed of everything drawn, empty in the first process.
    """

    def __init__(self, device: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        rank = _rank()
        if self.count > 1 and device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        self.device = torch.device(device)
        self.first = is_first_process()
        self.seed = [rank] if rank else []
        if self.count > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    def wrap(self, module: nn.Module, leaves_parts_out: bool) -> nn.Module:
        """The module, with gradients averaged between processes where there are several.

        `leaves_parts_out`: some steps give no gradient to some parameters.
        """
        if self.count == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, find_unused_parameters=leaves_parts_out)

    def mean(self, value: float) -> float:
        """Mean of every process's value, the same in all of them."""
        if self.count == 1:
            return value
        total = torch.tensor(value, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.count
