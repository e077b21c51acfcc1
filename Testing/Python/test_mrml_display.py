"""What is shown of a result, and how, in Slicer's real scene; saved and loaded with it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk")

from CovidLungQuantLib.display.density import DENSITY_STEPS  # noqa: E402
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY  # noqa: E402
from CovidLungQuantLib.mrml import density, display, layout, volume_rendering  # noqa: E402
from CovidLungQuantLib.mrml.extras import enhanced_of, extras_to_nodes  # noqa: E402
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node, segmentation_to_node  # noqa: E402
from CovidLungQuantLib.mrml.segments import CLOSED_SURFACE  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_to_node, fill_image, geometry_of, voxels  # noqa: E402
from Testing.Python.small_airways_and_vessels import LESION, LUNG, an_enhanced_quantification  # noqa: E402
from Testing.slicer_stand_in.layout_manager import VIEWS_SIZE, boxes_of  # noqa: E402


@pytest.fixture(scope="module")
def run():
    found = an_enhanced_quantification()
    labels = found.labels.copy()
    labels[LESION][:5] = HIGH_OPACITY.value
    sub_visual = np.zeros(labels.shape, bool)
    sub_visual[20:25, 20:25, 20:25] = True
    enhancement = replace(found.enhancement, sub_visual=sub_visual)
    return replace(found, labels=labels, enhancement=enhancement)


@pytest.fixture
def shown(scene, run):
    """A result in a scene with two slice views."""
    slice_logics = [slicer.vtkMRMLSliceLogic() for _ in range(2)]
    for logic, name in zip(slice_logics, ("Red", "Green"), strict=True):
        logic.SetMRMLScene(scene)
        logic.AddSliceNode(name)
    volume_node = ct_to_node(scene, run.ct)
    display.show_in_slices(scene, volume_node)
    segmentation_node = segmentation_to_node(scene, run, volume_node)
    extras_to_nodes(scene, run, volume_node)
    return SimpleNamespace(
        scene=scene,
        volume=volume_node,
        segmentation=segmentation_node,
        structures=display.structures_of(scene, volume_node, segmentation_node),
        slice_logics=slice_logics,
    )


@pytest.fixture
def rendering_logic(scene):
    logic = slicer.vtkSlicerVolumeRenderingLogic()
    logic.SetMRMLScene(scene)
    return logic


def states(structures):
    return {name: display.is_structure_shown(part) for name, part in structures.items()}


def reloaded(scene, tmp_path):
    """The scene after it was saved, closed and loaded; with the nodes found again."""
    path = tmp_path / "scene.mrb"
    name = "one vessel"
    assert scene.WriteToMRB(str(path))
    scene.Clear(True)
    assert scene.ReadFromMRB(str(path))
    volume_node = scene.GetFirstNodeByName(name)
    return volume_node, scene.GetFirstNodeByName(f"{name} segmentation")


def test_everything_that_was_found_is_offered(shown):
    assert list(shown.structures) == [
        "normal lung",
        "GGO",
        "high opacity",
        "airways",
        "vessels",
        "sub-visual lesions",
    ]
    assert display.structures_of(shown.scene, None, None) == {}
    # The result is shown, what was found besides is not.
    assert [name for name, is_on in states(shown.structures).items() if is_on] == [
        "normal lung",
        "GGO",
        "high opacity",
    ]


@pytest.mark.parametrize("name", ["normal lung", "GGO", "vessels", "sub-visual lesions"])
def test_showing_one_structure_leaves_the_others_as_they_are_seen(shown, name):
    before = states(shown.structures)
    display.show_structure(shown.structures[name], not before[name])
    assert states(shown.structures) == {**before, name: not before[name]}
    display.show_structure(shown.structures[name], before[name])
    assert states(shown.structures) == before


def test_a_segment_that_the_user_took_away_is_not_offered(shown):
    shown.segmentation.GetSegmentation().RemoveSegment(GGO.segment_id)
    assert "GGO" not in display.structures_of(shown.scene, shown.volume, shown.segmentation)


def test_lesions_are_solid_in_translucent_lungs(shown):
    assert not display.are_surfaces_shown(shown.segmentation)
    display.show_surfaces(shown.segmentation, True)
    assert display.are_surfaces_shown(shown.segmentation)
    node = shown.segmentation.GetDisplayNode()
    assert node.GetSegmentOpacity3D("NormalLung") == pytest.approx(display.LUNG_OPACITY_3D)
    assert node.GetSegmentOpacity3D(GGO.segment_id) == 1.0
    # The lesion is a box of 10 × 10 × 5 mm: its surface keeps its place and nearly its size.
    surface = vtk.vtkPolyData()
    shown.segmentation.GetClosedSurfaceRepresentation(GGO.segment_id, surface)
    assert surface.GetNumberOfPolys() > 500
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    assert mass.GetVolume() == pytest.approx(500.0, rel=0.1)
    segment_centre = shown.segmentation.GetSegmentCenterRAS(GGO.segment_id)
    np.testing.assert_allclose(surface.GetCenter(), segment_centre, atol=0.6)


def test_hidden_surfaces_are_let_go_so_that_strokes_stay_quick(shown):
    display.show_surfaces(shown.segmentation, True)
    display.show_surfaces(shown.segmentation, False)
    assert not display.are_surfaces_shown(shown.segmentation)
    assert not shown.segmentation.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
    assert segmentation_from_node(shown.segmentation, shown.volume)[0].any()


def test_slice_views_show_the_enhanced_volume_and_the_scan_again(shown):
    enhanced = enhanced_of(shown.scene, shown.volume)
    width_hu = enhanced.GetDisplayNode().GetWindow()
    display.show_in_slices(shown.scene, enhanced)
    assert display.is_in_slices(shown.scene, enhanced)
    assert not display.is_in_slices(shown.scene, shown.volume)
    display.show_in_slices(shown.scene, shown.volume)
    assert not display.is_in_slices(shown.scene, enhanced)
    assert enhanced.GetDisplayNode().GetWindow() == width_hu
    assert shown.volume.GetDisplayNode().GetWindow() == 1500


def test_slice_views_are_centred_on_a_voxel(shown):
    place = (12, 34, 36)
    display.look_at(shown.scene, shown.volume, place)
    expected = np.array([*place[::-1], 1.0]) @ geometry_of(shown.volume).ijk_to_lps.T
    expected[:2] *= -1
    for index in range(2):
        matrix = shown.scene.GetNthNodeByClass(index, "vtkMRMLSliceNode").GetSliceToRAS()
        centre = [matrix.GetElement(row, 3) for row in range(3)]
        np.testing.assert_allclose(centre, expected[:3], atol=1e-6)


@pytest.mark.parametrize("size", [(557, 602), (403, 178)])
def test_a_lesion_fills_a_third_of_every_view_and_its_middle(shown, size):
    for logic, orientation in zip(shown.slice_logics, ("Axial", "Coronal"), strict=True):
        logic.GetSliceNode().SetOrientation(orientation)
        logic.ResizeSliceNode(*size)
    volume = a_volume(shown.scene, (200, 300, 300))
    # 30 × 60 × 40 voxels of 1 mm³.
    box = (slice(40, 70), slice(80, 140), slice(120, 160))
    display.look_at(shown.scene, volume, (44, 100, 130), box)

    # Through the voxel, in the middle of the box.
    expected = {
        "Axial": ((40, 60), [-139.5, -109.5, 44]),
        "Coronal": ((40, 30), [-139.5, -100, 54.5]),
    }
    for node in (logic.GetSliceNode() for logic in shown.slice_logics):
        lesion_mm, place = expected[node.GetOrientation()]
        matrix, field_mm = node.GetSliceToRAS(), node.GetFieldOfView()[:2]
        middle = [matrix.GetElement(row, 3) for row in range(3)]
        np.testing.assert_allclose(middle, place, atol=1e-6)
        shares = [lesion / field for lesion, field in zip(lesion_mm, field_mm, strict=True)]
        assert max(shares) == pytest.approx(1 / 3)
        # Neither stretched nor squeezed.
        assert field_mm[0] / field_mm[1] == pytest.approx(size[0] / size[1])


def test_views_zoom_neither_into_voxels_nor_out_of_the_volume(shown):
    volume = a_volume(shown.scene, (100, 100, 120))
    shown.slice_logics[0].GetSliceNode().SetOrientation("Axial")
    shown.slice_logics[0].ResizeSliceNode(400, 400)
    node = shown.slice_logics[0].GetSliceNode()
    display.look_at(shown.scene, volume, (5, 5, 5), (slice(5, 7), slice(5, 7), slice(5, 7)))
    assert node.GetFieldOfView()[:2] == (80, 80)
    display.look_at(shown.scene, volume, (50, 50, 50), (slice(0, 90), slice(0, 90), slice(0, 90)))
    assert node.GetFieldOfView()[:2] == (120, 120)


def test_views_are_fitted_and_stay_at_their_slice(shown):
    logic = shown.slice_logics[0]
    node = logic.GetSliceNode()
    node.SetOrientation("Axial")
    logic.ResizeSliceNode(557, 602)
    display.look_at(
        shown.scene, shown.volume, (12, 34, 36), (slice(10, 14), slice(20, 60), slice(30, 50))
    )
    offset_mm = node.GetSliceOffset()
    display.fit_slices(shown.slice_logics)
    assert node.GetSliceOffset() == pytest.approx(offset_mm)
    bounds = np.zeros(6)
    shown.volume.GetRASBounds(bounds)
    matrix = node.GetSliceToRAS()
    middle = [matrix.GetElement(row, 3) for row in range(2)]
    np.testing.assert_allclose(middle, [bounds[:2].mean(), bounds[2:4].mean()], atol=0.5)
    width_mm, height_mm, _ = node.GetFieldOfView()
    assert width_mm >= bounds[1] - bounds[0] - 1e-6
    assert height_mm >= bounds[3] - bounds[2] - 1e-6


def a_volume(scene, shape):
    """An empty volume of 1 mm³ voxels whose first lies at 0."""
    image = vtk.vtkImageData()
    fill_image(image, np.zeros(shape, np.int16))
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetAndObserveImageData(image)
    node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    return node


def test_density_is_coloured_in_the_lesions_only(shown, run):
    density.show_density(shown.scene, shown.volume, shown.segmentation, run.labels, True)
    node = density.density_of(shown.scene, shown.volume)
    steps = voxels(node.GetImageData())
    np.testing.assert_array_equal(steps > 0, run.labels >= GGO.value)
    # −540 HU in a range of 900 HU from −800 HU: (260 / 30) is in the ninth of 30 steps.
    assert set(np.unique(steps)) == {0, 9}
    np.testing.assert_array_equal(geometry_of(node).ijk_to_lps, run.ct.geometry.ijk_to_lps)
    colors = node.GetDisplayNode().GetColorNode()
    assert colors.GetNumberOfColors() == DENSITY_STEPS + 1
    assert colors.GetColorName(9) == "-560 to -530 HU"
    red, blue = ([colors.GetLookupTable().GetTableValue(i)[c] for i in (1, 30)] for c in (0, 2))
    assert red[1] > red[0]
    assert blue[1] < blue[0]


def test_segments_fill_gives_way_to_the_density_and_comes_back(shown, run):
    arguments = (shown.scene, shown.volume, shown.segmentation, run.labels)
    assert not density.is_density_shown(shown.scene, shown.volume)
    density.show_density(*arguments, True)
    density.show_density(*arguments, True)
    assert density.is_density_shown(shown.scene, shown.volume)
    assert not display.is_filled(shown.segmentation)
    assert display.is_outlined(shown.segmentation)
    density.show_density(*arguments, False)
    assert not density.is_density_shown(shown.scene, shown.volume)
    assert display.is_filled(shown.segmentation)

    display.set_fill(shown.segmentation, False)
    density.show_density(*arguments, True)
    density.show_density(*arguments, False)
    assert not display.is_filled(shown.segmentation)


def test_density_follows_a_correction_while_it_is_shown(shown, run):
    arguments = (shown.scene, shown.volume, shown.segmentation)
    density.show_density(*arguments, run.labels, True)
    corrected = run.labels.copy()
    corrected[LESION] = 1
    corrected[20, 20, 20] = GGO.value
    density.renew_density(shown.scene, shown.volume, corrected)
    node = density.density_of(shown.scene, shown.volume)
    assert np.argwhere(voxels(node.GetImageData())).tolist() == [[20, 20, 20]]
    density.show_density(*arguments, corrected, False)
    density.renew_density(shown.scene, shown.volume, run.labels)
    assert np.count_nonzero(voxels(node.GetImageData())) == 1


def test_healthy_lungs_have_nothing_to_colour(shown, run):
    healthy = np.minimum(run.labels, 1)
    density.show_density(shown.scene, shown.volume, shown.segmentation, healthy, True)
    node = density.density_of(shown.scene, shown.volume)
    assert not voxels(node.GetImageData()).any()


def test_only_the_lungs_are_rendered(shown, run, rendering_logic):
    scene, volume_node = shown.scene, shown.volume
    arguments = (rendering_logic, scene, volume_node, run.labels)
    assert not volume_rendering.is_volume_rendered(rendering_logic, scene, volume_node)
    volume_rendering.show_volume_rendering(*arguments, False)
    assert volume_rendering.rendered_of(scene, volume_node) is None
    volume_rendering.show_volume_rendering(*arguments, True)
    assert volume_rendering.is_volume_rendered(rendering_logic, scene, volume_node)

    node = volume_rendering.rendered_of(scene, volume_node)
    assert node.GetHideFromEditors()
    hu = voxels(node.GetImageData())
    # The lungs' box with a voxel around.
    assert hu.shape == tuple(part.stop - part.start + 2 for part in LUNG)
    assert (hu[0] == volume_rendering.AIR_HU).all()
    np.testing.assert_array_equal(hu[1:-1, 1:-1, 1:-1], run.ct.hu[LUNG])
    origin = np.array([1.0, 2.0, 3.0]) + 1.0
    np.testing.assert_allclose(node.GetOrigin(), origin * [-1, -1, 1])

    count = scene.GetNumberOfNodes()
    volume_rendering.show_volume_rendering(*arguments, False)
    assert not volume_rendering.is_volume_rendered(rendering_logic, scene, volume_node)
    volume_rendering.show_volume_rendering(*arguments, True)
    assert scene.GetNumberOfNodes() == count


def test_denser_lesions_are_less_clear_than_lung(shown, run, rendering_logic):
    volume_rendering.show_volume_rendering(
        rendering_logic, shown.scene, shown.volume, run.labels, True
    )
    node = volume_rendering.rendered_of(shown.scene, shown.volume)
    rendered = rendering_logic.GetFirstVolumeRenderingDisplayNode(node)
    opacity = rendered.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity()
    air, lung, ggo, consolidation = (opacity.GetValue(hu) for hu in (-1000, -850, -550, 30))
    assert air == 0
    assert 0 < lung < ggo / 10
    assert ggo < consolidation


def test_all_of_it_comes_back_with_a_saved_scene(shown, run, rendering_logic, tmp_path):
    scene = shown.scene
    display.show_structure(shown.structures["GGO"], False)
    display.show_structure(shown.structures["vessels"], True)
    display.show_surfaces(shown.segmentation, True)
    display.show_in_slices(scene, enhanced_of(scene, shown.volume))
    arguments = (shown.volume, shown.segmentation, run.labels)
    density.show_density(scene, *arguments, True)
    volume_rendering.show_volume_rendering(rendering_logic, scene, shown.volume, run.labels, True)
    before = states(shown.structures)

    volume_node, segmentation_node = reloaded(scene, tmp_path)

    assert states(display.structures_of(scene, volume_node, segmentation_node)) == before
    assert display.are_surfaces_shown(segmentation_node)
    node = segmentation_node.GetDisplayNode()
    assert node.GetSegmentOpacity3D("NormalLung") == pytest.approx(display.LUNG_OPACITY_3D)
    assert display.is_in_slices(scene, enhanced_of(scene, volume_node))
    assert density.is_density_shown(scene, volume_node)
    assert not display.is_filled(segmentation_node)
    density.show_density(scene, volume_node, segmentation_node, run.labels, False)
    assert display.is_filled(segmentation_node)
    assert volume_rendering.is_volume_rendered(rendering_logic, scene, volume_node)
    rendered = volume_rendering.rendered_of(scene, volume_node)
    assert rendered.GetHideFromEditors()
    display_node = rendering_logic.GetFirstVolumeRenderingDisplayNode(rendered)
    opacity = display_node.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity()
    assert opacity.GetValue(-600) == pytest.approx(0.06)


# The layout


@pytest.fixture
def layout_node(scene):
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(scene)
    yield logic.GetLayoutNode()
    logic.SetMRMLScene(None)


def test_the_layout_has_three_slices_3d_chart_and_table(scene, layout_node):
    layout_node.SetViewArrangement(layout_node.SlicerLayoutFourUpView)
    assert not layout.is_layout_shown(layout_node)
    assert layout.show_layout(layout_node) == layout_node.SlicerLayoutFourUpView
    assert layout.is_layout_shown(layout_node)
    classes = ("vtkMRMLTableViewNode", "vtkMRMLPlotViewNode", "vtkMRMLViewNode")
    for class_name in classes:
        assert scene.GetNumberOfNodesByClass(class_name) == 1
    slices = [scene.GetNthNodeByClass(index, "vtkMRMLSliceNode") for index in range(3)]
    orientations = {node.GetLayoutName(): node.GetOrientation() for node in slices}
    assert orientations == {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
    boxes = {view: (tab, box) for view, tab, box in boxes_of(layout.layout_description())}
    assert len(boxes) == 6
    sizes = {view: width * height for view, (_, (_, _, width, height)) in boxes.items()}
    # What is read slice by slice is by far the largest; numbers are not among the images.
    assert sizes["Red"] > 4 * max(sizes["Green"], sizes["Yellow"])
    images, numbers = {"Red", "Green", "Yellow", "1"}, {"PlotView1", "TableView1"}
    assert {boxes[view][0] for view in images} == {layout.IMAGES_TAB}
    assert {boxes[view][0] for view in numbers} == {layout.NUMBERS_TAB}
    # Wide enough for the controls above a view, the table and the axis of the chart.
    assert min(width for _, (_, _, width, _) in boxes.values()) >= 400
    assert all(boxes[view][1][2] == VIEWS_SIZE[0] for view in numbers)
    # Back, and no second description.
    layout.show_layout(layout_node, layout_node.SlicerLayoutFourUpView)
    assert layout_node.GetViewArrangement() == layout_node.SlicerLayoutFourUpView


def test_the_layouts_views_show_table_and_chart(scene, layout_node):
    layout.show_layout(layout_node)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    layout.show_table_and_chart(scene, table, chart)
    assert scene.GetFirstNodeByClass("vtkMRMLTableViewNode").GetTableNode() is table
    assert scene.GetFirstNodeByClass("vtkMRMLPlotViewNode").GetPlotChartNode() is chart
    layout.show_table_and_chart(scene, table, None)
    assert scene.GetFirstNodeByClass("vtkMRMLPlotViewNode").GetPlotChartNode() is None
