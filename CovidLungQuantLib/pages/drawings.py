"""Drawings that stand in a page: SVG text, pictures as addresses, planes of a scan."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape

import numpy as np

from CovidLungQuantLib.display.pictures import encode_grey_png, window_grey
from CovidLungQuantLib.display.upright import UprightScan


class Svg(str):
    """SVG that was drawn here; pages take it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """What templates ask for before they escape a text."""
        return self


def png_uri(png: bytes) -> str:
    """Return a PNG file as an address that holds it."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")


@dataclass(frozen=True)
class Figure:
    """A drawing as an image of its own, by its address, and what it shows in words."""

    uri: str
    description: str


def svg_figure(svg: str, description: str) -> Figure:
    """Return a drawing as an image of its own: its ids then clash with no other's."""
    data = b64encode(svg.encode("utf-8")).decode("ascii")
    return Figure(f"data:image/svg+xml;base64,{data}", description)


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
    def axial(cls, scan: UprightScan, z: int) -> Plane:
        """Return the place of an axial plane."""
        return cls._of(f"axial{z}", scan.axial(scan.labels, z), scan.axial_pixel_mm)

    @classmethod
    def coronal(cls, scan: UprightScan, y: int, name: str = "coronal") -> Plane:
        """Return the place of a coronal plane; `name` keeps drawings apart."""
        return cls._of(f"{name}{y}", scan.coronal(scan.labels, y), scan.coronal_pixel_mm)

    @classmethod
    def _of(cls, name: str, picture: np.ndarray, pixel_mm: tuple[float, float]) -> Plane:
        rows, columns = picture.shape
        return cls(name, columns * pixel_mm[0], rows * pixel_mm[1])

    def svg(self, label: str, content: str) -> Svg:
        """Return a drawing of the plane with a mark on the patient's right."""
        width = self.width_mm
        side = (
            f'<text x="{0.02 * width:.1f}" y="{0.08 * width:.1f}" fill="#fff" '
            f'stroke="#000" stroke-width="{0.01 * width:.1f}" paint-order="stroke" '
            f'font-size="{0.07 * width:.1f}" font-family="sans-serif">R</text>'
        )
        return Svg(
            f'<svg viewBox="0 0 {width:.2f} {self.height_mm:.2f}" role="img" '
            f'aria-label="{escape(label)}">{content}{side}</svg>'
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

    def picture(self, png: bytes) -> str:
        """Return a picture that fills the plane, to be drawn smooth."""
        return f'<image {self._size} href="{png_uri(png)}"/>'

    def text(self, row_part: float, column_part: float, text: str) -> str:
        """Return a short text with its middle at parts (0…1) of height and width."""
        size = 0.045 * self.width_mm
        return (
            f'<text x="{column_part * self.width_mm:.1f}" '
            f'y="{row_part * self.height_mm + 0.35 * size:.1f}" text-anchor="middle" fill="#fff" '
            f'stroke="#10161c" stroke-width="{0.2 * size:.1f}" paint-order="stroke" '
            f'font-size="{size:.1f}" font-weight="600" font-family="sans-serif">'
            f"{escape(text)}</text>"
        )

    @property
    def _size(self) -> str:
        return (
            f'width="{self.width_mm:.2f}" height="{self.height_mm:.2f}" preserveAspectRatio="none"'
        )
