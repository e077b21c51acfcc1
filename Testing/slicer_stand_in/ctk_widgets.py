"""Stand-ins for ctk's widgets that Qt has no like of: `ctkPathLineEdit`."""

from __future__ import annotations

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import register_widget_class


class _PathLineEdit(QtWidgets.QWidget):
    """A path to type, and a button that would open the file dialog."""

    currentPathChanged = Signal(str)
    Dirs = 1
    Files = 2

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        combo_box = QtWidgets.QComboBox()
        combo_box.setEditable(True)
        # As wide as there is room, whatever the path.
        combo_box.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed
        )
        QtWidgets.QWidget.setSizePolicy(
            self, QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed
        )
        button = QtWidgets.QToolButton()
        button.setText("…")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(combo_box)
        row.addWidget(button)
        QtWidgets.QWidget.setFocusProxy(self, combo_box)
        combo_box.editTextChanged.connect(self.currentPathChanged.emit)
        self.__dict__.update(
            standInComboBox=combo_box,
            standInFilters=0,
            standInNameFilters=[],
            standInPolicy=QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToContents,
        )

    def _path(self) -> str:
        return self.standInComboBox.currentText()

    def _set_path(self, path: str) -> None:
        self.standInComboBox.setEditText(path)

    def _filters(self) -> int:
        return self.standInFilters

    def _set_filters(self, filters: int) -> None:
        self.__dict__["standInFilters"] = filters

    def _name_filters(self) -> list[str]:
        return self.standInNameFilters

    def _set_name_filters(self, filters: list[str]) -> None:
        self.__dict__["standInNameFilters"] = list(filters)

    def _policy(self) -> QtWidgets.QComboBox.SizeAdjustPolicy:
        return self.standInPolicy

    def _set_policy(self, policy: QtWidgets.QComboBox.SizeAdjustPolicy) -> None:
        self.__dict__["standInPolicy"] = policy

    def _length(self) -> int:
        return QtWidgets.QComboBox.minimumContentsLength(self.standInComboBox)

    def _set_length(self, length: int) -> None:
        QtWidgets.QComboBox.setMinimumContentsLength(self.standInComboBox, length)

    sizeAdjustPolicy = Property("QVariant", _policy, _set_policy)
    minimumContentsLength = Property(int, _length, _set_length)
    currentPath = Property(str, _path, _set_path)
    filters = Property(int, _filters, _set_filters)
    nameFilters = Property(list, _name_filters, _set_name_filters)


ctkPathLineEdit = register_widget_class("ctkPathLineEdit", _PathLineEdit)
