"""The report page as PDF, by WeasyPrint, which is an optional extra (with its library Pango)."""

from __future__ import annotations

import logging
import re
from importlib.util import find_spec
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER

# The page is drawn for a window of about this width; on A4 it is reduced to fit.
REDUCTION = 0.7
PAGE_WIDTH_MM, PAGE_HEIGHT_MM = 210.0, 297.0
MARGIN_MM = 13.0

# Under this media type `pages/style.css` has the rest of the style for paper.
MEDIA_TYPE = "pdf"
_PAPER = f"""
@page {{
  size: {PAGE_WIDTH_MM / REDUCTION:.2f}mm {PAGE_HEIGHT_MM / REDUCTION:.2f}mm;
  margin: {MARGIN_MM / REDUCTION:.2f}mm;
  @bottom-left {{ content: "{DISCLAIMER}"; font: 12px sans-serif; color: #5a6772; }}
  @bottom-right {{ content: counter(page) " / " counter(pages); font: 12px sans-serif;
    color: #5a6772; }}
}}
"""
_IMAGE = re.compile(r'<image id="([^"]+)" ([^>]*)/>')
_USE = re.compile(r'<use href="#([^"]+)"/>')
_OUTLINED_TEXT = re.compile(
    r'<text ([^>]*?)stroke="[^"]*"\s+stroke-width="[^"]*"\s+paint-order="stroke"'
    r"([^>]*)>([^<]*)</text>"
)


def check_pdf_possible() -> None:
    """Refuse to begin where WeasyPrint or its library is missing.

    Raises:
        BadInputError: with what to do.
    """
    advice = (
        "A PDF needs WeasyPrint and the library Pango; install them with “pip install "
        "covidlungquant[pdf]” and your system's package manager, or print report.html from a "
        "browser instead."
    )
    if find_spec("weasyprint") is None:
        raise BadInputError(advice)
    try:
        import weasyprint  # noqa: F401
    except OSError as error:
        raise BadInputError(advice) from error


def write_pdf(path: Path, html: str) -> None:
    """Write a page of `outputs.report` as A4 pages with page numbers.

    Raises:
        BadInputError: WeasyPrint is missing.
        OSError: the file cannot be written.
    """
    check_pdf_possible()
    from weasyprint import HTML

    # It would tell of each style for screens only that it leaves out.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    HTML(string=printable(html), media_type=MEDIA_TYPE).write_pdf(path, zoom=REDUCTION)


def printable(html: str) -> str:
    """The page on paper reduced to fit, without what only browsers draw.

    Pictures drawn again by reference are repeated, and outlined text becomes an outline with the
    text on it.
    """
    # Behind the page's own style, whose paper this replaces.
    html = html.replace("</style>", f"{_PAPER}</style>", 1)
    images = dict(_IMAGE.findall(html))
    html = _USE.sub(lambda match: f"<image {images[match[1]]}/>", html)
    return _OUTLINED_TEXT.sub(
        lambda match: match[0] + f"<text {match[1]}{match[2]}>{match[3]}</text>", html
    )
