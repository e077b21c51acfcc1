"""The section "Looking": what is shown of a result, and how."""


class LookingSection:
    """Shows and hides what a run has found."""

    def __init__(self, panel):
        self._logic = panel.logic
        self._widget, self.ui = panel.addSection("Looking")

    def update(self, parameterNode):
        """Show how the nodes are displayed now; None lets go of them."""

    def setRunning(self, running):
        """Refuse clicks during a run."""
        self._widget.enabled = not running

    def cleanup(self):
        """Let go of the scene."""
        self.update(None)
