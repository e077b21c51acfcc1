"""The section "Reports": the result as a folder of files, as DICOM, and as text to paste."""

import re
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from CovidLungQuantPanel.install import DICOM_PACKAGE, PDF_PACKAGE
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.widgets import rememberFolder, showText

FOLDER_SETTING = "CovidLungQuant/ReportFolder"


class ReportsSection(Section):
    """Writes what the scene holds now; the folder is kept in the application's settings."""

    def setup(self):
        """Make the widgets and connect the buttons."""
        self._isRunning = False
        self._written = None
        self._widget, self.ui = self._panel.addSection("Reports")
        rememberFolder(self.ui.reportPathLineEdit, FOLDER_SETTING, self._updateButtons)
        self.ui.saveReportButton.connect("clicked(bool)", self.onSaveReport)
        self.ui.copyTableButton.connect("clicked(bool)", self.onCopyTable)
        self.ui.openReportButton.connect("clicked(bool)", self.onOpenReport)
        self._showWritten(None)

    def show(self):
        """Offer what can be saved."""
        self._showWritten(self._written)
        self._updateButtons()

    def letGo(self):
        """Nothing can be saved without a result."""
        self._updateButtons()

    def setRunning(self, running):
        """Refuse clicks during a run."""
        self._isRunning = running
        self._updateButtons()

    def onSaveReport(self):
        """Write a new folder of results into the chosen one."""
        chosen = self._parameterNode
        pdf, dicom = self.ui.pdfCheckBox.checked, self.ui.dicomCheckBox.checked
        installation = self._panel.installation
        if pdf and not installation.ensurePackage(PDF_PACKAGE, _("writes PDF")):
            return
        if dicom and not installation.ensurePackage(DICOM_PACKAGE, _("writes DICOM SEG and SR")):
            return
        folder = newFolder(
            Path(self.ui.reportPathLineEdit.currentPath.strip()), chosen.inputVolume.GetName()
        )
        files = self._panel.run.runWork(
            lambda: self._logic.saveReport(
                chosen.inputVolume,
                chosen.outputSegmentation,
                chosen.outputTable,
                folder,
                lobesNode=chosen.lobes,
                pdf=pdf,
                dicom=dicom,
                progress=self._panel.run.showProgress,
            )
        )
        if files is not None:
            self._showWritten(folder)
            names = ", ".join(file.name for file in files)
            self.ui.writtenLabel.toolTip = _("Files: {names}").format(names=names)

    def onCopyTable(self):
        """Put the table on the clipboard, ready for a spreadsheet."""
        chosen = self._parameterNode
        text = self._panel.run.runWork(
            lambda: self._logic.tableText(
                chosen.inputVolume, chosen.outputSegmentation, chosen.outputTable, chosen.lobes
            )
        )
        if text is not None:
            slicer.app.clipboard().setText(text)
            self._panel.run.showStatus(
                _("The table is on the clipboard; paste it into a spreadsheet.")
            )

    def onOpenReport(self):
        """Show the written folder in the file manager."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._written)))

    def _showWritten(self, folder):
        self._written = folder
        self.ui.openReportButton.visible = folder is not None
        text = "" if folder is None else _("Written to {folder}").format(folder=folder)
        showText(self.ui.writtenLabel, text)

    def _updateButtons(self):
        chosen = self._parameterNode
        hasResult = chosen is not None and self._result.is_measured
        hasFolder = bool(self.ui.reportPathLineEdit.currentPath.strip())
        self.ui.copyTableButton.enabled = hasResult and not self._isRunning
        self.ui.saveReportButton.enabled = hasResult and hasFolder and not self._isRunning
        if not hasResult:
            tip = _("Segment a volume first.")
        elif not hasFolder:
            tip = _("Choose a folder for reports first.")
        else:
            tip = _(
                "Write the report (HTML), the table (CSV), everything as JSON and the segmentation"
                " into a new folder."
            )
        self.ui.saveReportButton.toolTip = tip
        self._showDicomReason(chosen)

    def _showDicomReason(self, chosen):
        """DICOM needs a volume from DICOM; say so before the click."""
        volumeNode = None if chosen is None else chosen.inputVolume
        fromDicom = self._logic.isFromDicom(volumeNode)
        self.ui.dicomCheckBox.enabled = fromDicom
        if not fromDicom:
            self.ui.dicomCheckBox.checked = False
        self.ui.dicomCheckBox.toolTip = (
            _(
                "Also write a DICOM segmentation (SEG) and measurement report (SR, TID 1500) that"
                " refer to the slices of the source series. They carry its patient."
            )
            if fromDicom or volumeNode is None
            else _("The volume was not loaded from DICOM, so there is no series to refer to.")
        )


def newFolder(parent, name):
    """Return a folder of a name like `name` that is not there yet."""
    stem = re.sub(r"[^\w .()+-]", "_", name).strip(" .") or "scan"
    folder, number = parent / f"{stem} report", 1
    while folder.exists():
        number += 1
        folder = parent / f"{stem} report {number}"
    return folder
