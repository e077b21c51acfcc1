"""Every string of the module and its panel that a user sees can be translated.

Those of the .ui files are translated by Qt; those of the Python files have to go through `_()`.
"""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest
from test_slicer_names import MODULE_FILES, UI_FILES, dotted

# What shows its value or first argument; the second of `showText` and of a message box's title.
SHOWN_PROPERTIES = {"text", "toolTip", "title", "windowTitle", "placeholderText", "helpText"}
SHOWING_CALLS = {
    "setText",
    "setToolTip",
    "setTitle",
    "setWindowTitle",
    "setPlaceholderText",
    "addItem",
    "addAction",
    "showStatus",
    "_say",
    "showText",
    "errorDisplay",
    "infoDisplay",
    "warningDisplay",
    "confirmOkCancelDisplay",
    "confirmYesNoDisplay",
    "setHorizontalHeaderLabels",
    "setVerticalHeaderLabels",
    "CovidLungQuantError",
    "BadInputError",
}


def bare_texts(node: ast.expr) -> Iterator[ast.expr]:
    """Literal texts in an expression that are shown as they are: not arguments of calls."""
    if isinstance(node, ast.Constant):
        text = re.sub(r"<[^>]*>", "", node.value) if isinstance(node.value, str) else ""
        if any(letter.isalpha() for letter in text):
            yield node
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from bare_texts(part)
    elif isinstance(node, ast.BinOp):
        yield from (*bare_texts(node.left), *bare_texts(node.right))
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            yield from bare_texts(part)
    elif isinstance(node, ast.IfExp):
        yield from (*bare_texts(node.body), *bare_texts(node.orelse))
    elif isinstance(node, (ast.List, ast.Tuple)):
        for part in node.elts:
            yield from bare_texts(part)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        # "…".format(…) and the like.
        yield from bare_texts(node.func.value)


def shown(tree: ast.Module) -> Iterator[ast.expr]:
    """Expressions whose value a user sees."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.attr for target in targets if isinstance(target, ast.Attribute)}
            if names & SHOWN_PROPERTIES:
                yield node.value
        elif isinstance(node, ast.Call):
            name = (dotted(node.func) or "").rpartition(".")[2]
            if name in SHOWING_CALLS:
                yield from node.args[:2]


def wrong_texts(source: str) -> list[str]:
    """Texts shown without translation, and texts to translate that are not written out."""
    tree = ast.parse(source)
    found = [text for value in shown(tree) for text in bare_texts(value)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "_":
            found += [argument for argument in node.args if not isinstance(argument, ast.Constant)]
    return [ast.unparse(text) for text in found]


@pytest.mark.parametrize("path", MODULE_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_shown_text_can_be_translated(path) -> None:
    assert wrong_texts(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("label.text = 'Done'", ["'Done'"]),
        ("label.text = _('Done')", []),
        ("label.text = _('Done {n}').format(n=n) if n else ''", []),
        ("label.text = 'Done {n}'.format(n=n)", ["'Done {n}'"]),
        ("label.setToolTip(f'{n} mL')", ["' mL'"]),
        ("parent.helpText += f'<p>{disclaimer}</p>'", []),
        ("label.toolTip = _(f'{n} cases')", ["f'{n} cases'"]),
        ("box.addItem(name, 'value')", ["'value'"]),
        ("slicer.util.errorDisplay('It failed' if bad else _('It worked'))", ["'It failed'"]),
    ],
)
def test_the_check_itself_finds_them(source: str, wrong: list[str]) -> None:
    assert wrong_texts(source) == wrong


def test_no_text_of_the_ui_files_is_kept_from_translation() -> None:
    texts = [
        (path.name, item.find("string"))
        for path in UI_FILES
        for item in ElementTree.parse(path).getroot().iter("property")
        if item.attrib["name"] in SHOWN_PROPERTIES and item.find("string") is not None
    ]
    assert len(texts) > 100
    kept = [text.text or "" for _, text in texts if text.attrib.get("notr") == "true"]
    assert [text for text in kept if any(letter.isalpha() for letter in text)] == []
