"""The part "Advanced" of the inputs: what a run finds besides, and how carefully."""

from slicer.i18n import tr as _

from CovidLungQuantLib.lesions.airways_and_vessels import FIND_TUBES, NO_TUBES, REMOVE_TUBES
from CovidLungQuantPanel.section import Section


class AdvancedSection(Section):
    """Keeps in the parameter node what the command line calls --vessels, --enhance and --mirror."""

    def setup(self):
        """Put the choices below the other inputs, which are greyed out together."""
        _widget, self.ui = self._panel.addSection("Advanced", self.ui.inputsCollapsibleButton)
        for value, text in self._tubeChoices().items():
            self.ui.tubesComboBox.addItem(text, value)
        self.ui.tubesComboBox.connect("currentIndexChanged(int)", self.onTubesSelected)
        self.ui.enhanceCheckBox.connect("toggled(bool)", self.onEnhance)
        self.ui.mirrorCheckBox.connect("toggled(bool)", self.onMirror)

    def show(self):
        """Show the choices."""
        chosen, choices = self._parameterNode, list(self._tubeChoices())
        if chosen.airwaysAndVessels in choices:
            self.ui.tubesComboBox.setCurrentIndex(choices.index(chosen.airwaysAndVessels))
        self.ui.enhanceCheckBox.checked = chosen.enhance
        self.ui.mirrorCheckBox.checked = chosen.mirror

    def onTubesSelected(self):
        """Keep what is done about airways and vessels."""
        if self._parameterNode is not None:
            self._parameterNode.airwaysAndVessels = self.ui.tubesComboBox.currentData

    def onEnhance(self, checked):
        """Keep whether the lung is enhanced."""
        if self._parameterNode is not None:
            self._parameterNode.enhance = checked

    def onMirror(self, checked):
        """Keep whether the network sees the mirror image, too."""
        if self._parameterNode is not None:
            self._parameterNode.mirror = checked

    def _tubeChoices(self):
        return {
            NO_TUBES: _("Do not look for them"),
            FIND_TUBES: _("Find them"),
            REMOVE_TUBES: _("Find them, take them out of lesions"),
        }
