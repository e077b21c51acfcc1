"""Stand-ins for ctk's widgets that Qt has no like of: `ctkPathLineEdit`."""

from __future__ import annotations

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import register_widget_class


class _PathLineEdit(QtWidgets.QWidget):
    """A path to type, and a button that would open the file dialog."""

    currentPathChanged = Signal(str)
    Dirs = 1

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        combo_box = QtWidgets.QComboBox()
        combo_box.setEditable(True)
        combo_box.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed
        )
        button = QtWidgets.QToolButton()
        button.setText("…")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(combo_box)
        row.addWidget(button)
        QtWidgets.QWidget.setFocusProxy(self, combo_box)
        combo_box.editTextChanged.connect(self.currentPathChanged.emit)
        self.__dict__.update(standInComboBox=combo_box, standInFilters=0)

    def _path(self) -> str:
        return self.standInComboBox.currentText()

    def _set_path(self, path: str) -> None:
        self.standInComboBox.setEditText(path)

    def _filters(self) -> int:
        return self.standInFilters

    def _set_filters(self, filters: int) -> None:
        self.__dict__["standInFilters"] = filters

    currentPath = Property(str, _path, _set_path)
    filters = Property(int, _filters, _set_filters)


ctkPathLineEdit = register_widget_class("ctkPathLineEdit", _PathLineEdit)
