"""Nothing from a header or file name commands the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from small_chest import a_ct, a_label_map

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.cli.printing import aligned, print_files, print_warnings
from CovidLungQuantLib.cli.progress_bar import LineProgress
from CovidLungQuantLib.ct.checks import check_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.printable import printable

CLEAR_SCREEN = "\x1b[2J"
TITLE = "\x1b]0;owned\x07"
# Escape, C1 control, backspace, carriage return, line end, right-to-left override.
HOSTILE = f"a{CLEAR_SCREEN}{TITLE}\x9b31m\x08\r\n\u202eb\u2028"


@pytest.mark.parametrize("character", [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0))])
def test_every_control_character_is_written_out(character: str):
    assert printable(f"a{character}b").isprintable()


@pytest.mark.parametrize(
    "text", ["Müller^Jürgen", "山田", "👩‍⚕️ −5 “x” … µm³", "C:\\temp\\x1b", "a b"]
)
def test_ordinary_text_stays(text: str):
    assert printable(text) == text


def test_a_second_time_changes_nothing():
    once = printable(HOSTILE)
    assert once.startswith("a\\x1b[2J") and once.isprintable()
    assert printable(once) == once


def test_a_half_character_of_a_file_name_can_be_printed():
    assert printable("a\udcff").encode("utf-8") == b"a\\udcff"


def test_an_error_and_what_is_printed_command_nothing(capsys: pytest.CaptureFixture[str]):
    assert str(BadInputError(f"{HOSTILE} is wrong.")).isprintable()
    print_warnings([HOSTILE])
    print_files(Path("/somewhere") / HOSTILE, [HOSTILE])
    print(aligned([(HOSTILE, "1"), ("b", "2")]))
    LineProgress()(0.1, HOSTILE)
    said = capsys.readouterr()
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_the_command_prints_no_escape_of_a_file_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ct = a_ct()
    scan = tmp_path / f"a{CLEAR_SCREEN}\n{TITLE}.nrrd"
    plain = tmp_path / "ct.nrrd"
    write_image(plain, ct.hu, ct.geometry)
    plain.rename(scan)
    write_image(tmp_path / "labels.nrrd", a_label_map().astype(np.uint8), ct.geometry)
    out = tmp_path / f"out{TITLE}"
    labels = str(tmp_path / "labels.nrrd")

    assert main(["measure", str(scan), labels, "-o", str(out), "--lobes", "none"]) == 0
    assert main(["measure", str(scan), labels, "-o", str(out), "--lobes", "none"]) == 2
    assert main(["measure", str(scan) + "x", labels, "-o", str(out) + "2"]) == 2
    with pytest.raises(SystemExit):
        main(["measure", str(scan), labels, "-o", "x", CLEAR_SCREEN])
    said = capsys.readouterr()
    assert all(line.isprintable() for line in (said.out + said.err).split("\n"))


def test_the_name_of_a_scan_moves_no_cursor():
    ct = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5)).ct
    assert check_ct(ct.hu, ct.geometry, "a\x1b[2Jb").name == r"a\x1b[2Jb"
