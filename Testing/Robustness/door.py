"""What a door is, and what may become of a damaged file at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from Testing.Robustness.damage import damaged_content

SAME, REFUSED, NO_MEMORY = "same", "refused", "too little memory"
# The damage lies in voxels that nothing checks: no reader can know.
IN_BARE_VOXELS = "other in uncompressed voxels"
IN_UNCHECKED_VOXELS = "other in packed voxels without checksum"
# The header was changed into one that is as good, and is obeyed.
AS_STATED = "as the changed header says"
WARNED = "other with a warning"
OTHER, UNEXPECTED, NO_SENTENCE = "OTHER VOXELS", "TRACEBACK", "NOT ONE SENTENCE"
DIED = "DIED OR HUNG"
READ = (SAME, IN_BARE_VOXELS, IN_UNCHECKED_VOXELS, AS_STATED, WARNED)
FINE = (*READ, REFUSED, NO_MEMORY)

Harm = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Seed:
    """A small valid file, and what reads it.

    Attributes:
        file_name: it must have; the reader may ask for it.
        content: of the file.
        read: given its path, returns what is compared.
        beside: other files that it needs in its folder, by name.
        harm: damages the content.
        shares_harm: whether one time in three the files beside it come to the same harm; else they
            stay whole.
    """

    file_name: str
    content: bytes
    read: Callable[[Path], Any]
    beside: Mapping[str, bytes] = field(default_factory=dict)
    harm: Harm = damaged_content
    shares_harm: bool = False

    def damaged(self, rng: np.random.Generator) -> dict[str, bytes]:
        """All files of the folder, by name, one or all of them damaged."""
        harmed = {self.file_name}
        if self.shares_harm and rng.random() < 1 / 3:
            harmed.update(self.beside)
        draw = rng.bit_generator.state
        files = {}
        for name, content in {self.file_name: self.content, **self.beside}.items():
            if name in harmed:
                # Each from the same draw, so that each comes to the same harm.
                rng.bit_generator.state = draw
                content = self.harm(content, rng)
            files[name] = content
        return files


@dataclass(frozen=True)
class Door:
    """A way into the program.

    Attributes:
        name: for the command line.
        seeds: valid files.
        judge: tells which of `READ` it is, or `OTHER`: given the seed, the path of the
            damaged file, what was read of the valid one and of the damaged one.
    """

    name: str
    seeds: Sequence[Seed]
    judge: Callable[[Seed, Path, Any, Any], str]
