"""A few hundred damaged files at each door; `python -m Testing.Robustness.fuzz` tries thousands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from Testing.Robustness import fuzz
from Testing.Robustness.damage import damaged_content
from Testing.Robustness.door import OTHER, READ, REFUSED, SAME, UNEXPECTED, Door, Seed
from Testing.Robustness.doors import all_doors

COUNT = 250
DOORS = all_doors()


@pytest.mark.parametrize("name", DOORS)
def test_damaged_files_are_read_as_before_or_refused(tmp_path: Path, name: str) -> None:
    found = list(fuzz.outcomes(DOORS[name], seed=0, first=0, count=COUNT, folder=tmp_path))
    assert [outcome for outcome in found if not outcome.is_fine] == []
    kinds = {outcome.kind for outcome in found}
    assert {SAME, REFUSED} <= kinds <= {*READ, REFUSED}


def test_the_same_number_gives_the_same_damage() -> None:
    content = b"a: 1\nb: 2\n" * 50
    once, again = (
        [damaged_content(content, np.random.default_rng([1, index])) for index in range(30)]
        for _ in range(2)
    )
    assert once == again
    assert len(set(once)) > 25


def strange_door(read) -> Door:
    return Door("strange", [Seed("a.txt", b"valid" * 30, read)], lambda *_: OTHER)


def test_what_is_looked_for_is_found(tmp_path: Path) -> None:
    def read_all(path: Path) -> bytes:
        return path.read_bytes()

    def fail(path: Path) -> bytes:
        if path.read_bytes() != b"valid" * 30:
            raise KeyError("unforeseen")
        return b""

    for read, kind in ((read_all, OTHER), (fail, UNEXPECTED)):
        found = list(fuzz.outcomes(strange_door(read), 0, 0, 20, tmp_path))
        assert kind in {outcome.kind for outcome in found}
    assert fuzz.is_one_sentence("It is wrong; mend it.")
    for text in ("two\nlines.", "no end", "\x1b[2J.", "long" * 500 + "."):
        assert not fuzz.is_one_sentence(text)


def test_the_command_tells_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--door", "json", "--count", "20", "--seed", "3"]) == 0
    assert capsys.readouterr().out.startswith("json: ")
