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
        if self.count > 1:
            if not distributed.is_initialized():
                distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            # Apart from the gradients' group, which its wrapper never lets go of: see `leave`.
            self._group = distributed.new_group()

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
        distributed.all_reduce(total, group=self._group)
        return float(total) / self.count

    def leave(self) -> None:
        """Part from the other processes; every process calls it, when all its work is done.

        A thread of the group may still hold a tensor of Python's after the processes have heard its
        value. If it lets go while the interpreter shuts down, the process is aborted; with the
        group gone, its threads have ended.
        """
        if self.count == 1:
            return
        distributed.barrier(self._group)
        del self._group
        distributed.destroy_process_group()
