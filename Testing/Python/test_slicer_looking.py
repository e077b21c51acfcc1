"""The panel's sections "Advanced" and "Looking" in the stand-in, with the real MRML scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from test_slicer_module import (  # noqa: F401  (fixtures)
    chest,
    errors,
    label_map,
    model_path,
    module,
    panel,
    press,
    stand_in,
)

from CovidLungQuantLib.mrml.structures import (
    airways_and_vessels_from_node,
    airways_and_vessels_of,
    enhanced_of,
)
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node
from CovidLungQuantLib.pipeline import Options, quantify


def section(widget: Any, name: str) -> Any:
    """The section of that class."""
    (found,) = (part for part in widget._sections if type(part).__name__ == name)
    return found


def parameters() -> Any:
    return slicer.mrmlScene.GetSingletonNode("CovidLungQuant", "vtkMRMLScriptedModuleNode")


# Advanced


def test_the_advanced_choices_are_kept_in_the_parameter_node(panel: Any) -> None:  # noqa: F811
    ui = section(panel, "AdvancedSection").ui
    assert ui.tubesComboBox.currentData == Options().airways_and_vessels
    assert not ui.enhanceCheckBox.checked
    assert not ui.mirrorCheckBox.checked
    ui.tubesComboBox.setCurrentIndex(ui.tubesComboBox.findData("remove"))
    press(ui.enhanceCheckBox)
    press(ui.mirrorCheckBox)
    kept = [parameters().GetParameter(name) for name in ("airwaysAndVessels", "enhance", "mirror")]
    assert kept == ["remove", "True", "True"]


def test_the_advanced_choices_follow_a_script(panel: Any) -> None:  # noqa: F811
    ui = section(panel, "AdvancedSection").ui
    panel._parameterNode.airwaysAndVessels = "find"
    panel._parameterNode.enhance = True
    assert ui.tubesComboBox.currentData == "find"
    assert ui.enhanceCheckBox.checked


def test_a_run_does_what_was_chosen_and_measuring_again_keeps_it(
    panel: Any,  # noqa: F811
    chest: Any,  # noqa: F811
    model_path: str,  # noqa: F811
    stand_in: Any,  # noqa: F811
) -> None:
    panel._parameterNode.airwaysAndVessels = "remove"
    panel._parameterNode.enhance = True
    panel._parameterNode.mirror = True
    press(panel.ui.segmentButton)

    assert errors(stand_in) == []
    options = Options("cpu", model_path, airways_and_vessels="remove", enhance=True, mirror=True)
    expected = quantify(ct_from_node(chest), options)
    scene = slicer.mrmlScene
    chosen = panel.logic.getParameterNode()
    np.testing.assert_array_equal(label_map(chosen.outputSegmentation, chest), expected.labels)
    tubes, _ = airways_and_vessels_from_node(airways_and_vessels_of(scene, chest), chest)
    np.testing.assert_array_equal(tubes, expected.airways_and_vessels)
    # The untrained network leaves too little normal lung for it, which the panel says.
    assert enhanced_of(scene, chest) is None
    assert "the scan cannot be enhanced" in panel.ui.warningsLabel.text
    notes = record_from_node(chosen.outputTable).measurements.notes
    assert any("were taken out of the lesions" in note for note in notes)
    (volumes,) = (note for note in notes if note.startswith("Airways: "))
    assert airways_and_vessels_of(scene, chest).GetDescription() == volumes

    press(panel.ui.measureButton)
    assert errors(stand_in) == []
    assert volumes in record_from_node(chosen.outputTable).measurements.notes


def test_a_second_run_renews_what_it_finds(panel: Any, chest: Any) -> None:  # noqa: F811
    panel._parameterNode.airwaysAndVessels = "find"
    press(panel.ui.segmentButton)
    before = slicer.mrmlScene.GetNumberOfNodes()
    press(panel.ui.segmentButton)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
