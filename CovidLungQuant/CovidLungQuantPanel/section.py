"""What every section of the panel is: made, told of every change, taken away."""

import slicer
from slicer.util import VTKObservationMixin

from CovidLungQuantLib.mrml.scene_result import SceneResult


class Section(VTKObservationMixin):
    """A part of the panel that shows and changes the chosen parameter set.

    Its life: `setup` once; then `update` after every change of the parameter node and of the
    scene's nodes, which calls `show`, or `letGo` where there is no node any more; `cleanup` at the
    end of Slicer or before a reload. A section with widgets of its own file loads them in `setup`
    with `panel.addSection(name)`; others take those of the panel.
    """

    def __init__(self, panel):
        VTKObservationMixin.__init__(self)
        self._panel = panel
        self._logic = panel.logic
        self._parameterNode = None
        self._isRemoved = False
        self._widget = None
        self.ui = panel.ui
        self.setup()

    def setup(self):
        """Make the widgets and connect them."""

    def update(self, parameterNode):
        """Show a parameter node and what it refers to as they are now; None lets go of all."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            self.letGo()
        else:
            self.show()

    def show(self):
        """Show the parameter node, which is there."""

    def letGo(self):
        """Forget nodes and observe none: there is no parameter node."""

    def onSetChanged(self):
        """Another parameter set was chosen, and was shown by `update`."""

    def onSceneClosing(self):
        """The scene's nodes are about to go; `update(None)` follows."""

    def onSegmented(self):
        """The chosen volume was segmented by the button."""

    def setRunning(self, running):
        """A run has begun or ended: refuse clicks meanwhile."""
        if self._widget is not None:
            self._widget.enabled = not running

    def cleanup(self):
        """Let go of the scene for good."""
        self._isRemoved = True
        self.update(None)
        self.removeObservers()

    @property
    def _result(self):
        """The nodes of the chosen result, as they are now; there is a parameter node."""
        return resultOf(self._parameterNode)


def resultOf(parameterNode):
    """Return the nodes of a parameter set as a `SceneResult`."""
    return SceneResult(
        slicer.mrmlScene,
        parameterNode.inputVolume,
        parameterNode.outputSegmentation,
        parameterNode.outputTable,
        parameterNode.lobes,
    )
