"""Slicer's own views: the layout for reading, slices that fit, names at the chart's axis."""

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from CovidLungQuantLib.mrml.chart import name_axis
from CovidLungQuantLib.mrml.display import fit_slices
from CovidLungQuantLib.mrml.layout import register_layout

# Qt lays the views out with its next events; where that takes two rounds, the later look finds
# views that have another size.
FIT_AFTER_MS = (0, 200)


def findLayoutNode():
    """Slicer's layout node; None where there is no main window."""
    layoutManager = slicer.app.layoutManager()
    return None if layoutManager is None else layoutManager.layoutLogic().GetLayoutNode()


def prepareViews():
    """Make the layout known to Slicer, before a scene that was saved with it is loaded."""
    node = findLayoutNode()
    if node is not None:
        register_layout(node)
        LobeAxis.start(node)


def fitSlicesOnceLaidOut():
    """Fit the slice views to their volumes once a layout that was chosen stands."""
    sizes = {}

    def fit():
        changed = []
        for logic in _sliceLogics():
            node = logic.GetSliceNode()
            if node is not None and sizes.get(node.GetID()) != node.GetDimensions():
                sizes[node.GetID()] = node.GetDimensions()
                changed.append(logic)
        fit_slices(changed)

    for delay in FIT_AFTER_MS:
        qt.QTimer.singleShot(delay, fit)


def _sliceLogics():
    logics = slicer.app.layoutManager().mrmlSliceLogics()
    return [logics.GetItemAsObject(index) for index in range(logics.GetNumberOfItems())]


class LobeAxis(VTKObservationMixin):
    """Keeps the lobes' names at the axis of plot views that show a lobe chart, and only there.

    Nodes cannot hold them. It goes on while another module is open: charts share their view.
    """

    _running = None

    @classmethod
    def start(cls, layoutNode):
        """Follow the plot views of all layouts, from now to the end of the application."""
        if cls._running is None:
            cls._running = cls()
            cls._running.follow(layoutNode)

    def follow(self, node):
        """Look at the views again whenever a node changes."""
        modified = vtk.vtkCommand.ModifiedEvent
        if not self.hasObserver(node, modified, self.onModified):
            self.addObserver(node, modified, self.onModified)

    def onModified(self, caller, event):
        """A layout or a chart was chosen; its view is there once Qt's events are handled."""
        qt.QTimer.singleShot(0, self.nameAxes)

    def nameAxes(self):
        """Write the names, or take them away."""
        layoutManager = slicer.app.layoutManager()
        for index in range(layoutManager.plotViewCount):
            widget = layoutManager.plotWidget(index)
            node = widget.mrmlPlotViewNode()
            if node is None:
                continue
            self.follow(node)
            axis = widget.plotView().chart().GetAxis(vtk.vtkAxis.BOTTOM)
            name_axis(axis, node.GetPlotChartNode())
            widget.plotView().scene().SetDirty(True)
            widget.plotView().update()
