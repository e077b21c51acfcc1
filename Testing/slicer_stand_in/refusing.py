"""Stand-ins of Slicer's objects that have only the names of the real ones."""

from __future__ import annotations

from typing import Any

from .names import reduced_names
from .pythonqt import UnknownSlicerName


class RefusesUnknownNames:
    """Offers what Slicer's class `standInClass` has, and what begins with `standIn`."""

    standInClass = ""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith(("__", "standIn")):
            class_name = object.__getattribute__(self, "standInClass")
            if name not in reduced_names().attributes(class_name):
                raise UnknownSlicerName(f"{class_name} has no {name!r}")
        return object.__getattribute__(self, name)
