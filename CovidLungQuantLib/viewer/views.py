"""The views of trame-slicer: three slices and 3D, with a brush whose strokes are handed on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from trame_slicer.core import SlicerApp
from trame_slicer.rca_view.rca_view_factory import RemoteViewFactory
from trame_slicer.segmentation import SegmentationEffectNoTool
from trame_slicer.segmentation.abstract_segmentation_effect_brush import (
    AbstractSegmentationEffectBrush,
)
from trame_slicer.segmentation.paint_effect_parameters import BrushDiameterMode
from trame_slicer.segmentation.segment_modifier import ModificationMode
from trame_slicer.segmentation.segmentation_paint_pipeline import SegmentationPaintPipeline2D
from trame_slicer.views import SliceView, ThreeDView, ViewLayoutDefinition, ViewType
from trame_slicer.views.render_scheduler import NoScheduleRendering

from CovidLungQuantLib.ct import CTVolume
from CovidLungQuantLib.mrml.display import look_at
from CovidLungQuantLib.mrml.live_labels import labels_changed, share_labels
from CovidLungQuantLib.mrml.rendering import (
    draw_without_display,
    turn_off_vtk_warnings,
    without_vtk_warnings,
)
from CovidLungQuantLib.mrml.segmentation import segmentation_to_node
from CovidLungQuantLib.mrml.surfaces import Surfaces
from CovidLungQuantLib.mrml.volumes import RAS_TO_LPS, ct_to_node, show_in_window
from CovidLungQuantLib.viewer.page_state import SLICE_VIEWS
from CovidLungQuantLib.viewer.painting import Stroke

VIEW_3D = "ThreeD"
# Between two points of a stroke, in diameters of the brush.
STROKE_SPACING = 0.2
BACKGROUND_3D = "#0d1117"

StrokeCallback = Callable[[Stroke], None]


class _StrokePipeline(SegmentationPaintPipeline2D):
    """A brush in a slice view; at the end of a stroke its way is handed to the effect."""

    def CreateWidget(self) -> None:
        super().CreateWidget()
        # The way that is drawn while the button is down is to hide less of the lung.
        self.widget._stroke_rel_spacing = STROKE_SPACING

    def OnPaintInteractionStopped(self) -> None:
        try:
            points = self.widget._paint_coordinates_world
            ras = np.array([points.GetPoint(i) for i in range(points.GetNumberOfPoints())])
            slice_to_ras = self._view.get_view_node().GetSliceToRAS()
            normal = np.array([slice_to_ras.GetElement(row, 2) for row in range(3)])
            self._effect.stroke_ended(ras, normal)
        finally:
            self.widget.clear()


class StrokeBrush(AbstractSegmentationEffectBrush):
    """A brush that changes nothing itself: its strokes go to `on_stroke`."""

    on_stroke: StrokeCallback | None = None

    def __init__(self) -> None:
        super().__init__(ModificationMode.Add)

    def stroke_ended(self, points_ras: np.ndarray, normal_ras: np.ndarray) -> None:
        """Hand a stroke on, in LPS."""
        if self.on_stroke is None or len(points_ras) == 0:
            return
        to_lps = RAS_TO_LPS[:3, :3]
        self.on_stroke(
            Stroke(
                points_mm=points_ras @ to_lps,
                radius_mm=self.get_brush_diameter() / 2.0,
                normal=None if self.is_sphere_brush() else to_lps @ normal_ras,
            )
        )

    def paint_glyph_at_world_coordinates(self, *_arguments: Any) -> None:
        """Nothing: see `stroke_ended`."""

    def _create_pipeline(self, view_node: Any, _parameter: Any) -> Any:
        return _StrokePipeline() if view_node.IsA("vtkMRMLSliceNode") else None


class Views:
    """The scene and its views, each a template of the page of the view's name."""

    def __init__(self, server: Any) -> None:
        """Make the views, empty.

        Args:
            server: trame's, whose page is to show them.
        """
        draw_without_display()
        with without_vtk_warnings():
            self._app = SlicerApp()
            self.views = self._make_views(server)
        self._volume: Any = None
        self._segmentation: Any = None
        self._surfaces: Surfaces | None = None

    def _make_views(self, server: Any) -> dict[str, Any]:
        """Return the views by name."""
        manager = self._app.view_manager
        for view_class, view_type in (
            (SliceView, ViewType.SLICE_VIEW),
            (ThreeDView, ViewType.THREE_D_VIEW),
        ):
            # A view that is being made would draw itself, empty, tens of times.
            make = partial(view_class, scheduled_render_strategy=NoScheduleRendering())
            manager.register_factory(
                RemoteViewFactory(server, make, view_type, target_fps=30, interactive_quality=75)
            )
        definitions = [
            ViewLayoutDefinition.slice_view(orientation, label=name)
            for name, orientation in SLICE_VIEWS.items()
        ]
        definitions.append(
            ViewLayoutDefinition.threed_view(name=VIEW_3D, background_color=BACKGROUND_3D)
        )
        views = {view.singleton_tag: manager.create_view(view) for view in definitions}
        for view in views.values():
            # What is translucent is drawn black otherwise.
            view.render_window().SetMultiSamples(0)
            view.render_window().SetAlphaBitPlanes(1)
        manager.set_current_view_ids(list(views))
        return views

    def show(self, ct: CTVolume, quantification: Any) -> None:
        """Show a scan with a label map; the views are fitted to it.

        Args:
            ct: the scan.
            quantification: has `labels` (uint8, contiguous), which are shown without a copy, and
                `provenance`.
        """
        self._app.scene.Clear(False)
        self._volume = ct_to_node(self._app.scene, ct)
        # Before the segments: what comes first into a view is drawn beneath.
        self._app.display_manager.show_volume_in_slice_background(self._volume)
        self._segmentation = segmentation_to_node(self._app.scene, quantification, self._volume)
        share_labels(self._segmentation, quantification.labels)
        self._surfaces = Surfaces(self._app.scene, ct.geometry)
        editor = self._app.segmentation_editor
        editor.set_active_segmentation(self._segmentation, self._volume)
        self.fit()

    def close(self) -> None:
        """Let VTK end without a word; the process ends next."""
        turn_off_vtk_warnings()

    def fit(self) -> None:
        """Fit all views to the scan."""
        self._app.display_manager.reset_views()

    def labels_changed(self) -> None:
        """Draw the labels of the slices again."""
        labels_changed(self._segmentation)

    def renew_surfaces(self, labels: np.ndarray, lungs: bool) -> None:
        """Draw the lesions in 3D again, and on request the lungs."""
        if self._surfaces is None:
            return
        self._surfaces.renew_lesions(labels)
        if lungs:
            self._surfaces.renew_lungs(labels)
            self.views[VIEW_3D].reset_view()

    def set_window(self, level_hu: float, width_hu: float) -> None:
        """Show the scan in a window; nothing where there is none yet."""
        if self._volume is not None:
            show_in_window(self._volume, level_hu, width_hu)

    def set_overlay(self, opacity: float, outline: bool) -> None:
        """Show the labels with an opacity 0…1, as areas or as their outline; likewise."""
        if self._segmentation is None:
            return
        display = self._segmentation.GetDisplayNode()
        display.SetOpacity(opacity)
        display.SetVisibility2DFill(not outline)
        display.SetVisibility2DOutline(outline)

    def look_at(self, place: tuple[int, int, int], box: tuple[slice, slice, slice]) -> None:
        """Bring a lesion, a voxel (z, y, x) of it and its box, into the middle of the slices."""
        look_at(self._app.scene, self._volume, place, box)

    def start_brush(self, diameter_mm: float, ball: bool, on_stroke: StrokeCallback) -> None:
        """Let the left button paint in the slices."""
        effect = self._app.segmentation_editor.set_active_effect_type(StrokeBrush)
        effect.on_stroke = on_stroke
        effect.set_brush_diameter(diameter_mm, BrushDiameterMode.Absolute)
        effect.set_use_sphere_brush(ball)

    def stop_brush(self) -> None:
        """Let the left button look only."""
        self._app.segmentation_editor.set_active_effect_type(SegmentationEffectNoTool)
