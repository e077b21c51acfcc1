"""The part "Advanced" of the inputs: what a run finds besides, and how carefully."""

from slicer.i18n import tr as _

from CovidLungQuantLib.lesions.airways_and_vessels import (
    FIND_AIRWAYS_AND_VESSELS,
    NO_AIRWAYS_AND_VESSELS,
    REMOVE_AIRWAYS_AND_VESSELS,
)
from CovidLungQuantPanel.section import Section


class AdvancedSection(Section):
    """Keeps in the parameter node what the command line calls --vessels, --enhance and --mirror."""

    def setup(self):
        """Put the choices below the other inputs, which are greyed out together."""
        _widget, self.ui = self._panel.addSection("Advanced", self.ui.inputsCollapsibleButton)
        for value, text in self._airwaysAndVesselsChoices().items():
            self.ui.airwaysAndVesselsComboBox.addItem(text, value)
        self.ui.airwaysAndVesselsComboBox.connect(
            "currentIndexChanged(int)", self.onAirwaysAndVesselsSelected
        )
        self.ui.enhanceCheckBox.connect("toggled(bool)", self.onEnhance)
        self.ui.mirrorCheckBox.connect("toggled(bool)", self.onMirror)

    def show(self):
        """Show the choices."""
        chosen, choices = self._parameterNode, list(self._airwaysAndVesselsChoices())
        if chosen.airwaysAndVessels in choices:
            self.ui.airwaysAndVesselsComboBox.setCurrentIndex(
                choices.index(chosen.airwaysAndVessels)
            )
        self.ui.enhanceCheckBox.checked = chosen.enhance
        self.ui.mirrorCheckBox.checked = chosen.mirror

    def onAirwaysAndVesselsSelected(self):
        """Keep what is done about airways and vessels."""
        if self._parameterNode is not None:
            self._parameterNode.airwaysAndVessels = self.ui.airwaysAndVesselsComboBox.currentData

    def onEnhance(self, checked):
        """Keep whether the lung is enhanced."""
        if self._parameterNode is not None:
            self._parameterNode.enhance = checked

    def onMirror(self, checked):
        """Keep whether the network sees the mirror image, too."""
        if self._parameterNode is not None:
            self._parameterNode.mirror = checked

    def _airwaysAndVesselsChoices(self):
        return {
            NO_AIRWAYS_AND_VESSELS: _("Do not look for them"),
            FIND_AIRWAYS_AND_VESSELS: _("Find them"),
            REMOVE_AIRWAYS_AND_VESSELS: _("Find them, take them out of lesions"),
        }
