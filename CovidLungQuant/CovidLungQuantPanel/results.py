"""The section "Results": the numbers of both lungs and of the lobes, warnings and the model."""

import vtk
from slicer.i18n import tr as _

from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, LEFT_LUNG_REGION, LOBES, RIGHT_LUNG_REGION
from CovidLungQuantLib.measures.columns import Place, columns_in
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
)
from CovidLungQuantLib.mrml.scene_result import read_table
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.widgets import keepColumnsInSight, showText

# Columns and rows of the results table in the .ui file: regions; measures with their decimals.
SHOWN_REGIONS = (BOTH_LUNGS_REGION, RIGHT_LUNG_REGION, LEFT_LUNG_REGION)
SHOWN_MEASURES = columns_in(Place.PANEL)
# Columns of the table of lobes in the .ui file but the last, which is the score.
SHOWN_LOBE_MEASURES = columns_in(Place.PANEL_LOBES)


class ResultsSection(Section):
    """Shows the numbers, warnings and model of one of our tables; blank for none."""

    def setup(self):
        """Let the tables share the width of the panel."""
        self._observedTable = None
        for table in (self.ui.resultsTable, self.ui.lobesTable):
            keepColumnsInSight(table)

    def show(self):
        """Show the chosen table and follow its changes."""
        self._observe(self._parameterNode.outputTable)
        self.showTable(self._parameterNode.outputTable)

    def letGo(self):
        """Follow no table any more; its numbers stay on the screen until others come."""
        self._observe(None)

    def onTableModified(self, caller, event):
        """The shown table, which a script or the user may change, holds other numbers now."""
        self.showTable(self._observedTable)

    def showTable(self, tableNode):
        """Show what a table node holds."""
        record, notices = read_table(tableNode)
        self._showRegions(record)
        self._showLobes(record)
        showText(self.ui.warningsLabel, "\n".join(notices))
        name, tip = _describeModel(record)
        showText(self.ui.modelInfoLabel, name)
        self.ui.modelInfoLabel.toolTip = tip

    def _observe(self, tableNode):
        if tableNode is self._observedTable:
            return
        self.removeObservers()
        self._observedTable = tableNode
        if tableNode is not None:
            self.addObserver(tableNode, vtk.vtkCommand.ModifiedEvent, self.onTableModified)

    def _showRegions(self, record):
        regions = {} if record is None else {row.region: row for row in record.measurements.regions}
        for column, region in enumerate(SHOWN_REGIONS):
            shown = regions.get(region)
            for row, measure in enumerate(SHOWN_MEASURES):
                text = "" if shown is None else measure.shown(measure.value(shown))
                self.ui.resultsTable.item(row, column).setText(text)

    def _showLobes(self, record):
        """Show the lobes with their scores; a table without lobes takes no room."""
        lobes = () if record is None else record.measurements.lobes
        severity = None if record is None else record.measurements.severity
        self.ui.lobesTable.visible = bool(lobes)
        for row in range(len(LOBES)):
            texts = [""] * (len(SHOWN_LOBE_MEASURES) + 1)
            if lobes:
                texts = [
                    measure.shown(measure.value(lobes[row])) for measure in SHOWN_LOBE_MEASURES
                ]
                texts.append(
                    _formatScore(None if severity is None else severity.lobes[row].ct_score)
                )
            for column, text in enumerate(texts):
                self.ui.lobesTable.item(row, column).setText(text)
        showText(self.ui.severityLabel, _describeSeverity(severity))


def _formatScore(score):
    return "–" if score is None else str(score)


def _describeSeverity(severity):
    """Return the three scores with their highest values; empty without lobes."""
    if severity is None:
        return ""
    text = _(
        "CT score {ct}/{ctHighest} · Total severity {total}/{totalHighest} · CT-SS {ss}/{ssHighest}"
    ).format(
        ct=_formatScore(severity.ct_score),
        ctHighest=HIGHEST_CT_SCORE,
        total=_formatScore(severity.total_severity_score),
        totalHighest=HIGHEST_TOTAL_SEVERITY_SCORE,
        ss=_formatScore(severity.ct_severity_score),
        ssHighest=HIGHEST_CT_SEVERITY_SCORE,
    )
    return f"{text} {_('(severe)')}" if severity.is_severe else text


def _describeModel(record):
    """Return (text, tooltip) that name the model behind the numbers."""
    if record is None or record.provenance is None:
        return "", ""
    name, sha256 = record.provenance["model_name"], record.provenance["model_sha256"]
    if name is None:
        return _("Measured from the segmentation as it was; no network ran."), ""
    text = _("Model {name} (SHA-256 {start}…) on {device}").format(
        name=name, start=sha256[:12], device=record.provenance["device"]
    )
    if record.provenance["options"].get("changed_voxels"):
        text = _("{model}, corrected by hand").format(model=text)
    return (
        text,
        _("SHA-256 of the model's weights: {hash}").format(hash=sha256),
    )
