"""The report as PDF: what browsers alone draw is rewritten, and the pages hold it."""

from __future__ import annotations

import contextlib
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from small_chest import a_ct, a_label_map, a_quantification

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.outputs import pdf
from CovidLungQuantLib.outputs.pdf import check_pdf_possible, printable, write_pdf
from CovidLungQuantLib.outputs.report import report_html


@pytest.fixture
def weasyprint() -> None:
    """Skip where no PDF can be made."""
    try:
        check_pdf_possible()
    except BadInputError as error:
        pytest.skip(str(error))


def test_pictures_drawn_again_are_repeated_and_outlined_text_lies_on_its_outline():
    html = (
        '<style>a</style><svg><image id="p1" width="3" href="data:x"/></svg>'
        '<svg><use href="#p1"/><text x="1" fill="#fff" stroke="#000" stroke-width="0.2" '
        'paint-order="stroke" font-size="2">R</text></svg>'
    )
    page = printable(html)
    assert page.startswith("<style>a\n@page")
    assert '<svg><image width="3" href="data:x"/><text' in page
    assert page.endswith('>R</text><text x="1" fill="#fff"  font-size="2">R</text></svg>')


def test_a_report_keeps_nothing_that_only_browsers_draw():
    html = report_html(a_quantification(lobes=True))
    page = printable(html)
    assert "<use" in html and "<use" not in page
    outlined = html.count('paint-order="stroke"')
    assert outlined > 0 and page.count("<text") == html.count("<text") + outlined


def test_pages_are_a4_and_the_file_is_whole(weasyprint: None, tmp_path: Path):
    write_pdf(tmp_path / "report.pdf", report_html(a_quantification(lobes=True)))
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    # Pages may be described in the open or in packed objects.
    parts = [content]
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        with contextlib.suppress(zlib.error):
            parts.append(zlib.decompress(match[1]))
    box = rb"/MediaBox ?\[ ?0 0 ([0-9.]+) ([0-9.]+) ?\]"
    boxes = [size for part in parts for size in re.findall(box, part)]
    assert len(boxes) >= 2
    for width, height in boxes:
        assert float(width) == pytest.approx(210 / 25.4 * 72, abs=0.5)
        assert float(height) == pytest.approx(297 / 25.4 * 72, abs=0.5)


def test_the_command_writes_the_pdf_beside_the_page(weasyprint: None, tmp_path: Path, capsys):
    ct = a_ct(np.eye(3))
    write_image(tmp_path / "ct.nrrd", ct.hu, ct.geometry)
    write_image(tmp_path / "labels.nrrd", a_label_map(), ct.geometry)
    arguments = ["measure", str(tmp_path / "ct.nrrd"), str(tmp_path / "labels.nrrd")]
    code = main([*arguments, "-o", str(tmp_path / "out"), "--lobes", "none", "--pdf"])
    assert code == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "report.pdf").stat().st_size > 10_000
    assert "report.pdf" in capsys.readouterr().out


def test_a_missing_library_is_explained_before_anything_is_computed(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pdf, "find_spec", lambda name: None)
    code = main(["segment", str(tmp_path), "-o", str(tmp_path / "out"), "--pdf"])
    assert code == 2 and "needs WeasyPrint" in capsys.readouterr().err
