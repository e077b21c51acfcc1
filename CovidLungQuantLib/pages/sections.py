"""A page of a study made of sections: headings with texts, tables and figures below each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from CovidLungQuantLib.pages.drawings import Figure
from CovidLungQuantLib.pages.rendering import render_page

TEMPLATE = "sections.html.j2"


@dataclass(frozen=True)
class ShownTable:
    """A table as it is shown: texts, the first column to the left."""

    headings: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page under its heading."""

    title: str
    texts: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[ShownTable] = ()


def sections_page(
    title: str,
    sections: Sequence[Section],
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """One self-contained HTML page; warnings stand first, notes last."""
    return render_page(TEMPLATE, title=title, sections=sections, warnings=warnings, notes=notes)
