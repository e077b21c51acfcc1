"""A result in Slicer's scene: the volume, its segments, their numbers and what belongs to them.

`SceneResult` names the nodes and finds the others; what is read through it is what the scene holds
now. Writing a run: `write_result(result, quantification)`; its numbers alone:
`write_numbers(result, quantification)`. What is saved or taught is always the segments as they are
now with the numbers of the table that fits them (`numbers_fit`, `with_record`), never what an
earlier run has left in memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.anatomy.lung_anatomy import LUNG_DECISION_CODES
from CovidLungQuantLib.counting import count
from CovidLungQuantLib.ct import CTVolume, ScanWarning
from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.mrml.chart import lobe_chart_of, lobe_chart_to_node
from CovidLungQuantLib.mrml.density import renew_density
from CovidLungQuantLib.mrml.display import Structure, structures_of
from CovidLungQuantLib.mrml.extras import (
    airways_and_vessels_from_node,
    airways_and_vessels_of,
    enhanced_of,
    extras_to_nodes,
)
from CovidLungQuantLib.mrml.lobes import lobes_from_node, lobes_of, lobes_to_node
from CovidLungQuantLib.mrml.machine_labels import machine_labels_of, machine_labels_to_node
from CovidLungQuantLib.mrml.nodes import (
    LOBES_REFERENCE_ROLE,
    no_new_nodes_on_error,
    remember_result,
    renew_or_set_aside,
    result_of,
    results_of,
)
from CovidLungQuantLib.mrml.probability import probability_of, probability_to_node
from CovidLungQuantLib.mrml.segmentation import (
    PROVENANCE_ATTRIBUTE,
    labels_after_stroke,
    segmentation_to_node,
)
from CovidLungQuantLib.mrml.table import (
    TableRecord,
    is_stale,
    measurements_to_node,
    record_from_node,
)
from CovidLungQuantLib.quantification import Provenance

if TYPE_CHECKING:
    from CovidLungQuantLib.measures.measurements import Measurements
    from CovidLungQuantLib.quantification import Quantification

# Before what was said of the segments as the run made them.
AS_SEGMENTED = "Before it was corrected: "


@dataclass(frozen=True)
class SceneResult:
    """The nodes of one result; two are equal if they are of the same nodes.

    Attributes:
        scene: the MRML scene.
        volume: the scalar volume node that was segmented; None where none is chosen.
        segmentation: its segments, as in `mrml.segmentation`; None where there are none yet.
        table: the numbers, as in `mrml.table`; None likewise.
        given_lobes: lobes of the user's to measure with; None takes those of the result.
    """

    scene: Any
    volume: Any | None = None
    segmentation: Any | None = None
    table: Any | None = None
    given_lobes: Any | None = None

    @property
    def is_segmented(self) -> bool:
        """Whether there are segments of a volume."""
        return None not in (self.volume, self.segmentation)

    @property
    def is_measured(self) -> bool:
        """Whether there are segments of a volume, and a table for their numbers."""
        return self.is_segmented and self.table is not None

    def present(self) -> SceneResult:
        """Return the result without the nodes that are no longer in the scene."""
        return SceneResult(
            self.scene,
            *(
                node if node is not None and self.scene.IsNodePresent(node) else None
                for node in (self.volume, self.segmentation, self.table, self.given_lobes)
            ),
        )

    @property
    def lobes(self) -> Any | None:
        """The node of the lobes to measure with: the user's, else those of the run, else None."""
        given = self.present().given_lobes
        return given if given is not None else self._found(lobes_of)

    @property
    def airways_and_vessels(self) -> Any | None:
        """The node of airways and vessels; None where they were not looked for."""
        return self._found(airways_and_vessels_of)

    @property
    def enhanced(self) -> Any | None:
        """The volume node of the enhanced scan; None without one."""
        return self._found(enhanced_of)

    @property
    def lobe_chart(self) -> Any | None:
        """The chart node of the lobes; None without one."""
        return self._found(lobe_chart_of)

    def structures(self) -> dict[str, Structure]:
        """Return what there is to show of the result, by name, as `display.structures_of`."""
        return structures_of(self.scene, self.volume, self.segmentation)

    def machine_labels(self) -> np.ndarray | None:
        """Return the label map (z, y, x) as the network made it; None where none is kept."""
        return self._found(machine_labels_of)

    def lesion_probability(self) -> np.ndarray | None:
        """Return the codes (z, y, x) of the network's lesion probability; None if none is kept."""
        return self._found(probability_of)

    def labels(self) -> np.ndarray:
        """Return the segments as they are now, uint8 (z, y, x); values as in `labels.py`.

        Raises:
            BadInputError: as `segmentation.segmentation_from_node`.
        """
        return labels_after_stroke(self.segmentation, self.volume)

    def read_lobes(self) -> tuple[np.ndarray | None, tuple[ScanWarning, ...]]:
        """Return (lobes, warnings) as `lobes.lobes_from_node`; None where there are no lobes.

        Raises:
            BadInputError: they are no five lobes that lie as lobes do.
        """
        node = self.lobes
        return (None, ()) if node is None else lobes_from_node(node, self.volume)

    def read_airways_and_vessels(self) -> tuple[np.ndarray | None, tuple[ScanWarning, ...]]:
        """Return (labels, warnings) as `extras.airways_and_vessels_from_node`, or None."""
        node = self.airways_and_vessels
        return (None, ()) if node is None else airways_and_vessels_from_node(node, self.volume)

    def record(self) -> TableRecord:
        """Return the exact numbers of the table.

        Raises:
            BadInputError: as `table.record_from_node`.
        """
        return record_from_node(self.table)

    def provenance(self) -> Provenance | None:
        """Return what made the segments before anyone corrected them; None if that is unknown."""
        return None if self.segmentation is None else provenance_of(self.segmentation)

    def _found(self, find: Any) -> Any | None:
        if self.volume is None:
            return None
        return find(self.scene, self.volume, self.segmentation)


def newest_result(scene: Any, volume_node: Any | None, taken: Iterable[Any] = ()) -> SceneResult:
    """Return the newest result of a volume, passing over nodes in `taken`."""
    if volume_node is None:
        return SceneResult(scene)
    return SceneResult(scene, volume_node, *results_of(scene, volume_node, taken))


def write_result(result: SceneResult, quantification: Quantification) -> SceneResult:
    """Write a run with all that it has found; return the result with the nodes that hold it.

    Args:
        result: its nodes are overwritten; new ones are made where it has none. Other parts of an
            earlier run of the same result are renewed or set aside.
        quantification: the run; its arrays are on the grid of the result's volume.

    Raises:
        BadInputError: the label map does not fit the volume. The scene is then as it was.
    """
    scene, volume = result.scene, result.volume
    with no_new_nodes_on_error(scene):
        segmentation = segmentation_to_node(scene, quantification, volume, result.segmentation)
        provenance = quantification.provenance
        model_name = None if provenance is None else provenance.model_name
        machine_labels_to_node(scene, quantification.labels, volume, model_name, segmentation)
        written = write_numbers(replace(result, segmentation=segmentation), quantification)
        extras_to_nodes(scene, quantification, volume, segmentation)
        probability_to_node(scene, quantification, volume, segmentation)
    return written


def write_numbers(result: SceneResult, quantification: Quantification) -> SceneResult:
    """Write the table, the lobes and their chart; return the result with its table.

    Colours of the lesions' density are renewed where they are shown. Arguments as `write_result`;
    the segments stay as they are.
    """
    scene, volume, segmentation = result.scene, result.volume, result.segmentation
    with no_new_nodes_on_error(scene):
        table = measurements_to_node(scene, quantification, volume, result.table)
        if segmentation is not None:
            remember_result(table, segmentation)
        renew_or_set_aside(
            scene,
            quantification,
            volume,
            segmentation,
            lobes_to_node,
            lobes_of,
            LOBES_REFERENCE_ROLE,
        )
        lobe_chart_to_node(scene, quantification, volume, segmentation)
        renew_density(scene, volume, quantification.labels)
    return replace(result, table=table)


def read_table(table_node: Any | None) -> tuple[TableRecord | None, tuple[str, ...]]:
    """Return (record, notices): what a table holds and what to know about it; None for no numbers.

    Unlike `table.record_from_node` this refuses nothing: a notice says what is wrong.
    """
    if table_node is None or table_node.GetNumberOfColumns() == 0:
        return None, ()
    try:
        record = record_from_node(table_node)
    except CovidLungQuantError as reason:
        return None, (str(reason),)
    warnings = (*record.warnings, *record.measurements.warnings)
    return record, tuple(dict.fromkeys(warning.message for warning in warnings))


def numbers_fit(measurements: Measurements, labels: np.ndarray, voxel_volume_ml: float) -> bool:
    """Return whether the volumes of both lungs are those of a label map (z, y, x)."""
    counts = np.bincount(labels.ravel(), minlength=HIGH_OPACITY.value + 1)
    both = measurements.region(BOTH_LUNGS_REGION)
    return all(
        math.isclose(volume_ml, counts[label.value] * voxel_volume_ml, rel_tol=1e-9, abs_tol=1e-9)
        for label, volume_ml in (
            (NORMAL_LUNG, both.normal_ml),
            (GGO, both.ggo_ml),
            (HIGH_OPACITY, both.high_opacity_ml),
        )
    )


def as_it_lies(result: SceneResult, ct: CTVolume) -> Quantification | None:
    """Return a result as it lies in the scene, where its table counts its segments as they are.

    Args:
        result: with segments and table.
        ct: the scan, as read from its volume.

    Returns:
        what was measured, with its warnings and provenance; None where the table is out of date,
        holds other numbers than counting gives, or cannot be read: measure it then.
    """
    record, _notices = read_table(result.table)
    if record is None or is_stale(result.table):
        return None
    lobes = result.read_lobes()[0] if record.measurements.lobes else None
    counted = count(ct, result.labels(), lobes)
    if counted is None or counted.measurements.regions != record.measurements.regions:
        return None
    airways_and_vessels, _warnings = result.read_airways_and_vessels()
    return replace(with_record(counted, record), airways_and_vessels=airways_and_vessels)


def with_record(measured: Quantification, record: TableRecord) -> Quantification:
    """Return `measured`, whose arrays are those of now, with what a table says of them."""
    return replace(
        measured,
        measurements=record.measurements,
        warnings=record.warnings,
        provenance=_provenance(record.provenance),
    )


def with_model_of(result: SceneResult, measured: Quantification) -> Quantification:
    """Return `measured` with the name of the network whose result it is, and what was corrected.

    What the run said of the lung network's decisions is said again: the numbers still rest on them.

    Args:
        result: as it was before `measured` is written; where its table was counted from other
            segments, or no network made these, `measured` is returned as it is.
        measured: the segments of `result`, measured as they are now.
    """
    machine_labels = result.machine_labels()
    table = result.present().table
    record, _notices = read_table(table)
    provenance = measured.provenance
    if machine_labels is None or provenance is None or record is None or record.provenance is None:
        return measured
    earlier = record.provenance
    counted_from = result_of(table)
    # Scenes of the command line do not say what a table was counted from.
    newest = (result.segmentation, table) == results_of(result.scene, result.volume)
    is_its_own = counted_from is result.segmentation or (counted_from is None and newest)
    if not is_its_own or not earlier["model_name"]:
        return measured
    changed_voxels = int((measured.labels != machine_labels).sum())
    return replace(
        measured,
        warnings=(*_lung_decisions(record.warnings, changed_voxels > 0), *measured.warnings),
        provenance=replace(
            provenance,
            model_name=earlier["model_name"],
            model_sha256=earlier["model_sha256"],
            device=earlier["device"],
            lung_model_name=earlier.get("lung_model_name"),
            lung_model_sha256=earlier.get("lung_model_sha256"),
            options={**earlier["options"], **provenance.options, "changed_voxels": changed_voxels},
            lesion_margin=earlier.get("lesion_margin"),
            review=earlier.get("review"),
        ),
    )


def _lung_decisions(warnings: Iterable[ScanWarning], corrected: bool) -> tuple[ScanWarning, ...]:
    """What an earlier count said of the lung network's decisions; as of then, once corrected."""
    told = [warning for warning in warnings if warning.code in LUNG_DECISION_CODES]
    if not corrected:
        return tuple(told)
    return tuple(
        warning
        if warning.message.startswith(AS_SEGMENTED)
        else replace(warning, message=f"{AS_SEGMENTED}{warning.message}")
        for warning in told
    )


def provenance_of(segmentation_node: Any) -> Provenance | None:
    """Return what made a segmentation before anyone corrected it; None where that is unknown."""
    text = segmentation_node.GetAttribute(PROVENANCE_ATTRIBUTE)
    return _provenance(json.loads(text)) if text else None


def _provenance(values: dict[str, Any] | None) -> Provenance | None:
    return None if values is None else Provenance(**values)
