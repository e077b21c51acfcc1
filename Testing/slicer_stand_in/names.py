"""The names a real 3D Slicer offers to scripts, and what a class inherits.

Read from `slicer_names.json`, the reduced copy of what was read out of a running Slicer 5.12.3, or
from any file of the same form.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REDUCED_NAMES_PATH = Path(__file__).with_name("slicer_names.json")

# Class modules in which a base class is looked for; Slicer's widgets derive from Qt's.
CLASS_MODULES = ("slicer", "ctk", "qt")


@dataclass(frozen=True)
class SlicerNames:
    """Names by module and class.

    Attributes:
        content: the parsed file: `modules` (names), `meta` (properties, signals, slots).
    """

    content: dict[str, Any]

    def module_names(self, module: str) -> frozenset[str]:
        """Names in a module: classes of `qt`, `ctk`, `slicer`; functions of `slicer.util`, …"""
        return frozenset(self.content["modules"][module])

    def has_class(self, module: str, class_name: str) -> bool:
        """Whether `module` has a class of that name."""
        return "names" in self.content["modules"][module].get(class_name, {})

    def find_class(self, class_name: str) -> str | None:
        """Return the module of a class, None where Slicer has no such class."""
        for module in CLASS_MODULES:
            if self.has_class(module, class_name):
                return module
        return None

    def attributes(self, class_name: str) -> frozenset[str]:
        """Everything a script may read on an instance: methods, signals and properties."""
        names: set[str] = set()
        for module, name in self._ancestry(class_name):
            names.update(self.content["modules"][module][name]["names"])
        return frozenset(names) | self.properties(class_name)

    def properties(self, class_name: str) -> frozenset[str]:
        """Qt properties, inherited ones included: plain attributes in PythonQt."""
        return self._meta(class_name, "properties")

    def read_only_properties(self, class_name: str) -> frozenset[str]:
        """Qt properties that cannot be set."""
        return self._meta(class_name, "read_only")

    def signals(self, class_name: str) -> frozenset[str]:
        """Signatures of signals, inherited ones included."""
        return self._meta(class_name, "signals")

    def slots(self, class_name: str) -> frozenset[str]:
        """Signatures of slots, inherited ones included."""
        return self._meta(class_name, "slots")

    def _meta(self, class_name: str, kind: str) -> frozenset[str]:
        keys = {f"{module}.{name}" for module, name in self._ancestry(class_name)}
        # An entry lists what its class adds to the base that it names itself, QWidget for most.
        bases = {self.content["meta"].get(key, {}).get("base") for key in keys} - {None}
        keys |= {f"{self.find_class(base)}.{base}" for base in bases}
        entries = (self.content["meta"][key] for key in keys & self.content["meta"].keys())
        return frozenset(name for entry in entries for name in entry[kind])

    def _ancestry(self, class_name: str) -> list[tuple[str, str]]:
        chain: list[tuple[str, str]] = []
        name: str | None = class_name
        while name is not None:
            module = self.find_class(name)
            if module is None:
                raise AttributeError(f"3D Slicer has no class {name!r}")
            chain.append((module, name))
            entry = self.content["modules"][module][name]
            name = entry.get("base") or self._meta_base(module, name)
        return chain

    def _meta_base(self, module: str, name: str) -> str | None:
        return self.content["meta"].get(f"{module}.{name}", {}).get("base")


def load_names(path: Path) -> SlicerNames:
    """Read a names file."""
    return SlicerNames(json.loads(path.read_text(encoding="utf-8")))


@cache
def reduced_names() -> SlicerNames:
    """The committed names: only those that the module, its panel and their tests use."""
    return load_names(REDUCED_NAMES_PATH)
