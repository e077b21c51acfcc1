"""The layout for reading a result: large axial view, coronal, sagittal and 3D beside it; on a
second tab the lobe chart above the table.

`register_layout(layout_node)`, `show_layout(layout_node)` and, once it is shown,
`show_table_and_chart(scene, table_node, chart_node)`.
"""

from __future__ import annotations

from typing import Any

# Of this extension alone; Slicer's own layouts have lower numbers.
LAYOUT_ID = 28470
IMAGES_TAB, NUMBERS_TAB = "Images", "Chart and table"
TABLE_VIEW_CLASS = "vtkMRMLTableViewNode"
PLOT_VIEW_CLASS = "vtkMRMLPlotViewNode"
SLICE_VIEW_CLASS = "vtkMRMLSliceNode"
VIEW_3D_CLASS = "vtkMRMLViewNode"
# Slice views: name, orientation, label, colour, as in all of Slicer's layouts.
_AXIAL = ("Red", "Axial", "R", "#F34A33")
_CORONAL = ("Green", "Coronal", "G", "#6EB04B")
_SAGITTAL = ("Yellow", "Sagittal", "Y", "#EDD54C")


def layout_description() -> str:
    """Return the layout as Slicer's layout manager reads it."""
    beside = _split(
        "vertical",
        (_slice(*_CORONAL), 320),
        (_slice(*_SAGITTAL), 320),
        (_view(VIEW_3D_CLASS, "1", _property("viewlabel", "1")), 360),
    )
    images = _split("horizontal", (_slice(*_AXIAL), 580), (beside, 420))
    numbers = _split(
        "vertical",
        (_view(PLOT_VIEW_CLASS, "PlotView1", _property("viewlabel", "P")), 500),
        (_view(TABLE_VIEW_CLASS, "TableView1", _property("viewlabel", "T")), 500),
    )
    return (
        f'<layout type="tab"><item name="{IMAGES_TAB}">{images}</item>'
        f'<item name="{NUMBERS_TAB}">{numbers}</item></layout>'
    )


def _split(direction: str, *parts: tuple[str, int]) -> str:
    """Parts beside or above each other that users can resize; of each its share in thousandths."""
    items = "".join(f'<item splitSize="{share}">{part}</item>' for part, share in parts)
    return f'<layout type="{direction}" split="true">{items}</layout>'


def _slice(name: str, orientation: str, label: str, color: str) -> str:
    return _view(
        SLICE_VIEW_CLASS,
        name,
        _property("orientation", orientation)
        + _property("viewlabel", label)
        + _property("viewcolor", color),
    )


def _view(class_name: str, tag: str, properties: str) -> str:
    return f'<view class="{class_name}" singletontag="{tag}">{properties}</view>'


def _property(name: str, value: str) -> str:
    return f'<property name="{name}" action="default">{value}</property>'


def register_layout(layout_node: Any) -> None:
    """Make the layout known; must happen before a scene that was saved with it is loaded."""
    if layout_node.IsLayoutDescription(LAYOUT_ID):
        layout_node.SetLayoutDescription(LAYOUT_ID, layout_description())
    else:
        layout_node.AddLayoutDescription(LAYOUT_ID, layout_description())


def is_layout_shown(layout_node: Any) -> bool:
    """Whether the layout is the one on the screen."""
    return layout_node.GetViewArrangement() == LAYOUT_ID


def show_layout(layout_node: Any, arrangement: int = LAYOUT_ID) -> int:
    """Choose a layout; return the number of the one before."""
    register_layout(layout_node)
    before = layout_node.GetViewArrangement()
    layout_node.SetViewArrangement(arrangement)
    return before


def show_table_and_chart(scene: Any, table_node: Any | None, chart_node: Any | None) -> None:
    """Show a table in every table view and a chart in every plot view; None shows none."""
    for view in _views(scene, TABLE_VIEW_CLASS):
        view.SetTableNodeID(_id(table_node))
    for view in _views(scene, PLOT_VIEW_CLASS):
        view.SetPlotChartNodeID(_id(chart_node))


def _views(scene: Any, class_name: str) -> list[Any]:
    count = scene.GetNumberOfNodesByClass(class_name)
    return [scene.GetNthNodeByClass(index, class_name) for index in range(count)]


def _id(node: Any | None) -> str | None:
    return None if node is None else node.GetID()
