"""The section "Looking": what is shown of a result, and how."""

import slicer
import vtk

from CovidLungQuantLib.display.density import DENSITY_RANGE_HU, density_colors
from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.mrml.density import is_density_shown, show_density
from CovidLungQuantLib.mrml.display import (
    are_surfaces_shown,
    composite_nodes,
    is_filled,
    is_in_slices,
    is_outlined,
    is_structure_shown,
    set_fill,
    set_outline,
    show_in_slices,
    show_structure,
)
from CovidLungQuantLib.mrml.layout import (
    LAYOUT_ID,
    is_layout_shown,
    register_layout,
    show_layout,
    show_table_and_chart,
)
from CovidLungQuantLib.mrml.volume_rendering import (
    is_volume_rendered,
    rendered_of,
    show_volume_rendering,
)
from CovidLungQuantPanel.section import Section, resultOf
from CovidLungQuantPanel.widgets import showText

# Names of `structures_of` and the boxes that show and hide them.
STRUCTURE_BOXES = {
    "normal lung": "normalLungCheckBox",
    "GGO": "ggoCheckBox",
    "high opacity": "highOpacityCheckBox",
    "lobes": "lobesCheckBox",
    "airways": "airwaysCheckBox",
    "vessels": "vesselsCheckBox",
    "sub-visual lesions": "subVisualCheckBox",
}
# Those of every result; the boxes of others are there only where there is something to show.
ALWAYS_OFFERED = ("normal lung", "GGO", "high opacity")


def registerLayout():
    """Make the layout known to Slicer, before a scene that was saved with it is loaded."""
    layoutNode = _layoutNode()
    if layoutNode is not None:
        register_layout(layoutNode)


def _layoutNode():
    """Slicer's layout node; None where there is no main window."""
    layoutManager = slicer.app.layoutManager()
    return None if layoutManager is None else layoutManager.layoutLogic().GetLayoutNode()


class LookingSection(Section):
    """Shows and hides what a run has found; every box shows what the nodes say."""

    def setup(self):
        """Make the boxes and buttons and connect them."""
        self._followedNodes = []
        self._structures = {}
        self._acting = False
        registerLayout()
        self._widget, self.ui = self._panel.addSection("Looking")
        for name, boxName in STRUCTURE_BOXES.items():
            getattr(self.ui, boxName).connect(
                "clicked(bool)", lambda shown, name=name: self.onStructure(name, shown)
            )
        self.ui.fillCheckBox.connect("clicked(bool)", self.onFill)
        self.ui.outlineCheckBox.connect("clicked(bool)", self.onOutline)
        self.ui.enhancedCheckBox.connect("clicked(bool)", self.onEnhanced)
        self.ui.densityCheckBox.connect("clicked(bool)", self.onDensity)
        self.ui.surfacesCheckBox.connect("clicked(bool)", self.onSurfaces)
        self.ui.renderingCheckBox.connect("clicked(bool)", self.onRendering)
        self.ui.readingLayoutButton.connect("clicked(bool)", self.onReadingLayout)
        self.ui.layoutBeforeButton.connect("clicked(bool)", self.onLayoutBefore)
        self._drawDensityScale()

    def show(self):
        """Show how the nodes are displayed now."""
        self._structures = self._result.structures() if self._result.is_segmented else {}
        self._follow(self._nodesToFollow())
        self._show()

    def letGo(self):
        """Follow no node any more."""
        self._follow([])
        self._structures = {}

    def onSegmented(self):
        """Show the new result in the layout for reading."""
        self.onReadingLayout()

    def onStructure(self, name, shown):
        """Show or hide one structure."""
        self._act(lambda: show_structure(self._structures[name], shown))

    def onFill(self, shown):
        """Fill the segments of the result, or not."""
        self._act(lambda: set_fill(self._segmentation, shown))

    def onOutline(self, shown):
        """Draw outlines of the segments of the result, or not."""
        self._act(lambda: set_outline(self._segmentation, shown))

    def onEnhanced(self, shown):
        """Show the enhanced volume in place of the CT, or the CT again."""
        enhanced = self._result.enhanced
        self._act(lambda: show_in_slices(slicer.mrmlScene, enhanced if shown else self._volume))

    def onDensity(self, shown):
        """Colour the lesions by their density, or not."""
        self._act(
            lambda: show_density(
                slicer.mrmlScene,
                self._volume,
                self._segmentation,
                self._result.labels(),
                shown,
            )
        )

    def onSurfaces(self, shown):
        """Show the lesions in translucent lungs in 3D, or not."""
        self._act(lambda: self._logic.showSurfaces(self._segmentation, shown))
        _bringIntoSight(shown)

    def onRendering(self, shown):
        """Render the lungs in 3D, or not."""
        self._act(
            lambda: show_volume_rendering(
                slicer.modules.volumerendering.logic(),
                slicer.mrmlScene,
                self._volume,
                self._result.labels(),
                shown,
            )
        )
        _bringIntoSight(shown)

    def onReadingLayout(self):
        """Choose the layout for reading a result."""
        layoutNode = _layoutNode()
        # After a run the user may be in another module, whose views are not to be taken away.
        if layoutNode is None or self._parameterNode is None:
            return
        before = show_layout(layoutNode)
        if before != LAYOUT_ID:
            self._parameterNode.layoutBefore = before
        self._showTableAndChart()
        self._show()

    def onSetChanged(self):
        """Show the volume and the result of the chosen parameter set, and no other set's."""
        volume, segmentation = self._volume, self._segmentation
        for other in map(resultOf, self._logic.parameterSets()):
            if other.volume is not volume or other.segmentation is not segmentation:
                _hide(other)
        if volume is not None:
            slicer.util.setSliceViewerLayers(background=volume, fit=True)
        if segmentation is not None:
            segmentation.SetDisplayVisibility(True)
        if _layoutNode() is not None and is_layout_shown(_layoutNode()):
            self._showTableAndChart()
        self._show()

    def onLayoutBefore(self):
        """Go back to the layout that was shown before."""
        layoutNode = _layoutNode()
        show_layout(
            layoutNode, self._parameterNode.layoutBefore or layoutNode.SlicerLayoutFourUpView
        )
        self._show()

    def _showTableAndChart(self):
        result = self._result
        chart = result.lobe_chart if result.is_segmented else None
        show_table_and_chart(slicer.mrmlScene, result.table, chart)

    @property
    def _volume(self):
        return self._parameterNode.inputVolume

    @property
    def _segmentation(self):
        return self._parameterNode.outputSegmentation

    def _act(self, action):
        """Do what a click asks for and show how it is then; what is refused is said."""
        error = ""
        self._acting = True
        try:
            with slicer.util.WaitCursor():
                action()
        except CovidLungQuantError as reason:
            error = str(reason)
        finally:
            self._acting = False
        if self._parameterNode is not None:
            self.update(self._parameterNode)
        if error:
            slicer.util.errorDisplay(error)

    def _nodesToFollow(self):
        """Nodes that say how things are shown; users change them in other modules, too."""
        scene = slicer.mrmlScene
        nodes = list(composite_nodes(scene))
        for node in {part.node for part in self._structures.values()}:
            # Not made here where it is missing: every new node calls for an update.
            nodes += [node] if node.GetDisplayNode() is None else [node, node.GetDisplayNode()]
        if self._volume is not None:
            rendered = rendered_of(scene, self._volume)
            display = rendered and _renderingLogic().GetFirstVolumeRenderingDisplayNode(rendered)
            nodes += [display] if display else []
        layoutNode = _layoutNode()
        return nodes if layoutNode is None else [*nodes, layoutNode]

    def _follow(self, nodes):
        if len(nodes) == len(self._followedNodes) and all(
            mine is theirs for mine, theirs in zip(nodes, self._followedNodes, strict=True)
        ):
            return
        modified = vtk.vtkCommand.ModifiedEvent
        for node in self._followedNodes:
            self.removeObserver(node, modified, self.onDisplayModified)
        self._followedNodes = nodes
        for node in nodes:
            self.addObserver(node, modified, self.onDisplayModified)

    def onDisplayModified(self, caller, event):
        """Something is shown otherwise now."""
        isBusy = self._acting or slicer.mrmlScene.IsBatchProcessing()
        if self._parameterNode is not None and not isBusy:
            self._show()

    def _show(self):
        """Let every box say what the nodes say."""
        scene, ui = slicer.mrmlScene, self.ui
        volume, segmentation = self._volume, self._segmentation
        for name, boxName in STRUCTURE_BOXES.items():
            structure = self._structures.get(name)
            box = getattr(ui, boxName)
            box.visible = structure is not None or name in ALWAYS_OFFERED
            box.enabled = structure is not None
            box.checked = structure is not None and is_structure_shown(structure)
        hasResult = any(name in self._structures for name in ALWAYS_OFFERED)
        for box, isOn in (
            (ui.fillCheckBox, hasResult and is_filled(segmentation)),
            (ui.outlineCheckBox, hasResult and is_outlined(segmentation)),
            (ui.densityCheckBox, hasResult and is_density_shown(scene, volume)),
            (ui.surfacesCheckBox, hasResult and are_surfaces_shown(segmentation)),
            (
                ui.renderingCheckBox,
                hasResult and is_volume_rendered(_renderingLogic(), scene, volume),
            ),
        ):
            box.enabled = hasResult
            box.checked = isOn
        ui.densityScaleLabel.visible = ui.densityCheckBox.checked
        enhanced = self._result.enhanced if self._result.is_segmented else None
        ui.enhancedCheckBox.enabled = enhanced is not None
        ui.enhancedCheckBox.checked = enhanced is not None and is_in_slices(scene, enhanced)
        self._showFindings(enhanced)
        layoutNode = _layoutNode()
        ui.readingLayoutButton.enabled = layoutNode is not None
        ui.layoutBeforeButton.enabled = layoutNode is not None and is_layout_shown(layoutNode)

    def _showFindings(self, enhanced):
        """Say what was measured of airways, vessels and the enhanced volume."""
        result = self._result
        nodes = [result.airways_and_vessels if result.is_segmented else None, enhanced]
        texts = [node.GetDescription() for node in nodes if node is not None]
        text = "\n".join(text for text in texts if text)
        showText(self.ui.findingsLabel, text)

    def _drawDensityScale(self):
        """The colours with their HU, as a strip."""
        colors = density_colors()
        stops = ", ".join(
            f"stop: {index / (len(colors) - 1):.3f} "
            f"rgb({', '.join(str(round(255 * part)) for part in color[:3])})"
            for index, color in enumerate(colors)
        )
        lowest, highest = DENSITY_RANGE_HU
        middle = (lowest + highest) // 2
        cells = zip(("left", "center", "right"), (lowest, middle, highest), strict=True)
        row = "".join(
            f'<td width="33%" align="{side}">{hu}</td>'.replace("-", "−") for side, hu in cells
        )
        self.ui.densityScaleLabel.text = f'<table width="100%"><tr>{row}</tr></table>'
        self.ui.densityScaleLabel.styleSheet = (
            f"border-top: 10px solid qlineargradient(x1: 0, y1: 0, x2: 1, y2: 0, {stops});"
        )


def _hide(result):
    """Take the result of another parameter set out of the views."""
    if not result.is_segmented:
        return
    for node in {part.node for part in result.structures().values()}:
        node.SetDisplayVisibility(False)
    show_density(result.scene, result.volume, result.segmentation, None, False)
    show_volume_rendering(_renderingLogic(), result.scene, result.volume, None, False)


def _bringIntoSight(shown):
    """Look at what is now in the 3D views."""
    if shown and slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


def _renderingLogic():
    return slicer.modules.volumerendering.logic()
