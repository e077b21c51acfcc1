"""Showing a result in Slicer's views."""

import slicer

from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, HIGH_OPACITY
from CovidLungQuantLib.mrml.density import is_density_shown
from CovidLungQuantLib.mrml.display import are_surfaces_shown, show_surfaces
from CovidLungQuantLib.mrml.volumes import show_in_lung_window


class ShowLogic:
    """Brings a result into the views; surfaces change the segmentation node, but no number."""

    def __init__(self, writing):
        self._writing = writing

    def showResult(self, result):
        """Show the volume in a lung window under its segments, at the larger kind of lesion."""
        segmentationNode = result.segmentation
        show_in_lung_window(result.volume)
        slicer.util.setSliceViewerLayers(background=result.volume, fit=True)
        segmentationNode.SetDisplayVisibility(True)
        displayNode = segmentationNode.GetDisplayNode()
        displayNode.SetVisibility2DFill(not is_density_shown(result.scene, result.volume))
        displayNode.SetVisibility2DOutline(True)
        if are_surfaces_shown(segmentationNode):
            self.showSurfaces(segmentationNode, True)
        both = result.record().measurements.region(BOTH_LUNGS_REGION)
        label, volume_ml = max(
            ((GGO, both.ggo_ml), (HIGH_OPACITY, both.high_opacity_ml)), key=lambda pair: pair[1]
        )
        if volume_ml > 0:
            centre = segmentationNode.GetSegmentCenterRAS(label.segment_id)
            slicer.vtkMRMLSliceNode.JumpAllSlices(
                result.scene, *centre, slicer.vtkMRMLSliceNode.OffsetJumpSlice
            )

    def showSurfaces(self, segmentationNode, shown):
        """Show the lesions as surfaces in translucent lungs in 3D, or not; no number changes."""
        with self._writing():
            show_surfaces(segmentationNode, shown)
