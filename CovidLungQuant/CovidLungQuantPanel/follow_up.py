"""The section "Follow-up": scans of one patient over time, their changes and curves."""

import math

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION
from CovidLungQuantLib.measures.change import FOLLOWED_REGIONS
from CovidLungQuantLib.measures.columns import Place, columns_in
from CovidLungQuantLib.mrml.follow_up import change_table_of, changes_from_node, is_out_of_date
from CovidLungQuantLib.mrml.follow_up_curves import curves_of
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.time_points import (
    day_of,
    is_followed,
    measured_tables,
    scan_name,
    set_day,
    set_followed,
)
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.widgets import keepColumnsInSight, showText

SCAN_COLUMN, DAY_COLUMN, LESION_COLUMN = range(3)
# Columns of the table of changes in the .ui file; its rows are `FOLLOWED_REGIONS`.
SHOWN_CHANGES = tuple(column.key for column in columns_in(Place.PANEL_CHANGES))
# From here on a decimal would not fit into a column.
WIDE = 999.95


class FollowUpSection(Section):
    """Lists the measured scans of the scene and shows the comparison of those that are ticked."""

    def setup(self):
        """Make the tables and connect the buttons."""
        self._tables = []
        self._observedTables = []
        # PythonQt lets go of an item that nothing in Python holds.
        self._items = []
        self._widget, self.ui = self._panel.addSection("FollowUp")
        header = self.ui.timePointsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(SCAN_COLUMN, qt.QHeaderView.Stretch)
        keepColumnsInSight(self.ui.changesTable)
        self.ui.timePointsTable.connect("itemChanged(QTableWidgetItem*)", self.onItemChanged)
        self.ui.followUpAnywayCheckBox.connect("toggled(bool)", self.onAnyway)
        self.ui.compareButton.connect("clicked(bool)", self.onCompare)
        self.ui.curveInPercentButton.connect("clicked(bool)", self.onCurveInPercent)
        self.ui.curveInMlButton.connect("clicked(bool)", self.onCurveInMl)
        self.ui.curveOfLobesButton.connect("clicked(bool)", self.onCurveOfLobes)

    def show(self):
        """List the measured scans and show what is known of the ticked ones."""
        self.ui.followUpAnywayCheckBox.checked = self._parameterNode.compareAnyway
        # All tables: measurements are written into one after it was added.
        self._observe(slicer.util.getNodesByClass("vtkMRMLTableNode"))
        self._tables = _inOrder(measured_tables(slicer.mrmlScene))
        self._showScans()
        self._showChanges()

    def letGo(self):
        """Follow no table any more."""
        self._observe([])
        self._tables = []

    def onTableModified(self, caller, event):
        """A scan has other numbers, is out of date, or has another day."""
        if self._parameterNode is not None and not slicer.mrmlScene.IsBatchProcessing():
            self.update(self._parameterNode)

    def onItemChanged(self, item):
        """A scan was ticked, or a day was typed: keep that with the scan."""
        tableNode = self._tables[item.row()]
        if item.column() == SCAN_COLUMN:
            set_followed(tableNode, item.checkState() == qt.Qt.Checked)
        elif item.column() == DAY_COLUMN:
            try:
                set_day(tableNode, _dayOfText(item.text()))
            except CovidLungQuantError as reason:
                slicer.util.errorDisplay(str(reason))
        self.update(self._parameterNode)

    def onAnyway(self, checked):
        """Keep whether different rules are compared."""
        if self._parameterNode is not None:
            self._parameterNode.compareAnyway = checked

    def onCompare(self):
        """Compare the ticked scans and show the changes."""
        try:
            self._logic.followUp(self._ticked(), anyway=self._parameterNode.compareAnyway)
        except CovidLungQuantError as reason:
            slicer.util.errorDisplay(str(reason))
        self.update(self._parameterNode)

    def onCurveInPercent(self):
        """Show the extents over time."""
        self._showCurve("percent")

    def onCurveInMl(self):
        """Show the volumes over time."""
        self._showCurve("ml")

    def onCurveOfLobes(self):
        """Show the lesion extent of the lobes over time."""
        self._showCurve("lobes")

    def _ticked(self):
        return [tableNode for tableNode in self._tables if is_followed(tableNode)]

    def _observe(self, tableNodes):
        """Follow changes of these tables, and of no others."""
        if tableNodes == self._observedTables:
            return
        self.removeObservers()
        self._observedTables = tableNodes
        for tableNode in tableNodes:
            self.addObserver(tableNode, vtk.vtkCommand.ModifiedEvent, self.onTableModified)

    def _showScans(self):
        table = self.ui.timePointsTable
        wasBlocked = table.blockSignals(True)
        table.setRowCount(len(self._tables))
        for row, tableNode in enumerate(self._tables):
            day = day_of(slicer.mrmlScene, tableNode)
            enabled = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
            scan = self._item(row, SCAN_COLUMN)
            scan.setText(scan_name(slicer.mrmlScene, tableNode))
            scan.setFlags(enabled | qt.Qt.ItemIsUserCheckable)
            scan.setCheckState(qt.Qt.Checked if is_followed(tableNode) else qt.Qt.Unchecked)
            scan.setToolTip(tableNode.GetName())
            typed = self._item(row, DAY_COLUMN)
            typed.setText("" if day is None else f"{day:g}")
            typed.setFlags(enabled | qt.Qt.ItemIsEditable)
            typed.setToolTip(_("Double-click to type the day."))
            lesion = self._item(row, LESION_COLUMN)
            lesion.setText(_lesionText(tableNode))
            lesion.setFlags(enabled)
        table.blockSignals(wasBlocked)
        table.visible = bool(self._tables)
        self.ui.followUpHintLabel.visible = len(self._tables) < 2
        isEnough = len(self._ticked()) >= 2
        self.ui.compareButton.enabled = isEnough
        self.ui.followUpAnywayCheckBox.enabled = isEnough

    def _item(self, row, column):
        """The item of a cell, made where there is none: replacing one in use is not safe."""
        item = self.ui.timePointsTable.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem("")
            self._items.append(item)
            self.ui.timePointsTable.setItem(row, column, item)
        return item

    def _showChanges(self):
        """Show the comparison of exactly the ticked scans; without one, take no room."""
        scene = slicer.mrmlScene
        changeNode = change_table_of(scene, self._ticked())
        record = None if changeNode is None else changes_from_node(changeNode)
        self.ui.changesTable.visible = record is not None
        title, stale, warnings = "", "", ""
        if record is not None:
            title = _("Change from {first} to {last}:").format(
                first=_scanText(record, 0), last=_scanText(record, -1)
            )
            self._fillChanges(record)
            warnings = _warningsText(record)
            if is_out_of_date(scene, changeNode):
                stale = _("Out of date: the scans or their numbers have changed; compare again.")
        for label, text in (
            (self.ui.changeTitleLabel, title),
            (self.ui.followUpStaleLabel, stale),
            (self.ui.followUpWarningsLabel, warnings),
        ):
            showText(label, text)
        curves = {} if changeNode is None else curves_of(scene, changeNode)
        for button, name in (
            (self.ui.curveInPercentButton, "percent"),
            (self.ui.curveInMlButton, "ml"),
            (self.ui.curveOfLobesButton, "lobes"),
        ):
            button.enabled = name in curves
            button.visible = record is not None

    def _fillChanges(self, record):
        changes = {(item.region, item.measure): item.from_first for item in record.changes}
        for row, region in enumerate(FOLLOWED_REGIONS):
            self.ui.changesTable.setRowHidden(row, (region, SHOWN_CHANGES[0]) not in changes)
            for column, measure in enumerate(SHOWN_CHANGES):
                text = _signed(changes.get((region, measure), math.nan))
                self.ui.changesTable.item(row, column).setText(text)

    def _showCurve(self, name):
        changeNode = change_table_of(slicer.mrmlScene, self._ticked())
        slicer.modules.plots.logic().ShowChartInLayout(
            curves_of(slicer.mrmlScene, changeNode)[name]
        )


def _inOrder(tableNodes):
    """By day where every scan has one, otherwise as in the scene."""
    days = [day_of(slicer.mrmlScene, tableNode) for tableNode in tableNodes]
    if None in days:
        return tableNodes
    return [tableNodes[index] for index in sorted(range(len(days)), key=days.__getitem__)]


def _dayOfText(text):
    """Return the typed day; None for an empty text."""
    text = text.strip().replace(",", ".").replace("−", "-")
    if not text:
        return None
    try:
        day = float(text)
    except ValueError:
        day = math.nan
    if not math.isfinite(day):
        raise CovidLungQuantError(
            _("“{text}” is no number of days; type a number, such as 7.").format(text=text)
        )
    return day


def _lesionText(tableNode):
    try:
        both = record_from_node(tableNode).measurements.region(BOTH_LUNGS_REGION)
    except CovidLungQuantError:
        # Edited by hand; comparing says so.
        return "?"
    return "–" if math.isnan(both.lesion_percent) else f"{both.lesion_percent:.1f}"


def _scanText(record, index):
    name, day = record.names[index], record.days[index]
    if day is None:
        return name
    return _("{name} (day {day:g})").format(name=name, day=day)


def _warningsText(record):
    """What speaks against the comparison; what is known of each scan anyway is only counted."""
    ofScans = tuple(f"{name}: " for name in record.names)
    shown = [text for text in record.warnings if not text.startswith(ofScans)]
    count = len(record.warnings) - len(shown)
    if count:
        shown.append(
            _("The scans' own warnings ({count}) stand in the table's description.").format(
                count=count
            )
        )
    return "\n".join(shown)


def _signed(value):
    """One decimal, none from a litre on, with its sign; what rounds to nothing has none."""
    if math.isnan(value):
        return "–"
    text = f"{value:+.{0 if abs(value) >= WIDE else 1}f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
