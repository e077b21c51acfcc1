"""Cancelling in the midst of a network: between two of its layers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from CovidLungQuantLib.progress import Poll


@contextmanager
def polled(network: nn.Module, poll: Poll) -> Iterator[None]:
    """Call `poll` before each layer that this thread runs inside the `with` block."""
    here = threading.get_ident()

    def look(_layer: nn.Module, _inputs: object) -> None:
        if threading.get_ident() == here:
            poll()

    hooks = [layer.register_forward_pre_hook(look) for layer in network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
