"""Every error and warning of the library and the panel, as written in their files: one sentence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from sentences import is_one_sentence

import CovidLungQuantLib
from CovidLungQuantLib import errors
from CovidLungQuantLib.ct import ScanWarning

ROOT = Path(CovidLungQuantLib.__file__).parents[1]
FOLDERS = ("CovidLungQuant", "CovidLungQuantLib", "research")
# Which argument of what makes a message is the message.
MESSAGE_AT = {
    name: 0
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.CovidLungQuantError)
} | {ScanWarning.__name__: 1}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("The folder is empty; choose another one.", True),
        ("ct.nrrd holds no CT (it is 2.5 mm thick, as A. B. wrote); give one.", False),
        ("ct.nrrd holds 2.5 mm slices.", True),
        ("“a b” is no model.", True),
        ("The folder is empty. Choose another one.", False),
        ("The folder is empty! “B” is not.", False),
        ("Is it (really?) empty, then choose another.", True),
        ("The folder is empty", False),
        ("The folder is empty...", False),
        ("The folder is\nempty.", False),
        ("the folder is empty.", False),
        ("", False),
    ],
)
def test_sentences_are_counted(text: str, is_one: bool) -> None:
    assert is_one_sentence(text) == is_one


def literal_text(node: ast.expr) -> str | None:
    """The text of a literal, whatever is put into it being a number; None where it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal_text(part) or "7" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = literal_text(node.left), literal_text(node.right)
        return None if None in parts else "".join(parts)
    return None


def messages() -> Iterator[tuple[str, str]]:
    """Where each message is made, and its text."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                at = MESSAGE_AT.get(getattr(node.func, "id", getattr(node.func, "attr", "")))
                if at is None or len(node.args) <= at:
                    continue
                text = literal_text(node.args[at])
                if text is not None:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", text


def test_every_message_is_one_sentence() -> None:
    found = dict(messages())
    assert len(found) > 200
    assert {place: text for place, text in found.items() if not is_one_sentence(text)} == {}
