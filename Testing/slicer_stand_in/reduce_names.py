"""Write `slicer_names.json`: of all the names of a real Slicer, those that this project uses.

    python Testing/slicer_stand_in/reduce_names.py [FULL_FILE]

The full file was read out of a running 3D Slicer. A name that the module starts to use is refused
by the stand-in until this has been run again, and stays refused if Slicer does not have it.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FULL_NAMES_PATH = ROOT.parent / "shared" / "slicer-api.json"
MODULE_FOLDER = ROOT / "CovidLungQuant"
SCRIPTS = (
    MODULE_FOLDER / "CovidLungQuant.py",
    *sorted((MODULE_FOLDER / "CovidLungQuantPanel").rglob("*.py")),
    *sorted((ROOT / "Testing" / "slicer_stand_in").glob("*.py")),
    *sorted((ROOT / "Testing" / "Python").glob("test_slicer_*.py")),
)
UI_FILES = tuple(sorted((MODULE_FOLDER / "Resources" / "UI").glob("*.ui")))

# Called by Slicer's own slicer.util, so not to be found in this project's files.
USED_BY_SLICER = frozenset(
    {"QFile", "QUiLoader", "ReadOnly", "children", "className", "exists", "hide", "layout", "load"}
    | {"open", "property"}
)
# The stand-in builds on these whether or not a file of the project names them.
BASE_CLASSES = frozenset({"QObject", "QWidget", "QAbstractButton"})
CLASS_MODULES = ("qt", "ctk", "slicer")
FUNCTION_MODULES_KEPT = (
    "slicer.app",
    "slicer.modules",
    "slicer.parameterNodeWrapper",
    "slicer.util",
)


def main() -> None:
    """Read the full file and write the reduced one beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("full", nargs="?", type=Path, default=FULL_NAMES_PATH)
    full = json.loads(parser.parse_args().full.read_text(encoding="utf-8"))
    reduced = reduce_names(full, used_words())
    target = Path(__file__).with_name("slicer_names.json")
    target.write_text(json.dumps(reduced, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB\n")


def used_words() -> frozenset[str]:
    """Every identifier and every word of a string in the module, its tests and the .ui files.

    More than the names really used, which does no harm: the full file decides what exists.
    """
    words = set(USED_BY_SLICER | BASE_CLASSES)
    for script in SCRIPTS:
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                words.add(node.attr)
            elif isinstance(node, ast.Name):
                words.add(node.id)
            elif isinstance(node, ast.alias):
                words.update(node.name.split("."))
            elif isinstance(node, ast.FunctionDef):
                words.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.update(re.findall(r"\w+", node.value))
    for ui_file in UI_FILES:
        for element in ElementTree.parse(ui_file).iter():
            words.update(element.attrib.get(key, "") for key in ("class", "name"))
            if element.tag in ("class", "signal", "slot", "enum", "set"):
                words.update(re.findall(r"\w+", element.text or ""))
    return frozenset(words)


def reduce_names(full: dict[str, Any], words: frozenset[str]) -> dict[str, Any]:
    """Keep of `full` the classes in `words` with their bases, and of each the names in `words`."""
    modules: dict[str, Any] = {}
    for module in CLASS_MODULES:
        entries = full["modules"][module]
        classes = _with_bases(words, full)
        modules[module] = {
            name: _reduced_class(entries[name], words)
            for name in sorted(classes & entries.keys())
            if "names" in entries[name]
        }
    for module, names in full["modules"].items():
        if module in FUNCTION_MODULES_KEPT or module.startswith("slicer.ScriptedLoadableModule."):
            modules[module] = sorted(words.intersection(names))
    kept_classes = {f"{module}.{name}" for module in CLASS_MODULES for name in modules[module]}
    meta = {
        key: _reduced_meta(full["meta"][key], words)
        for key in sorted(kept_classes & full["meta"].keys())
    }
    return {"about": full["about"], "version": full["version"], "modules": modules, "meta": meta}


def _with_bases(words: frozenset[str], full: dict[str, Any]) -> set[str]:
    bases = {
        name: entry.get("base")
        for module in CLASS_MODULES
        for name, entry in full["modules"][module].items()
        if "names" in entry
    }
    kept: set[str] = set()
    for word in words:
        name: str | None = word
        while name in bases and name not in kept:
            kept.add(name)
            name = bases[name]
    return kept


def _reduced_class(entry: dict[str, Any], words: frozenset[str]) -> dict[str, Any]:
    return dict(entry, names=sorted(words.intersection(entry["names"])))


def _reduced_meta(entry: dict[str, Any], words: frozenset[str]) -> dict[str, Any]:
    reduced: dict[str, Any] = {"base": entry["base"]} if "base" in entry else {}
    for kind in ("properties", "read_only"):
        reduced[kind] = sorted(words.intersection(entry.get(kind, ())))
    for kind in ("signals", "slots"):
        reduced[kind] = [item for item in entry.get(kind, ()) if item.split("(")[0] in words]
    return reduced


if __name__ == "__main__":
    main()
