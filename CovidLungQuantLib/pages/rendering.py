"""Pages from templates: one environment, one stylesheet, nothing outside the file.

`render_page("report.html.j2", …)` fills a template of the folder `templates`. Whatever a page is
given is escaped, but for an `Svg`, which is a drawing made here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLungQuantLib.display.colors import css_color, score_color
from CovidLungQuantLib.display.facts import versions_text
from CovidLungQuantLib.display.numbers import (
    decimal_text,
    difference_text,
    mean_sd_text,
    p_text,
    percent_text,
    score_text,
    significant_text,
    volume_text,
)
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.measures.columns import ML, PERCENT, Column

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
TEMPLATE_FOLDER = FOLDER / "templates"


def render_page(template: str, **content: Any) -> str:
    """Return a self-contained HTML page.

    Args:
        template: name of a file in `TEMPLATE_FOLDER`.
        content: what the template shows, by the names it uses.

    Raises:
        jinja2.UndefinedError: the template uses what was not given.
    """
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    # Not above: Slicer shows the panel before the packages are installed.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([TEMPLATE_FOLDER, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "css_color": css_color,
        "decimals": decimal_text,
        "difference": difference_text,
        "figure": figure_text,
        "mean_sd": mean_sd_text,
        "percent": percent_text,
        "p_value": p_text,
        "score": score_text,
        "score_color": score_color,
        "significant": significant_text,
        "volume": volume_text,
    }
    environment.globals |= {
        "disclaimer": DISCLAIMER,
        "versions": versions_text,
    }
    return environment


def figure_text(value: float, column: Column) -> str:
    """Return a figure of the table as pages show those of its unit."""
    texts = {ML: volume_text, PERCENT: percent_text}
    return (
        texts[column.unit](value) if column.unit in texts else decimal_text(value, column.decimals)
    )
