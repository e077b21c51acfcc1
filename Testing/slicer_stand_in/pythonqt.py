"""PySide6 classes that behave like PythonQt's, and refuse what a real Slicer does not have.

A stand-in: properties are attributes, signals connect by signature string, and every name is looked
up in the names read out of a real Slicer. Where PythonQt returns False in silence (a signature that
does not exist) this raises, so that a test sees it.
"""

from __future__ import annotations

import inspect
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import Property, QObject, Signal

from .names import SlicerNames, reduced_names

# Python's own machinery reads dunder names; slicer.util reads `name` on every child widget.
_ALWAYS_READABLE = frozenset({"name"})
_PYSIDE_MODULES = (QtWidgets, QtGui, QtCore, QtUiTools)


class UnknownSlicerName(AttributeError):
    """The name does not exist in a real Slicer (or `reduce_names.py` has not been run since)."""


def make_qt_module() -> ModuleType:
    """Return the stand-in for Slicer's `qt` module."""
    module = _StrictModule("qt", "qt")
    module.standInClasses["QUiLoader"] = UiLoader
    return module


def make_ctk_module() -> ModuleType:
    """Return the stand-in for Slicer's `ctk` module."""
    return _StrictModule("ctk", "ctk")


class _StrictModule(ModuleType):
    """A module whose classes are made on first use, if Slicer has them."""

    def __init__(self, name: str, names_key: str) -> None:
        super().__init__(name, "Stand-in for 3D Slicer's module of this name.")
        self.standInKey = names_key
        self.standInClasses: dict[str, type] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in reduced_names().module_names(self.standInKey):
            raise UnknownSlicerName(f"3D Slicer's {self.standInKey} has no {name!r}")
        if name not in self.standInClasses:
            self.standInClasses[name] = widget_class(name)
        return self.standInClasses[name]


def qt_class(name: str) -> type:
    """Return the PySide6 class `name`, dressed as PythonQt would offer it."""
    pyside_class = next(
        (getattr(module, name) for module in _PYSIDE_MODULES if hasattr(module, name)), None
    )
    if pyside_class is None:
        raise UnknownSlicerName(f"PySide6 has no {name!r} to stand in for Slicer's")
    if not issubclass(pyside_class, (QtWidgets.QWidget, QtCore.QTimer)):
        return pyside_class
    return dress(pyside_class, name)


def dress(pyside_class: type, name: str) -> type:
    """Return a subclass of a PySide6 class that answers scripts as PythonQt's `name` would."""
    return type(pyside_class)(name, (pyside_class,), pythonqt_namespace(pyside_class, name))


def pythonqt_namespace(pyside_class: type, class_name: str) -> dict[str, Any]:
    """Class attributes that make a subclass of `pyside_class` behave as PythonQt's `class_name`."""
    names = reduced_names()
    readable = names.attributes(class_name)
    properties = names.properties(class_name)
    writable = properties - names.read_only_properties(class_name)

    def read(self: QObject, name: str) -> Any:
        known = name.startswith(("__", "standIn")) or name in readable or name in _ALWAYS_READABLE
        if not known and _is_written_in(sys._getframe(1), name):
            raise UnknownSlicerName(f"{class_name} has no attribute named {name!r}")
        return QObject.__getattribute__(self, name)

    def write(self: QObject, name: str, value: Any) -> None:
        if name.startswith("standIn"):
            self.__dict__[name] = value
        elif name == "visible":
            set_wanted_visible(self, value)
        elif name in writable:
            QObject.setProperty(self, name, value)
        elif isinstance(value, QObject) and QObject.objectName(value) == name:
            # PySide6's own QUiLoader puts the children on the top widget; PythonQt's does not.
            return
        else:
            raise UnknownSlicerName(f"{name!r} does not exist on {class_name} or is read only")

    namespace: dict[str, Any] = {
        "__getattribute__": read,
        "__setattr__": write,
        "connect": lambda self, signature, receiver: _connect(self, names, signature, receiver),
        "disconnect": lambda self, signature, receiver: _disconnect(self, signature, receiver),
        "className": lambda self: class_name,
        "name": property(lambda self: QObject.objectName(self)),
    }
    for name in properties - {"sizeHint", "minimumSizeHint", "singleShot"}:
        if isinstance(inspect.getattr_static(pyside_class, name, None), Property):
            continue
        namespace[name] = property(lambda self, key=name: QObject.property(self, key))
    return namespace


def _is_written_in(frame: FrameType, name: str) -> bool:
    """Whether the running code names the attribute itself.

    PySide6 looks for overridden virtual methods in the same way, from C++ called by that code.
    """
    return name in frame.f_code.co_names or name in frame.f_code.co_consts


def _connect(
    sender: QObject, names: SlicerNames, signature: str, receiver: Callable[..., Any]
) -> bool:
    """Connect by signature string; the receiver gets as many arguments as it takes."""
    class_name = sender.className()
    if signature not in names.signals(class_name):
        raise UnknownSlicerName(f"{class_name} has no signal {signature!r}")

    # PySide6 looks at the receiver's parameters too, so `call` must not be variadic.
    if _positional_count(receiver, signature) == 0:

        def call() -> None:
            receiver()

    else:

        def call(argument: Any) -> None:
            receiver(argument)

    getattr(sender, signature.split("(")[0]).connect(call)
    sender.__dict__.setdefault("standInConnections", {})[signature, receiver] = call
    return True


def _disconnect(sender: QObject, signature: str, receiver: Callable[..., Any]) -> bool:
    call = sender.__dict__.get("standInConnections", {}).pop((signature, receiver), None)
    if call is None:
        return False
    return getattr(sender, signature.split("(")[0]).disconnect(call)


def _positional_count(receiver: Callable[..., Any], signature: str) -> int:
    """How many arguments `receiver` gets: as many as it takes of those that are offered."""
    if "," in signature:
        raise NotImplementedError("The stand-in connects signals of at most one argument.")
    offered = 0 if signature.endswith("()") else 1
    kinds = [parameter.kind for parameter in inspect.signature(receiver).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return offered
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(offered, sum(kind in positional for kind in kinds))


# A header bar like the real widget's.
_SECTION_STYLE = """
QGroupBox { margin-top: 24px; border: none; }
QGroupBox::title { subcontrol-origin: margin; subcontrol-position: top left; left: 0px; right: 0px;
    padding: 3px 8px; background: palette(button); border: 1px solid palette(mid); }
"""


# The header bar and, as the real widget leaves it, an edge of the frame below.
_FOLDED_HEIGHT_PX = 32
# Qt's own QWIDGETSIZE_MAX, which PySide6 does not offer.
_UNLIMITED_PX = (1 << 24) - 1


def set_wanted_visible(widget: QtWidgets.QWidget, wanted: bool) -> None:
    """Show or hide a widget; in a section that is folded away, once that is opened."""
    widget.__dict__["standInWantedVisible"] = bool(wanted)
    parent = QObject.parent(widget)
    is_folded = isinstance(parent, _CollapsibleButton) and parent.collapsed
    QtWidgets.QWidget.setVisible(widget, bool(wanted) and not is_folded)


class _CollapsibleButton(QtWidgets.QGroupBox):
    """What `ctkCollapsibleButton` needs from Qt: a title, and contents that fold away.

    As there, what was hidden on its own stays hidden when the section is opened.
    """

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        QtWidgets.QWidget.setStyleSheet(self, _SECTION_STYLE)

    def _text(self) -> str:
        return QtWidgets.QGroupBox.title(self).lstrip("▾▸ ")

    def _set_text(self, text: str) -> None:
        _set_title(self, text)

    def _is_collapsed(self) -> bool:
        return self.__dict__.get("standInCollapsed", False)

    def _set_collapsed(self, collapsed: bool) -> None:
        self.__dict__["standInCollapsed"] = collapsed
        for child in QObject.children(self):
            if isinstance(child, QtWidgets.QWidget):
                hidden = QtWidgets.QWidget.isHidden(child)
                wanted = child.__dict__.setdefault("standInWantedVisible", not hidden)
                QtWidgets.QWidget.setVisible(child, wanted and not collapsed)
        _set_title(self, self.text)
        height = _FOLDED_HEIGHT_PX if collapsed else _UNLIMITED_PX
        QtWidgets.QWidget.setMaximumHeight(self, height)
        self.contentsCollapsed.emit(collapsed)

    text = Property(str, _text, _set_text)
    collapsed = Property(bool, _is_collapsed, _set_collapsed)


def _set_title(section: _CollapsibleButton, text: str) -> None:
    QtWidgets.QGroupBox.setTitle(section, f"{'▸' if section.collapsed else '▾'} {text}")


ctkCollapsibleButton = dress(_CollapsibleButton, "ctkCollapsibleButton")


class UiLoader(QtUiTools.QUiLoader):
    """Loads a `.ui` file with the stand-in's classes and connects its VTK-typed signals."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._errors: list[Exception] = []

    def createWidget(
        self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        """Make a widget of the stand-in's class; called by Qt for every widget of the file."""
        try:
            widget = widget_class(class_name)(parent)
        except Exception as error:
            self._errors.append(error)
            return QtWidgets.QWidget(parent)
        QObject.setObjectName(widget, name)
        return widget

    def load(
        self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None
    ) -> QtWidgets.QWidget:
        """Return the file's top widget.

        Raises:
            UnknownSlicerName: the file names a class, signal or slot that Slicer does not have.
        """
        tree = ElementTree.fromstring(bytes(QtCore.QIODevice.readAll(device).data()))
        connections = tree.find("connections")
        if connections is not None:
            tree.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if self._errors:
            raise self._errors[0]
        sections = QObject.findChildren(widget, _CollapsibleButton)
        for section in [widget, *sections] if isinstance(widget, _CollapsibleButton) else sections:
            # The property came before the contents.
            section.collapsed = section.collapsed
        for connection in connections if connections is not None else ():
            _connect_in_ui(widget, connection)
        return widget


def _connect_in_ui(root: QtWidgets.QWidget, connection: ElementTree.Element) -> None:
    sender, signal, receiver, slot = (
        connection.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot")
    )
    target = _named(root, receiver)
    if slot not in reduced_names().slots(target.className()):
        raise UnknownSlicerName(f"{target.className()} has no slot {slot!r}")
    _named(root, sender).connect(signal, getattr(target, slot.split("(")[0]))


def _named(root: QtWidgets.QWidget, name: str) -> Any:
    if QObject.objectName(root) == name:
        return root
    return QObject.findChild(root, QtWidgets.QWidget, name)


_widget_classes: dict[str, type] = {"ctkCollapsibleButton": ctkCollapsibleButton}


def register_widget_class(name: str, pyside_class: type) -> type:
    """Offer a dressed `pyside_class` to `.ui` files as Slicer's class `name`; return it."""
    _widget_classes[name] = dress(pyside_class, name)
    return _widget_classes[name]


def widget_class(name: str) -> type:
    """Return the stand-in's class of that name."""
    if name not in _widget_classes:
        _widget_classes[name] = qt_class(name)
    return _widget_classes[name]
