"""Every Qt, ctk and Slicer name in the module and its panel exists in a real Slicer 5.12.

Checked against the names read out of one: the committed, reduced copy always, the full file where
it is present.
"""

from __future__ import annotations

import ast
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from Testing.slicer_stand_in.names import REDUCED_NAMES_PATH, SlicerNames, load_names
from Testing.slicer_stand_in.reduce_names import (
    FULL_NAMES_PATH,
    MODULE_FOLDER,
    UI_FILES,
    reduce_names,
    used_words,
)

MODULE_FILE = MODULE_FOLDER / "CovidLungQuant.py"
MODULE_FILES = (MODULE_FILE, *sorted((MODULE_FOLDER / "CovidLungQuantPanel").rglob("*.py")))
SLICER_SUBMODULES = ("app", "modules", "util")


@pytest.fixture(params=["reduced", "full"])
def names(request: pytest.FixtureRequest) -> SlicerNames:
    if request.param == "reduced":
        return load_names(REDUCED_NAMES_PATH)
    if not FULL_NAMES_PATH.is_file():
        pytest.skip("The full list of Slicer's names is not on this machine.")
    return load_names(FULL_NAMES_PATH)


@pytest.fixture(scope="module")
def ui() -> ElementTree.Element:
    """All .ui files under one element; names of widgets are unique over all of them."""
    files = ElementTree.Element("files")
    files.extend(ElementTree.parse(path).getroot() for path in UI_FILES)
    return files


@pytest.fixture(scope="module")
def module_tree() -> ast.Module:
    """The module file and its sections, one after the other."""
    files = [ast.parse(path.read_text(encoding="utf-8")) for path in MODULE_FILES]
    return ast.Module(body=[node for file in files for node in file.body], type_ignores=[])


def widget_classes(ui: ElementTree.Element) -> dict[str, str]:
    """Class of each widget of the .ui files by the widget's name."""
    widgets = list(ui.iter("widget"))
    classes = {widget.attrib["name"]: widget.attrib["class"] for widget in widgets}
    assert len(classes) == len(widgets), "two widgets have the same name"
    return classes


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` for such an expression, None for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def test_the_panel_has_the_expected_parts(ui: ElementTree.Element) -> None:
    classes = widget_classes(ui)
    assert classes["CovidLungQuant"] == "qMRMLWidget"
    assert classes["inputVolumeSelector"] == "qMRMLNodeComboBox"
    assert classes["segmentButton"] == "QPushButton"
    assert classes["resultsTable"] == "QTableWidget"


def test_every_widget_class_exists(ui: ElementTree.Element, names: SlicerNames) -> None:
    unknown = {name for name in widget_classes(ui).values() if names.find_class(name) is None}
    assert unknown == set()


def test_every_widget_property_exists(ui: ElementTree.Element, names: SlicerNames) -> None:
    unknown = {
        (widget.attrib["class"], item.attrib["name"])
        for widget in ui.iter("widget")
        for item in widget.findall("property")
        if item.attrib["name"] not in names.properties(widget.attrib["class"])
        # A label's buddy is not a Qt property: the loader calls setBuddy.
        and not (item.attrib["name"] == "buddy" and widget.attrib["class"] == "QLabel")
    }
    assert unknown == set()


def test_every_connection_of_the_panel_exists(ui: ElementTree.Element, names: SlicerNames) -> None:
    classes = widget_classes(ui)
    connections = list(ui.iter("connection"))
    assert len(connections) >= 4
    for connection in connections:
        sender, receiver = (classes[connection.findtext(tag)] for tag in ("sender", "receiver"))
        assert connection.findtext("signal") in names.signals(sender)
        assert connection.findtext("slot") in names.slots(receiver)


def test_every_tab_stop_and_buddy_is_a_widget(ui: ElementTree.Element) -> None:
    named = widget_classes(ui).keys()
    referenced = [stop.text for stop in ui.iter("tabstop")]
    referenced += [buddy.findtext("cstring") for buddy in ui.findall(".//property[@name='buddy']")]
    assert len(referenced) >= 23
    assert set(referenced) <= named


def test_every_widget_has_a_tooltip(ui: ElementTree.Element) -> None:
    without = {
        widget.attrib["name"]
        for widget in ui.iter("widget")
        if widget.attrib["class"] != "qMRMLWidget"
        and not widget.findtext("property[@name='toolTip']/string")
    }
    assert without == set()


def test_no_two_widgets_have_the_same_mnemonic(ui: ElementTree.Element) -> None:
    """All sections stand in one panel: Alt and a letter mean one widget of it."""
    letters: dict[str, list[str]] = {}
    for widget in ui.iter("widget"):
        text = widget.findtext("property[@name='text']/string") or ""
        if found := re.search(r"&(?!&)(\w)", text):
            letters.setdefault(found.group(1).lower(), []).append(widget.attrib["name"])
    assert {letter: names for letter, names in letters.items() if len(names) > 1} == {}
    assert len(letters) > 10


def test_every_section_is_reached_by_the_keyboard_in_order(ui: ElementTree.Element) -> None:
    """Without tab stops, Qt takes widgets in the order of the file, which is that of the form."""
    for file in ui:
        stops = [stop.text for stop in file.iter("tabstop")]
        assert len(set(stops)) == len(stops)
        written = [
            widget.attrib["name"]
            for widget in file.iter("widget")
            if widget.attrib["name"] in stops
        ]
        assert stops == written, file.findtext("class")


def test_every_qt_and_slicer_name_of_the_module_exists(
    module_tree: ast.Module, names: SlicerNames
) -> None:
    found = set()
    for node in ast.walk(module_tree):
        path = (dotted(node) or "").split(".") if isinstance(node, ast.Attribute) else []
        if path[:1] == ["qt"] and len(path) == 2:
            found.add("qt")
            assert names.has_class("qt", path[1]), path
        elif path[:1] == ["qt"] and len(path) == 3:
            assert path[2] in names.attributes(path[1]), path
        elif path[:1] == ["slicer"] and len(path) >= 3 and path[1] in SLICER_SUBMODULES:
            found.add(path[1])
            assert path[2] in names.module_names(f"slicer.{path[1]}"), path
    assert found >= {"qt", "app", "util"}


def test_every_name_on_a_widget_of_the_panel_exists(
    module_tree: ast.Module, ui: ElementTree.Element, names: SlicerNames
) -> None:
    classes = widget_classes(ui)
    checked = 0
    for node in ast.walk(module_tree):
        path = (dotted(node) or "").split(".") if isinstance(node, ast.Attribute) else []
        if path[:2] == ["self", "ui"] and len(path) >= 4:
            assert path[3] in names.attributes(classes[path[2]]), path
            checked += 1
    assert checked > 20


def test_every_signal_of_the_module_exists(
    module_tree: ast.Module, ui: ElementTree.Element, names: SlicerNames
) -> None:
    classes = widget_classes(ui)
    signatures = [
        (dotted(node.func).split(".")[2], node.args[0].value)
        for node in ast.walk(module_tree)
        if isinstance(node, ast.Call)
        and (dotted(node.func) or "").startswith("self.ui.")
        and dotted(node.func).endswith(".connect")
    ]
    assert len(signatures) >= 9
    for widget, signature in signatures:
        assert signature in names.signals(classes[widget])
    assert "timeout()" in names.signals("QTimer")


def test_the_reduced_copy_is_up_to_date() -> None:
    if not FULL_NAMES_PATH.is_file():
        pytest.skip("The full list of Slicer's names is not on this machine.")
    full = json.loads(FULL_NAMES_PATH.read_text(encoding="utf-8"))
    committed = json.loads(Path(REDUCED_NAMES_PATH).read_text(encoding="utf-8"))
    assert committed == reduce_names(full, used_words())
