"""A stand-in for the 3D Slicer application: the module file and its panel run in it unchanged.

What is real: the MRML scene, nodes and logics (`slicer-core`), and Slicer's own `slicer.util`. What
stands in: Qt (PySide6 for PythonQt), ctk, the scene-aware widgets, the scripted-module classes,
the parameter node wrapper, the dialogs (recorded, never shown) and `slicer.app`. It proves the
module's own code, not Slicer's.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import QObject, QSettings, Signal

from . import ctk_widgets, mrml_widgets
from .layout_manager import LayoutManager
from .mrml_scene import make_scene
from .names import reduced_names
from .parameter_node import make_parameter_node_module
from .pythonqt import UnknownSlicerName, dress, make_ctk_module, make_qt_module
from .sample_data import make_sample_data_module
from .scripted_module import make_scripted_module_module
from .subject_hierarchy import SubjectHierarchyPlugins

PANEL_WIDTH_PX = 390
# Since this Python `None` cannot be freed.
IMMORTAL_NONE_VERSION = (3, 12)
REFERENCES_TO_SPARE = 1 << 40


def _keep_none_alive() -> None:
    """Lend `None` references to lose, where a Python counts them.

    PySide6 6.12 gives one back too many with each call that returns None; after some tens of
    thousands of calls Python would free None and abort.
    """
    if sys.version_info < IMMORTAL_NONE_VERSION:
        # The count comes first in CPython's objects.
        ctypes.c_ssize_t.from_address(id(None)).value += REFERENCES_TO_SPARE


_keep_none_alive()


class _Application:
    """`slicer.app`; refuses what the real one does not have."""

    def __getattribute__(self, name: str) -> Any:
        offered = reduced_names().module_names("slicer.app")
        if not name.startswith(("__", "standIn")) and name not in offered:
            raise UnknownSlicerName(f"slicer.app has no {name!r}")
        return object.__getattribute__(self, name)

    def __init__(self, qt_application: QtWidgets.QApplication) -> None:
        self.standInQt = qt_application
        self.standInMessages: list[tuple[str, str]] = []
        self.standInModuleManager = _ModuleManager()
        self.standInExitStatus: int | None = None
        self.standInCommandOptions = SimpleNamespace(runPythonAndExit=False)
        self.standInHome = tempfile.TemporaryDirectory(prefix="stand-in-slicer-")
        _write_python_slicer(Path(self.applicationDirPath()))

    def applicationDirPath(self) -> str:
        """Return the folder of Slicer's programs."""
        return f"{self.standInHome.name}/bin"

    @property
    def slicerHome(self) -> str:
        """The folder that Slicer is installed in."""
        return self.standInHome.name

    def processEvents(self) -> None:
        """Handle what is waiting in Qt's queue."""
        self.standInQt.processEvents()

    def commandOptions(self) -> SimpleNamespace:
        """Return the options of the command line."""
        return self.standInCommandOptions

    def exit(self, status: int = 0) -> None:
        """Note the exit code; as in Slicer the script goes on to its end."""
        self.standInExitStatus = status

    def layoutManager(self) -> LayoutManager:
        """Return the layout manager; made when first asked for."""
        if "standInLayoutManager" not in self.__dict__:
            self.standInLayoutManager = LayoutManager(slicer.mrmlScene)
        return self.standInLayoutManager

    def connect(self, signature: str, receiver: Any) -> bool:
        """Call a receiver of `startupCompleted()` at once: the stand-in has long started."""
        if signature != "startupCompleted()":
            raise UnknownSlicerName(f"The stand-in's application has no signal {signature!r}")
        receiver()
        return True

    def clipboard(self) -> QtGui.QClipboard:
        """Return the clipboard, Qt's own."""
        return self.standInQt.clipboard()

    def moduleManager(self) -> _ModuleManager:
        """Return the module manager."""
        return self.standInModuleManager


def _write_python_slicer(folder: Path) -> None:
    """Slicer's own Python, which is not on the PATH: the one that runs this."""
    folder.mkdir()
    script = folder / "PythonSlicer"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)


class _ModuleManager:
    def __init__(self) -> None:
        self.modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self.modules.get(name)

    def connect(self, signature: str, receiver: Any) -> bool:
        return signature == "moduleAboutToBeUnloaded(QString)"

    def disconnect(self, signature: str, receiver: Any) -> bool:
        return signature == "moduleAboutToBeUnloaded(QString)"


class _ModuleParent(QObject):
    """`qSlicerScriptedLoadableModule`: what a module's describing class fills in."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.__dict__.update(
            path=str(path), title="", categories=[], dependencies=[], contributors=[], helpText=""
        )


class _WidgetRepresentation(QtWidgets.QWidget):
    """`qSlicerScriptedLoadableModuleWidget`: holds the panel and enters or leaves the module."""

    mrmlSceneChanged = Signal(object)


def _module_parent_class() -> type:
    settable = reduced_names().attributes("qSlicerScriptedLoadableModule")

    def write(self: Any, name: str, value: Any) -> None:
        if name not in settable:
            raise UnknownSlicerName(f"qSlicerScriptedLoadableModule has no {name!r}")
        self.__dict__[name] = value

    return type(
        "qSlicerScriptedLoadableModule",
        (_ModuleParent,),
        {
            "__setattr__": write,
            "widgetRepresentation": _representation_of,
            "logic": lambda self: None,
        },
    )


def _representation_of(parent: Any) -> Any:
    """The module's panel; made when first asked for, and not entered, as in Slicer."""
    if "standInRepresentation" not in parent.__dict__:
        _make_representation(parent)
    return parent.__dict__["standInRepresentation"]


def _make_representation(parent: Any) -> Any:
    representation = slicer.qSlicerScriptedLoadableModuleWidget()
    QtWidgets.QWidget.setLayout(representation, QtWidgets.QVBoxLayout())
    QtWidgets.QWidget.layout(representation).setContentsMargins(0, 0, 0, 0)
    representation.standInName = Path(parent.path).stem
    parent.__dict__["standInRepresentation"] = representation
    representation.standInBuild()
    return representation


class StandIn:
    """The running stand-in: its scene, its answers to dialogs, and the loaded module."""

    def __init__(self) -> None:
        self.qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
        self.qt.setStyle("Fusion")
        _forget_settings(self.qt)
        self.confirm_answer = True
        self.selected_modules: list[str] = []
        _install_modules()
        slicer.app = _Application(self.qt)
        self.scene = make_scene()
        slicer.mrmlScene = self.scene
        self.plugins = SubjectHierarchyPlugins(self.scene)
        self._install_dialogs()

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Dialogs shown so far: (kind, text)."""
        return slicer.app.standInMessages

    def _install_dialogs(self) -> None:
        def record(kind: str, answer: Any = None) -> Any:
            def show(text: str, *arguments: Any, **options: Any) -> Any:
                self.messages.append((kind, text))
                return self.confirm_answer if answer == "ask" else None

            return show

        slicer.util.errorDisplay = record("error")
        slicer.util.infoDisplay = record("info")
        slicer.util.warningDisplay = record("warning")
        slicer.util.confirmOkCancelDisplay = record("confirm", "ask")
        slicer.util.confirmYesNoDisplay = record("confirm", "ask")
        slicer.util.mainWindow = lambda: None
        slicer.util.selectModule = self._select_module

    def _select_module(self, name: str) -> None:
        """Leave the open panels, as Slicer does; the other module itself is not here."""
        self.selected_modules.append(name)
        for parent in slicer.app.standInModuleManager.modules.values():
            representation = parent.__dict__.get("standInRepresentation")
            if representation is not None and representation.isEntered:
                representation.exit()

    def load_module(self, path: Path) -> ModuleType:
        """Load a scripted module as Slicer does at start-up; no panel is made yet."""
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        module = _execute(name, path)
        parent = _module_parent_class()(path)
        parent.__dict__["standInDescription"] = getattr(module, name)(parent)
        slicer.app.standInModuleManager.modules[name] = parent
        setattr(slicer.modules, name.lower(), parent)
        return module

    def open_panel(self, name: str) -> Any:
        """Make the module's panel as Slicer does when the module is first opened, and enter it."""
        parent = getattr(slicer.modules, name.lower())
        representation = _make_representation(parent)
        QtWidgets.QWidget.resize(representation, PANEL_WIDTH_PX, 768)
        QtWidgets.QWidget.show(representation)
        representation.enter()
        return getattr(slicer.modules, f"{name}Widget")

    def close_panel(self, name: str) -> None:
        """Take the panel away, as at the end of the application."""
        widget = getattr(slicer.modules, f"{name}Widget", None)
        if widget is None:
            return
        widget.cleanup()
        representation = getattr(slicer.modules, name.lower()).widgetRepresentation()
        for child in QObject.findChildren(representation, mrml_widgets.qMRMLNodeComboBox):
            child.setMRMLScene(None)
        QtWidgets.QWidget.hide(representation)
        delattr(slicer.modules, f"{name}Widget")
        del getattr(slicer.modules, name.lower()).__dict__["standInRepresentation"]
        QObject.deleteLater(representation)


def _forget_settings(qt_application: QtWidgets.QApplication) -> None:
    """Keep application settings in a folder that goes away with the process."""
    StandIn.settings_folder = tempfile.TemporaryDirectory(prefix="stand-in-settings-")
    qt_application.setOrganizationName("StandIn")
    qt_application.setApplicationName("Slicer")
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    for scope in (QSettings.Scope.UserScope, QSettings.Scope.SystemScope):
        QSettings.setPath(QSettings.Format.IniFormat, scope, StandIn.settings_folder.name)


def _execute(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _build(self: Any) -> None:
    name = self.standInName
    widget = getattr(sys.modules[name], f"{name}Widget")(self)
    self.standInWidget = widget
    setattr(slicer.modules, f"{name}Widget", widget)
    widget.setup()


def _enter(self: Any) -> None:
    self.standInEntered = True
    self.standInWidget.enter()


def _exit(self: Any) -> None:
    self.standInWidget.exit()
    self.standInEntered = False


def _reload(self: Any) -> None:
    entered = self.isEntered
    _build(self)
    if entered:
        self.standInWidget.enter()


def _install_modules() -> None:
    """Put the stand-in's modules and classes where scripts import them from."""
    for module in (make_qt_module(), make_ctk_module(), make_sample_data_module()):
        sys.modules[module.__name__] = module
    for module in (make_scripted_module_module(), make_parameter_node_module(), _i18n_module()):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rpartition(".")[2], module)
    sys.modules["ctk"].standInClasses["ctkPathLineEdit"] = ctk_widgets.ctkPathLineEdit
    slicer.qMRMLWidget = mrml_widgets.qMRMLWidget
    slicer.qMRMLNodeComboBox = mrml_widgets.qMRMLNodeComboBox
    representation = dress(_WidgetRepresentation, "qSlicerScriptedLoadableModuleWidget")
    representation.standInBuild = _build
    representation.standInEntered = False
    representation.enter = _enter
    representation.exit = _exit
    representation.reload = _reload
    representation.self = lambda self: self.standInWidget
    representation.isEntered = property(lambda self: self.standInEntered)
    slicer.qSlicerScriptedLoadableModuleWidget = representation
    slicer.qSlicerScriptedLoadableModule = _ModuleParent


def _i18n_module() -> ModuleType:
    module = ModuleType("slicer.i18n", "Stand-in for 3D Slicer's translations: none.")
    module.tr = lambda text: text
    module.translate = lambda context, text: text
    return module


def start() -> StandIn:
    """Start the stand-in; once per process."""
    if not isinstance(getattr(slicer, "app", None), _Application):
        StandIn.running = StandIn()
    return StandIn.running
