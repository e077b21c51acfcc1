"""What a lesion network is to inference, training and model files; needs no PyTorch.

A new network is one file in `lesions/networks` with a class and its configuration that fit these
protocols, and one entry in the table of `lesions/networks/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

# Channels of the logits: background, normal lung, lesion, and high opacity given lesion. Lesion has
# a channel of its own so that a lesion of unknown kind teaches nothing about its kind.
LESION_CHANNEL = 2
KIND_CHANNEL = 3
LOGIT_CHANNELS = 4

# What the network sees of a slice: the box around the body, as in the paper, or around the lungs.
BODY_CROP, LUNG_CROP = "body", "lungs"


class LesionNetworkConfig(Protocol):
    """Everything needed to rebuild a network; a frozen dataclass of plain values and tuples.

    Attributes:
        fine_tuning_recipe: name of the recipe (`training/recipes.py`) that fine-tuning goes by.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    fine_tuning_recipe: ClassVar[str]

    @property
    def working_size(self) -> int:
        """Height and width in pixels to which the crop is resized."""

    @property
    def crop(self) -> str:
        """`BODY_CROP` or `LUNG_CROP`: the box of the slices that the network sees."""

    @property
    def window_length(self) -> int:
        """Slices of a window, odd; the middle one is segmented."""

    @property
    def window_step_mm(self) -> float:
        """Distance between the slices of a window."""

    @property
    def context_slices(self) -> int:
        """Neighbouring slices, odd, seen as channels of one picture, the slice in the middle."""

    @property
    def hu_window(self) -> tuple[float, float]:
        """HU range that is scaled to 0…1; values outside are clipped."""

    @property
    def description(self) -> str:
        """What the network is and what it sees: a sentence for its card."""

    @property
    def widths(self) -> str:
        """How wide its layers are, in a few words for its card."""


class LesionOutput(Protocol):
    """What a network says of some windows."""

    @property
    def logits(self) -> Tensor:
        """(windows, LOGIT_CHANNELS, size, size)."""

    @property
    def branches(self) -> tuple[Tensor, ...]:
        """Logits, shaped alike, of what can be trained apart from the blend; may be empty."""


class LesionNetwork(Protocol):
    """A `torch.nn.Module` that segments slices.

    Slices are (slices, context_slices, size, size), scaled to 0…1; windows are int64 (windows,
    window_length), indices into the slices. `network(slices, windows)` is
    `network.attend(network.see_slices(slices), windows)`; inference calls both apart, so that what
    depends on one slice only is computed once.
    """

    def __init__(self, config: Any) -> None:
        """Build it with random weights; `config` is of the network's own class."""

    @property
    def config(self) -> LesionNetworkConfig:
        """What it was built from."""

    @property
    def Seen(self) -> type:
        """The named tuple that `see_slices` returns."""

    @property
    def main_branch(self) -> nn.Module | None:
        """What can learn alone, from single slices, before the whole; None if nothing can.

        Called with slices it returns their logits first. A network of another kind with the same
        layers can take its place when a training starts (`training.trainer.train`).
        """

    def __call__(self, slices: Tensor, windows: Tensor) -> LesionOutput:
        """Segment the middle slice of each window."""

    def see_slices(self, slices: Tensor) -> tuple[Tensor, ...]:
        """What a slice gives in every window: a `Seen`, whose tensors count slices first."""

    def attend(self, seen: Any, windows: Tensor) -> LesionOutput:
        """Segment the middle slice of each window; `windows` are indices into `seen`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of `torch.nn.Module`, like all that follows."""

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...

    def to(self, device: Any) -> Any: ...

    def cpu(self) -> Any: ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...
