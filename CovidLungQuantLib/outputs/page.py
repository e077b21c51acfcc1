"""Pieces of the report page: tables, numbers, colours and pictures as HTML and SVG."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from CovidLungQuantLib.ct import Geometry, lps_oriented, orient_like
from CovidLungQuantLib.display.pictures import box_around_lungs, encode_grey_png, window_grey
from CovidLungQuantLib.labels import Label

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

MARGIN_MM = 20.0


@dataclass(frozen=True, eq=False)
class UprightScan:
    """A quantification as pictures are taken from it; arrays (z, y, x), upright.

    Attributes:
        hu: int16 Hounsfield units.
        labels: label map.
        lobes: lobe map, None without lobes.
        segments: map of the 20 regions, None without lobes.
        geometry: of these arrays.
        box: what pictures show, the lungs with a margin.
    """

    hu: np.ndarray
    labels: np.ndarray
    lobes: np.ndarray | None
    segments: np.ndarray | None
    geometry: Geometry
    box: tuple[slice, slice, slice]

    @classmethod
    def of(cls, quantification: Quantification) -> UprightScan:
        """Turn a quantification upright."""
        ct, orientation = lps_oriented(quantification.ct)
        labels, lobes, segments = (
            None if array is None else orient_like(array, orientation)
            for array in (quantification.labels, quantification.lobes, quantification.segments)
        )
        box = box_around_lungs(labels, ct.geometry.spacing_mm, MARGIN_MM)
        return cls(ct.hu, labels, lobes, segments, ct.geometry, box)

    def axial(self, array: np.ndarray, z: int) -> np.ndarray:
        """Return an axial plane, the front on top."""
        return array[z, self.box[1], self.box[2]]

    def coronal(self, array: np.ndarray, y: int) -> np.ndarray:
        """Return a coronal plane, the head on top."""
        return array[self.box[0], y, self.box[2]][::-1]

    def axial_plane(self, z: int) -> Plane:
        """Return the place of an axial plane in the page."""
        x_mm, y_mm, _ = self.geometry.spacing_mm
        return Plane.of(f"axial{z}", self.axial(self.labels, z).shape, x_mm, y_mm)

    def coronal_plane(self, y: int, name: str = "coronal") -> Plane:
        """Return the place of a coronal plane in the page; `name` keeps drawings apart."""
        x_mm, _, z_mm = self.geometry.spacing_mm
        return Plane.of(f"{name}{y}", self.coronal(self.labels, y).shape, x_mm, z_mm)


@dataclass(frozen=True)
class Plane:
    """The place of one plane of the scan in the page, drawn in millimetres: true proportions.

    Attributes:
        name: id of its CT picture, by which other drawings refer to it.
        width_mm: of the plane.
        height_mm: of the plane.
    """

    name: str
    width_mm: float
    height_mm: float

    @classmethod
    def of(cls, name: str, shape: tuple[int, int], column_mm: float, row_mm: float) -> Plane:
        """The plane of an array (rows, columns)."""
        return cls(name, shape[1] * column_mm, shape[0] * row_mm)

    def svg(self, label: str, content: str) -> str:
        """Return a drawing of the plane with a mark on the patient's right."""
        width = self.width_mm
        side = (
            f'<text x="{0.02 * width:.1f}" y="{0.08 * width:.1f}" fill="#fff" '
            f'stroke="#000" stroke-width="{0.01 * width:.1f}" paint-order="stroke" '
            f'font-size="{0.07 * width:.1f}" font-family="sans-serif">R</text>'
        )
        return (
            f'<svg viewBox="0 0 {width:.2f} {self.height_mm:.2f}" role="img" '
            f'aria-label="{label}">{content}{side}</svg>'
        )

    def ct(self, hu: np.ndarray) -> str:
        """Return the CT of the plane in the lung window, to be drawn once."""
        uri = png_uri(encode_grey_png(window_grey(hu)))
        return f'<image id="{self.name}" {self._size} href="{uri}"/>'

    def ct_again(self) -> str:
        """Return the CT that `ct` has drawn, without storing it again."""
        return f'<use href="#{self.name}"/>'

    def overlay(self, png: bytes) -> str:
        """Return a picture of labels to lie on the CT, its voxels to be seen as squares."""
        return f'<image class="labels" {self._size} href="{png_uri(png)}"/>'

    def smooth_overlay(self, png: bytes) -> str:
        """Return a picture to lie on the CT, to be drawn smooth."""
        return f'<image {self._size} href="{png_uri(png)}"/>'

    def text(self, row_part: float, column_part: float, text: str) -> str:
        """Return a short text with its middle at parts (0…1) of height and width."""
        size = 0.045 * self.width_mm
        return (
            f'<text x="{column_part * self.width_mm:.1f}" '
            f'y="{row_part * self.height_mm + 0.35 * size:.1f}" text-anchor="middle" fill="#fff" '
            f'stroke="#10161c" stroke-width="{0.2 * size:.1f}" paint-order="stroke" '
            f'font-size="{size:.1f}" font-weight="600" font-family="sans-serif">{text}</text>'
        )

    @property
    def _size(self) -> str:
        return (
            f'width="{self.width_mm:.2f}" height="{self.height_mm:.2f}" preserveAspectRatio="none"'
        )


def warnings_box(messages: Sequence[str]) -> str:
    """Warnings (plain text) in a box; nothing where there are none."""
    if not messages:
        return ""
    items = "".join(f"<li>{escape(message)}</li>" for message in messages)
    return (
        '<div class="warnings"><strong>Read before using these numbers</strong>'
        f"<ul>{items}</ul></div>"
    )


def html_table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table; headings and cells are HTML."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def html_notes(notes: Iterable[str]) -> str:
    """Return notes (plain text) as a quiet list."""
    return '<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def png_uri(png: bytes) -> str:
    """Return a PNG file as an address that holds it."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")


def css_color(color: tuple[float, float, float]) -> str:
    """Return an RGB colour of 0…1 as CSS writes it."""
    return "#" + "".join(f"{round(255 * component):02x}" for component in color)


def color_swatch(color: tuple[float, float, float]) -> str:
    """Return a small square of a colour."""
    return f'<i class="swatch" style="background:{css_color(color)}"></i>'


def swatch(label: Label) -> str:
    """Return a small square in a label's colour."""
    return color_swatch(label.color)


def volume_text(volume_ml: float) -> str:
    """Whole millilitres, one decimal below 10, thin spaces between thousands."""
    text = f"{volume_ml:,.1f}" if 0 < volume_ml < 10 else f"{volume_ml:,.0f}"
    return text.replace(",", "\u202f")


def percent_text(value: float) -> str:
    """One decimal; what is above zero never reads as zero."""
    if math.isnan(value):
        return "–"
    return "&lt;0.1" if 0 < value < 0.05 else f"{value:.1f}"


def signed_text(value: float) -> str:
    """Return a whole number with a true minus sign."""
    return f"{value:.0f}".replace("-", "−")


def axis_step(highest: float) -> float:
    """A round step that parts 0…`highest` into about four."""
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
