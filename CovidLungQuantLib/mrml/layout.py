"""The layout for reading a result: three slice views, 3D, the lobe chart and the table.

`register_layout(layout_node)`, `show_layout(layout_node)` and, once it is shown,
`show_table_and_chart(scene, table_node, chart_node)`.
"""

from __future__ import annotations

from typing import Any

# Of this extension alone; Slicer's own layouts have lower numbers.
LAYOUT_ID = 28470
LAYOUT_NAME = "COVID-19 Lung Quantification"
TABLE_VIEW_CLASS = "vtkMRMLTableViewNode"
PLOT_VIEW_CLASS = "vtkMRMLPlotViewNode"
# Slice views: name, orientation, label, colour, as in all of Slicer's layouts.
_SLICES = (
    ("Red", "Axial", "R", "#F34A33"),
    ("Green", "Coronal", "G", "#6EB04B"),
    ("Yellow", "Sagittal", "Y", "#EDD54C"),
)


def layout_description() -> str:
    """Return the layout as Slicer's layout manager reads it."""
    slices = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property></view></item>'
        for name, orientation, label, color in _SLICES
    )
    return (
        '<layout type="vertical" split="true">'
        f'<item splitSize="550"><layout type="horizontal">{slices}</layout></item>'
        '<item splitSize="450"><layout type="horizontal" split="true">'
        f"{_view('vtkMRMLViewNode', '1', '1', 340)}"
        f"{_view(PLOT_VIEW_CLASS, 'PlotView1', 'P', 320)}"
        f"{_view(TABLE_VIEW_CLASS, 'TableView1', 'T', 340)}"
        "</layout></item></layout>"
    )


def _view(class_name: str, tag: str, label: str, size: int) -> str:
    return (
        f'<item splitSize="{size}"><view class="{class_name}" singletontag="{tag}">'
        f'<property name="viewlabel" action="default">{label}</property></view></item>'
    )


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
