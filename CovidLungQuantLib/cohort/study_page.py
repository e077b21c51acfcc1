"""What the pages of studies share: one style."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.versions import software_versions

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1240px; padding: 28px 32px; background: #fff; color: #1d2730;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 2px 0 0; } h2 { font-size: 17px; margin: 34px 0 10px; }
.quiet, small { color: #5a6772; font-size: 13px; }
.warnings { margin: 20px 0 0; padding: 10px 16px; border-left: 5px solid #c77700;
  background: #fff6e6; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 9px; border-bottom: 1px solid #dde3e7;
  white-space: nowrap; }
th { font-weight: 600; font-size: 13px; color: #3e4a54; vertical-align: bottom;
  white-space: normal; }
th:first-child, td:first-child { text-align: left; }
span.quiet { display: inline-block; min-width: 190px; white-space: normal; text-align: left; }
img { display: block; width: 100%; max-width: 980px; height: auto; margin: 6px 0 18px;
  break-inside: avoid; }
@media print { @page { size: A4 landscape; margin: 12mm; } body { padding: 0; max-width: none; } }
"""


def study_page(title: str, parts: Sequence[str]) -> str:
    """A self-contained page of HTML parts; empty parts are left out."""
    body = "\n".join(part for part in parts if part)
    versions = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="quiet">{escape(DISCLAIMER)}</p>\n{body}\n'
        f'<p class="quiet">{escape(versions)}</p>\n</body>\n</html>\n'
    )


def svg_image(svg: str, description: str = "Scatter and Bland–Altman plot") -> str:
    """A drawing to stand in a page."""
    # As an image of its own: ids inside several SVG would clash in one page.
    data = b64encode(svg.encode("utf-8")).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/svg+xml;base64,{data}">'


def quiet(text: str) -> str:
    """A cell's content as small grey text over several lines."""
    return f'<span class="quiet">{escape(text)}</span>' if text else ""


def study_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; headings and cells are HTML."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def notes_list(notes: Sequence[str]) -> str:
    """Notes (plain text) as a quiet list."""
    return f'<ul class="quiet">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'
