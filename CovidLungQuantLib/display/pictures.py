"""Pictures of a scan: which planes to show, grey values, colours, and a PNG encoder.

Pictures are 2D uint8 arrays (row, column). They are taken from upright arrays (z towards the head,
y towards the back, x towards the patient's left), so that an axial plane as it lies in memory has
the patient's right on its left and the front on top: the radiological convention.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.display.windows import LUNG_WINDOW_LEVEL_HU, LUNG_WINDOW_WIDTH_HU
from CovidLungQuantLib.labels import LABELS, is_lesion, is_lung

_PICTURE_SMOOTHING_MM = 1.0

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY = 0
_PNG_COLOR = 2
_PNG_PALETTE = 3
_PNG_FILTER_NONE = 0
_PNG_FILTER_UP = 2


def window_grey(
    hu: np.ndarray,
    level_hu: float = LUNG_WINDOW_LEVEL_HU,
    width_hu: float = LUNG_WINDOW_WIDTH_HU,
) -> np.ndarray:
    """Return HU as uint8 grey values of a window, by default the lung window."""
    grey = (hu.astype(np.float32) - (level_hu - width_hu / 2)) * (255 / width_hu)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def enhanced_grey(
    enhanced_hu: np.ndarray,
    lung: np.ndarray,
    pixel_mm: tuple[float, float],
    window_width_hu: float,
) -> np.ndarray:
    """Return a plane of an enhanced scan as uint8 grey values of a window around 0 HU.

    It is smoothed over a millimetre inside the lungs, as the window is not much wider than the
    noise, and black outside.

    Args:
        enhanced_hu: see `lesions.enhancement.Enhancement` (row, column).
        lung: bool (row, column).
        pixel_mm: size of a pixel (column, row).
        window_width_hu: width of the window.
    """
    sigma = [_PICTURE_SMOOTHING_MM / size for size in reversed(pixel_mm)]
    weight = np.maximum(ndimage.gaussian_filter(lung.astype(np.float32), sigma), 1e-3)
    total = ndimage.gaussian_filter(np.where(lung, enhanced_hu, 0).astype(np.float32), sigma)
    return np.where(lung, window_grey(total / weight, 0.0, window_width_hu), 0).astype(np.uint8)


def encode_grey_png(grey: np.ndarray) -> bytes:
    """Return a uint8 picture as a PNG file."""
    rows = grey.astype(np.uint8, copy=True)
    # Each row as its difference from the row above, which compresses better.
    rows[1:] -= grey[:-1]
    return _png(rows, _PNG_GREY, _PNG_FILTER_UP, b"")


def encode_color_png(picture: np.ndarray) -> bytes:
    """Return a uint8 picture (row, column, red-green-blue) as a PNG file."""
    return _png(picture, _PNG_COLOR, _PNG_FILTER_NONE, b"")


def encode_labels_png(labels: np.ndarray) -> bytes:
    """Return a label picture as a PNG in the labels' colours and opacities, to lay over the CT."""
    return encode_palette_png(labels, [(*label.color, label.opacity) for label in LABELS])


def encode_palette_png(
    picture: np.ndarray, colors: Sequence[tuple[float, float, float, float]]
) -> bytes:
    """Return a picture of numbers as a PNG: 0 is clear, n has the nth colour.

    Args:
        picture: whole numbers 0…len(colors), (row, column).
        colors: red, green, blue and opacity of 0…1.
    """
    palette = bytearray(3)
    opacities = bytearray(1)
    for *color, opacity in colors:
        palette += bytes(round(255 * component) for component in color)
        opacities.append(round(255 * opacity))
    chunks = _png_chunk(b"PLTE", bytes(palette)) + _png_chunk(b"tRNS", bytes(opacities))
    return _png(picture.astype(np.uint8), _PNG_PALETTE, _PNG_FILTER_NONE, chunks)


def choose_axial_slices(labels: np.ndarray, count: int) -> list[int]:
    """Return up to `count` indices z, upwards: evenly spread, each where lesion is largest.

    The slices that show lung are parted into `count` equal stretches; from each the slice with the
    largest lesion area is taken, or the middle one where there is no lesion.

    Args:
        labels: label map (z, y, x).
        count: how many.
    """
    lung_slices = np.flatnonzero(is_lung(labels).any(axis=(1, 2)))
    chosen = []
    for stretch in np.array_split(lung_slices, min(count, len(lung_slices)) or 1):
        if len(stretch) == 0:
            continue
        areas = np.count_nonzero(is_lesion(labels[stretch[0] : stretch[-1] + 1]), axis=(1, 2))
        largest = int(areas.argmax())
        chosen.append(int(stretch[0]) + largest if areas[largest] else int(np.median(stretch)))
    return chosen


def choose_coronal_plane(labels: np.ndarray) -> int:
    """Return the index y with the largest lesion area, or the largest lung area without lesion."""
    lesion = np.count_nonzero(is_lesion(labels), axis=(0, 2))
    lung = np.count_nonzero(is_lung(labels), axis=(0, 2))
    return int((lesion if lesion.any() else lung).argmax())


def box_around_lungs(
    labels: np.ndarray, spacing_mm: tuple[float, float, float], margin_mm: float
) -> tuple[slice, slice, slice]:
    """Return the box (z, y, x) of everything labelled with a margin, or the whole grid if nothing.

    Args:
        labels: label map (z, y, x).
        spacing_mm: voxel size (x, y, z).
        margin_mm: added on every side, as far as the scan reaches.
    """
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(is_lung(labels).any(axis=others))
        margin = round(margin_mm / spacing_mm[2 - axis])
        first = occupied[0] - margin if len(occupied) else 0
        last = occupied[-1] + margin if len(occupied) else labels.shape[axis] - 1
        box.append(slice(max(int(first), 0), min(int(last) + 1, labels.shape[axis])))
    return box[0], box[1], box[2]


def _png(rows: np.ndarray, colour_type: int, row_filter: int, chunks: bytes) -> bytes:
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    filtered = np.insert(rows.reshape(height, -1), 0, row_filter, axis=1)
    return (
        _PNG_SIGNATURE
        + _png_chunk(b"IHDR", header)
        + chunks
        + _png_chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9))
        + _png_chunk(b"IEND", b"")
    )


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
