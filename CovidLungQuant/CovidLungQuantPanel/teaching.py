"""The section "Teaching": corrected scans for the training set, and models that learn from them."""

import logging

import qt
import slicer
from slicer.i18n import tr as _

from CovidLungQuantLib.errors import BadInputError, CovidLungQuantError
from CovidLungQuantLib.training.expected_gain import GAIN_DEFINITION
from CovidLungQuantPanel.preferences import deviceOfThisComputer
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.widgets import formatNumber, keepColumnsInSight, rememberFolder, showText

FOLDER_SETTING = "CovidLungQuant/TrainingSetFolder"
CANDIDATES_SETTING = "CovidLungQuant/CandidatesFolder"
READER_SETTING = "CovidLungQuant/Reader"
LOOK_INTERVAL_MS = 1000
# Rows of the table in the .ui file; its columns are the old and the new model.
SHOWN_DICE = ("lesion_dice", "ggo_dice", "high_opacity_dice", "lung_dice")
SHOWN_VOLUME = "lesion_ml"
# Columns of the ranking.
CASE, CHANGED, DISPUTED, WHAT_NEXT = range(4)
LONGEST_NAME = 14


class TeachingSection(Section):
    """Adds the case to a training set and follows a fine-tuning, whoever started it.

    Folder and reader are the user's and not the scene's, so they lie in the application's settings.
    A fine-tuning lies in files, which are looked at every second while the panel is open.
    """

    def setup(self):
        """Fill the lists, start the timer that looks at files, connect the buttons."""
        self._isRunning = False
        self._run = None
        self._isFollowed = False
        self._isStopping = False
        self._patientCount = self._caseCount = 0
        # What the models were last run for, candidates included; what is known of a set else.
        self._ranking = None
        self._widget, self.ui = self._panel.addSection("Teaching")
        for layout, text in self._logic.trainingSetLayouts().items():
            self.ui.layoutComboBox.addItem(text, layout)
        showText(self.ui.addedLabel, "")
        self.ui.readerLineEdit.text = slicer.util.settingsValue(READER_SETTING, "")
        keepColumnsInSight(self.ui.comparisonTable)
        self._setUpRanking()
        self._timer = qt.QTimer()
        self._timer.setInterval(LOOK_INTERVAL_MS)
        self._timer.connect("timeout()", self.onTimer)
        for pathLineEdit, setting in (
            (self.ui.trainingSetPathLineEdit, FOLDER_SETTING),
            (self.ui.candidatesPathLineEdit, CANDIDATES_SETTING),
        ):
            rememberFolder(pathLineEdit, setting, self.onTrainingSetChosen)
        self.ui.readerLineEdit.connect("editingFinished()", self.onReaderTyped)
        self.ui.addCaseButton.connect("clicked(bool)", self.onAddCase)
        self.ui.rankCasesButton.connect("clicked(bool)", self.onRankCases)
        self.ui.openPageButton.connect("clicked(bool)", self.onOpenPage)
        self.ui.fineTuneButton.connect("clicked(bool)", self.onFineTune)
        self.ui.cancelFineTuningButton.connect("clicked(bool)", self.onCancelFineTuning)
        self.ui.useModelButton.connect("clicked(bool)", self.onUseModel)

    def show(self):
        """Show the training set and the newest fine-tuning."""
        self._showTrainingSet()
        self._showFineTuning()
        self._updateButtons()

    def letGo(self):
        """Stop looking; a fine-tuning goes on."""
        self._timer.stop()

    def setRunning(self, running):
        """Refuse to add a case during a run."""
        self._isRunning = running
        self._updateButtons()

    def onTrainingSetChosen(self):
        """Show what the folder holds; another ranking was of other scans."""
        self._ranking = None
        showText(self.ui.addedLabel, "")
        self._showTrainingSet()
        self._updateButtons()

    def onReaderTyped(self):
        """Keep the name for the next time."""
        qt.QSettings().setValue(READER_SETTING, self.ui.readerLineEdit.text.strip())

    def onAddCase(self):
        """Write the scan and its segments as they are now into the training set."""
        self.onReaderTyped()
        chosen, folder = self._parameterNode, self._folder()
        case = self._panel.run.runWork(
            lambda: self._logic.exportTrainingCase(
                chosen.inputVolume,
                chosen.outputSegmentation,
                folder,
                reader=self.ui.readerLineEdit.text.strip(),
                layout=self.ui.layoutComboBox.currentData,
                newVersion=self.ui.newVersionCheckBox.checked,
                progress=self._panel.run.showProgress,
                samePatientAs=self.ui.samePatientComboBox.currentData or None,
            )
        )
        if case is not None:
            # The next scan is another one.
            self.ui.newVersionCheckBox.checked = False
            self.ui.samePatientComboBox.setCurrentIndex(0)
            text = _("Added as {case}: voxels, labels and a row in manifest.csv; no patient data.")
            showText(self.ui.addedLabel, text.format(case=case))
            self._ranking = None
        self._showTrainingSet()
        self._updateButtons()

    def onRankCases(self):
        """Let both shipped models run on the scans they have not seen, and rank all."""
        if not self._panel.installation.ensureLibrary():
            return
        self._ranking = self._panel.run.runWork(
            lambda: self._logic.rankTrainingSet(
                self._folder(),
                device=deviceOfThisComputer(self._parameterNode.device),
                progress=self._panel.run.showProgress,
                candidatesFolder=self.ui.candidatesPathLineEdit.currentPath.strip(),
            )
        )
        # After cancelling, too: what is done is kept.
        self._showTrainingSet()
        self._updateButtons()

    def onOpenPage(self):
        """Write the page as things stand now and show it in the browser."""
        if not self._panel.installation.ensureLibrary():
            return
        page = self._panel.run.runWork(
            lambda: self._logic.writeTrainingSetPage(
                self._folder(), progress=self._panel.run.showProgress
            )
        )
        if page is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(page)))

    def onFineTune(self):
        """Start fine-tuning the selected model in the background."""
        if not self._panel.installation.ensureLibrary():
            return
        chosen = self._parameterNode
        try:
            with slicer.util.WaitCursor():
                self._logic.fineTune(
                    self._folder(),
                    model=chosen.model or None,
                    device=deviceOfThisComputer(chosen.device),
                )
        except CovidLungQuantError as reason:
            slicer.util.errorDisplay(str(reason))
        except Exception as reason:
            logging.exception("Fine-tuning could not be started")
            text = _("Fine-tuning could not be started ({reason}); the log has the details.")
            slicer.util.errorDisplay(text.format(reason=reason or type(reason).__name__))
        self._showFineTuning()
        self._updateButtons()

    def onCancelFineTuning(self):
        """Ask the background process to stop."""
        if self._run is not None:
            self._run.cancel()
            self._isStopping = True
            self._showFineTuning()

    def onUseModel(self):
        """Select the new model for the next Segment."""
        if self._run is not None and self._parameterNode is not None:
            self._parameterNode.model = self._run.plan.name

    def onTimer(self):
        """Look at the fine-tuning's files."""
        if self._parameterNode is not None:
            self._showFineTuning()
            self._updateButtons()

    def _folder(self):
        return self.ui.trainingSetPathLineEdit.currentPath.strip()

    def _showTrainingSet(self):
        """Say how many cases there are; a set that has cases has its layout, too."""
        folder = self._folder()
        try:
            cases = self._logic.trainingCases(folder) if folder else []
            layout = self._logic.layoutOfTrainingSet(folder) if cases else None
            patientCount = self._logic.trainingPatientCount(folder) if cases else 0
            text = _describeCount(len(cases), patientCount)
            tip = ", ".join(cases)
        except CovidLungQuantError as reason:
            cases, layout, patientCount, text, tip = [], None, 0, str(reason), ""
        if not folder:
            text = _("Choose a folder; it need not exist yet.")
        showText(self.ui.casesLabel, text)
        self.ui.casesLabel.toolTip = tip or _("How many cases the training set holds.")
        self.ui.layoutComboBox.enabled = layout is None
        if layout is not None:
            layouts = list(self._logic.trainingSetLayouts())
            self.ui.layoutComboBox.setCurrentIndex(layouts.index(layout))
        self._offerCases(cases)
        self._patientCount, self._caseCount = patientCount, len(cases)
        self._showRanking(folder if cases else None)

    def _setUpRanking(self):
        """Let the last column of the ranking take the width that is left, and wrap."""
        header = self.ui.rankingTable.horizontalHeader()
        for column in (CASE, CHANGED, DISPUTED):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(WHAT_NEXT, qt.QHeaderView.Stretch)
        self.ui.rankingTable.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)

    def _showRanking(self, folder):
        """Show the cases by expected gain, from what is known; None shows nothing."""
        table = self.ui.rankingTable
        cases, text = [], ""
        if folder is not None:
            try:
                cases = self._ranking or self._logic.rankedCases(folder)
                text = GAIN_DEFINITION
            except CovidLungQuantError as reason:
                text = str(reason)
        table.visible = bool(cases)
        table.rowCount = len(cases)
        for row, case in enumerate(cases):
            for column, shown in (
                (CASE, _shortened(case.name)),
                (CHANGED, formatNumber(case.changed_percent, 1)),
                (DISPUTED, formatNumber(case.disputed_ml, 1)),
                (WHAT_NEXT, case.next_step),
            ):
                item = qt.QTableWidgetItem(shown)
                item.setToolTip(f"{case.name}: {case.next_step}")
                if column in (CHANGED, DISPUTED):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(row, column, item)
        showText(self.ui.rankingLabel, text)

    def _offerCases(self, cases):
        """List the cases that the scan may be of the same patient as; the first is none."""
        box = self.ui.samePatientComboBox
        if [box.itemData(index) for index in range(box.count)] == ["", *cases]:
            return
        chosen = box.currentData
        box.clear()
        box.addItem(_("A new patient"), "")
        for case in cases:
            box.addItem(case, case)
        box.setCurrentIndex(1 + cases.index(chosen) if chosen in cases else 0)
        box.enabled = bool(cases)

    def _showFineTuning(self):
        """Show the newest fine-tuning; look again as long as it goes on."""
        runs = self._logic.fineTunings()
        self._run = runs[-1] if runs else None
        status = None if self._run is None else self._run.status()
        goesOn = status is not None and not status.is_over
        self._isStopping = self._isStopping and goesOn
        self.ui.fineTuningProgressBar.visible = goesOn
        self.ui.cancelFineTuningButton.visible = goesOn
        self.ui.cancelFineTuningButton.enabled = not self._isStopping
        if goesOn:
            self.ui.fineTuningProgressBar.value = round(100 * status.fraction)
        showText(self.ui.fineTuningLabel, "" if status is None else self._said(status))
        self._showComparison(status)
        hasEnded = self._isFollowed and not goesOn
        self._isFollowed = goesOn
        if goesOn and not self._timer.isActive():
            self._timer.start()
        elif not goesOn:
            self._timer.stop()
        if hasEnded:
            # The model selector lists the new model now.
            self._panel.inputs.showModels()

    def _said(self, status):
        if status.is_over:
            return status.message
        if self._isStopping:
            return _("Stopping…")
        return _("{name}: {message}. It goes on when Slicer is closed.").format(
            name=self._run.plan.name, message=status.message
        )

    def _showComparison(self, status):
        """Show old and new model on the held-back cases; without a new model take no room."""
        effect = None
        if status is not None and status.comparison_file is not None:
            try:
                effect = self._logic.fineTuningEffect(status.comparison_file)
            except BadInputError:
                # The user has moved the model's files away.
                effect = None
        self.ui.comparisonTable.visible = effect is not None
        self.ui.useModelButton.visible = effect is not None
        text = ""
        if effect is not None:
            for column, figures in enumerate((effect.mean.old, effect.mean.new)):
                shown = [formatNumber(figures.dice[name], 3) for name in SHOWN_DICE]
                shown.append(formatNumber(figures.volume_error_ml[SHOWN_VOLUME], 1))
                for row, cell in enumerate(shown):
                    self.ui.comparisonTable.item(row, column).setText(cell)
            text = _(
                "Mean Dice of {old} (old) and {new} (new); cases held back: {count}. {note}"
            ).format(
                old=effect.old_model,
                new=effect.new_model,
                count=len(effect.cases),
                note=effect.note,
            )
        showText(self.ui.comparisonLabel, text)

    def _updateButtons(self):
        hasFolder = bool(self._folder())
        hasResult = self._parameterNode is not None and self._result.is_segmented
        add, tune = self.ui.addCaseButton, self.ui.fineTuneButton
        add.enabled = hasResult and hasFolder and not self._isRunning
        if not hasResult:
            add.toolTip = _("Segment a volume first.")
        elif not hasFolder:
            add.toolTip = _("Choose the folder of the training set first.")
        else:
            add.toolTip = _(
                "Write the CT and the segments as they are now as a new case; nothing is"
                " overwritten, and neither name, id nor dates of the patient are copied."
            )
        hasCases = hasFolder and self._caseCount > 0
        for button in (self.ui.rankCasesButton, self.ui.openPageButton):
            button.enabled = hasCases and not self._isRunning
        self.ui.rankCasesButton.toolTip = (
            _(
                "Run both shipped models on the scans they have not seen, about a minute each, and"
                " rank all by where they disagree and how much was changed."
            )
            if hasCases
            else _("Add a case to the training set first.")
        )
        enoughPatients = hasFolder and self._patientCount >= 2
        tune.enabled = enoughPatients and not self._isFollowed and not self._isRunning
        if self._isFollowed:
            tune.toolTip = _("A fine-tuning is on; wait for it or cancel it.")
        elif not enoughPatients:
            tune.toolTip = _(
                "Add scans of two patients at least: some are held back to compare the new model"
                " with the old one."
            )
        else:
            tune.toolTip = _(
                "Let the model that is selected above go on learning from the training set, in the"
                " background. It stays as it is; the result is a new model."
            )
        showText(
            self.ui.tooFewLabel,
            _("Fine-tuning needs scans of two patients at least.") if not enoughPatients else "",
        )


def _describeCount(caseCount, patientCount):
    """Say how many cases there are; of how many patients where that is another number."""
    if caseCount == 1:
        return _("1 case in this training set.")
    if patientCount == 1:
        return _("{count} cases of 1 patient in this training set.").format(count=caseCount)
    if patientCount < caseCount:
        text = _("{count} cases of {patients} patients in this training set.")
        return text.format(count=caseCount, patients=patientCount)
    return _("{count} cases in this training set.").format(count=caseCount)


def _shortened(name):
    """A name that leaves room for what is to be done; its tip has all of it."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
