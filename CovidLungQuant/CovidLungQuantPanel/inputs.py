"""The section "Inputs": the volume, the model, the device, the kinds of opacity, the lobes."""

import slicer

from CovidLungQuantLib.mrml.nodes import is_made_from_a_scan
from CovidLungQuantPanel.section import Section
from CovidLungQuantPanel.widgets import fillComboBox


class InputsSection(Section):
    """Keeps what is chosen in the parameter node; offers the first volume that no set has."""

    def setup(self):
        """Connect the selectors; that of the volume is bound to the parameter node."""
        self._lastInputVolumeID = None
        self._widget = self.ui.inputsCollapsibleButton
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelSelected)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceSelected)
        self.ui.kindsComboBox.connect("currentIndexChanged(int)", self.onKindsSelected)
        # Two classes of nodes, which the parameter node cannot bind to one selector.
        self.ui.lobesSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onLobesSelected)

    def bind(self, parameterNode):
        """Take the volume of a parameter node for the chosen one, with the outputs that it has."""
        self._lastInputVolumeID = _nodeID(parameterNode.inputVolume)

    def followVolume(self, parameterNode):
        """Point the outputs at the results of the volume if it has changed."""
        volumeNode = parameterNode.inputVolume
        if _nodeID(volumeNode) != self._lastInputVolumeID:
            self._lastInputVolumeID = _nodeID(volumeNode)
            self._selectOutputsOf(parameterNode, volumeNode)

    def selectFirstVolume(self, parameterNode):
        """Choose the first scan that no other set has, where none is chosen."""
        if parameterNode.inputVolume is not None:
            return
        taken = [other.inputVolume for other in self._otherSets(parameterNode)]
        free = [volumeNode for volumeNode in scansOfScene() if volumeNode not in taken]
        if free:
            parameterNode.inputVolume = free[0]

    def show(self):
        """Show the choices."""
        chosen = self._parameterNode
        self.showModels()
        fillComboBox(self.ui.deviceComboBox, self._logic.deviceChoices(), chosen.device)
        fillComboBox(self.ui.kindsComboBox, self._logic.kindChoices(), chosen.kinds)
        if self.ui.lobesSelector.currentNode() is not chosen.lobes:
            self.ui.lobesSelector.setCurrentNode(chosen.lobes)

    def showModels(self):
        """Offer the models that there are now."""
        if self._parameterNode is not None:
            model = self._parameterNode.model
            fillComboBox(self.ui.modelComboBox, self._logic.modelChoices(), model)

    def onModelSelected(self):
        """Keep the chosen model in the parameter node."""
        if self._parameterNode is not None:
            self._parameterNode.model = self.ui.modelComboBox.currentData or ""

    def onDeviceSelected(self):
        """Keep the chosen device in the parameter node."""
        if self._parameterNode is not None:
            self._parameterNode.device = self.ui.deviceComboBox.currentData

    def onKindsSelected(self):
        """Keep the chosen way to tell GGO from high opacity in the parameter node."""
        if self._parameterNode is not None:
            self._parameterNode.kinds = self.ui.kindsComboBox.currentData

    def onLobesSelected(self):
        """Keep the chosen lobes in the parameter node."""
        # While a scene closes or loads, the selector loses nodes that nobody took away.
        if self._parameterNode is not None and not slicer.mrmlScene.IsBatchProcessing():
            self._parameterNode.lobes = self.ui.lobesSelector.currentNode()

    def _selectOutputsOf(self, parameterNode, volumeNode):
        """Point the outputs at the results of `volumeNode`, so that no other's are overwritten."""
        taken = [
            node
            for other in self._otherSets(parameterNode)
            for node in (other.outputSegmentation, other.outputTable)
            if node is not None
        ]
        segmentationNode, tableNode = self._logic.resultsOf(volumeNode, taken)
        parameterNode.outputSegmentation = segmentationNode
        parameterNode.outputTable = tableNode
        # Lobes of another patient would be measured with in silence.
        parameterNode.lobes = None
        parameterNode.shownLesion = 0

    def _otherSets(self, parameterNode):
        return [
            other
            for other in self._logic.parameterSets()
            if other.parameterNode is not parameterNode.parameterNode
        ]


def scansOfScene():
    """Return the scene's volumes that may be CTs: not hidden, no label maps, not made from one."""
    return [
        volumeNode
        for volumeNode in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        # Label maps are of a class derived from it.
        if volumeNode.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not is_made_from_a_scan(volumeNode)
        and not volumeNode.GetHideFromEditors()
    ]


def _nodeID(node):
    return None if node is None else node.GetID()
