"""Ways in which files come to harm, drawn from a seeded generator."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import numpy as np

HEADER_BYTES = 700
EXTREME_BYTES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01")
STRANGE_VALUES = (
    "", "-1", "0", "1", "2", "3", "16", "100", "99999999999", "1e400", "-1e-400", "nan", "inf",
    "1 1 1", "1000000000 1000000000 1000000000", "0 0 0", "nan nan nan", "%d", "%s%n", "LIST",
    "../voxels.raw", "/etc/passwd", "voxels.raw", "ascii", "hex", "bzip2", "raw", "gzip", "True",
    "False", "LOCAL", "A" * 5000, "(1,0,0) (0,1,0) (0,0,0)", "(nan,0,0) (0,1,0) (0,0,1)", "none",
    "\x1b[2J", "ä\udcff", "MET_NONE", "MET_LONG", "block", "double", "vector domain domain",
)  # fmt: skip


def damaged_content(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file's content with one to three kinds of damage."""
    if content.startswith(b"\x1f\x8b") and rng.random() < 0.5:
        # Within the packing, whose checksums would find it otherwise.
        return gzip.compress(_harmed(gzip.decompress(content), rng), 1, mtime=0)
    return _harmed(content, rng)


def _harmed(content: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        harm = HARMS[rng.integers(len(HARMS))]
        content = harm(content, rng) if content else content
    return content


def _place(content: bytes, rng: np.random.Generator) -> int:
    """A position, in the first bytes half of the time."""
    end = min(HEADER_BYTES, len(content)) if rng.random() < 0.5 else len(content)
    return int(rng.integers(end))


def _flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        changed[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(content: bytes, rng: np.random.Generator) -> bytes:
    at, count = _place(content, rng), int(rng.choice([1, 2, 4, 8]))
    filling = EXTREME_BYTES[rng.integers(len(EXTREME_BYTES))] * count
    return (content[:at] + filling + content[at + count :])[: len(content)]


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)]


def _append(content: bytes, rng: np.random.Generator) -> bytes:
    return content + rng.bytes(int(rng.choice([1, 2, 16, 4096])))


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.bytes(int(rng.choice([1, 2, 16, 2000]))) + content[at:]


def _cut_out(content: bytes, rng: np.random.Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + int(rng.choice([1, 2, 16, 400])) :]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    at, count = _place(content, rng), int(rng.choice([8, 64, 1000]))
    return content[: at + count] + content[at:]


def _change_line(content: bytes, rng: np.random.Generator) -> bytes:
    """Give another value to a line of a text header, or move, drop or double the line."""
    lines = content[:HEADER_BYTES].split(b"\n")
    rest = content[HEADER_BYTES:]
    at = int(rng.integers(len(lines)))
    way = rng.random()
    if way < 0.6:
        value = STRANGE_VALUES[rng.integers(len(STRANGE_VALUES))].encode("utf-8", "surrogateescape")
        mark = next((m for m in (b":=", b": ", b" = ", b"=", b":", b",") if m in lines[at]), b": ")
        lines[at] = lines[at].partition(mark)[0] + mark + value
    elif way < 0.75:
        del lines[at]
    elif way < 0.9:
        lines.insert(at, lines[int(rng.integers(len(lines)))])
    else:
        other = int(rng.integers(len(lines)))
        lines[at], lines[other] = lines[other], lines[at]
    return b"\n".join(lines) + rest


def _change_word(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a number somewhere by a strange value."""
    words = content[:HEADER_BYTES].split(b" ")
    value = STRANGE_VALUES[rng.integers(len(STRANGE_VALUES))].encode("utf-8", "surrogateescape")
    words[int(rng.integers(len(words)))] = value
    return b" ".join(words) + content[HEADER_BYTES:]


def _repack(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a packed stream of another length where packed voxels were."""
    for start, pack in ((b"\x1f\x8b", gzip.compress), (b"\x78", zlib.compress)):
        at = content.find(start)
        if at >= 0:
            return content[:at] + pack(rng.bytes(int(rng.integers(1, 6000))))
    return content


HARMS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _flip_bits, _flip_bits, _flip_bits, _overwrite, _truncate, _append, _insert, _cut_out, _repeat,
    _change_line, _change_line, _change_word, _repack,
)  # fmt: skip
