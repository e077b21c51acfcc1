"""Outlines of masks as lines along the edges of their pixels."""

from __future__ import annotations

import numpy as np


def outline_svg(
    mask: np.ndarray, pixel_mm: tuple[float, float], color: str, width_mm: float, dashes: str = ""
) -> str:
    """Return the outline of a mask, drawn in millimetres from its upper left corner.

    Args:
        mask: bool (row, column).
        pixel_mm: size of a pixel (column, row).
        color: as CSS has it.
        width_mm: of the line.
        dashes: lengths of lines and gaps in millimetres, as SVG has them; drawn through if empty.
    """
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<path d="{_edges(mask, pixel_mm)}" fill="none" stroke="{color}" '
        f'stroke-width="{width_mm:g}" stroke-linecap="round"{dashed}/>'
    )


def _edges(mask: np.ndarray, pixel_mm: tuple[float, float]) -> str:
    """Where the mask ends, as a path: lines across, then lines down."""
    x_mm, y_mm = pixel_mm
    padded = np.pad(mask, 1)
    across = (padded[1:] != padded[:-1])[:, 1:-1]
    down = (padded[:, 1:] != padded[:, :-1])[1:-1].T
    lines = [
        f"M{start * x_mm:.2f} {row * y_mm:.2f}H{stop * x_mm:.2f}"
        for row, start, stop in _runs(across)
    ]
    lines += [
        f"M{column * x_mm:.2f} {start * y_mm:.2f}V{stop * y_mm:.2f}"
        for column, start, stop in _runs(down)
    ]
    return "".join(lines)


def _runs(lines: np.ndarray) -> list[tuple[int, int, int]]:
    """Index of the line, first and behind-the-last position of every run of True."""
    steps = np.diff(np.pad(lines, [(0, 0), (1, 1)]).astype(np.int8), axis=1)
    starts, stops = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return [
        (int(line), int(start), int(stop))
        for (line, start), (_, stop) in zip(starts, stops, strict=True)
    ]
