"""What is kept between two strokes, so that only the changed voxels have to be counted."""

from contextlib import contextmanager

from CovidLungQuantLib.measures.recount import RunningCount
from CovidLungQuantLib.mrml.table import set_correction


class Writing:
    """Whether the logic is changing the scene, so that the panel takes it for no stroke."""

    def __init__(self):
        self.isOn = False

    @contextmanager
    def __call__(self):
        """Say so during the `with` block."""
        self.isOn = True
        try:
            yield
        finally:
            self.isOn = False


class StrokeCounter:
    """The running count of one result and what was last written of it; forgotten at will."""

    def __init__(self, writing):
        self._writing = writing
        self.forget()

    def forget(self):
        """Let go of the nodes and arrays; the next stroke measures the whole scan."""
        self.quantification = None
        self._count = None
        self._result = None
        self._voxelsModified = None

    def start(self, result, quantification):
        """Be ready for the next stroke on a result that was just written; note its correction."""
        ct = quantification.ct
        hasLobes = quantification.segments is not None
        self._count = RunningCount(
            ct.hu,
            quantification.labels,
            quantification.segments if hasLobes else quantification.lungs,
            hasLobes,
            ct.geometry.spacing_mm,
            ct.geometry.voxel_volume_ml,
            result.machine_labels(),
        )
        self.quantification = quantification
        self._result = result
        self._voxelsModified = result.volume.GetImageData().GetMTime()
        with self._writing():
            set_correction(result.table, self.recount(quantification.labels).correction)

    def isOf(self, result):
        """Whether the count is of a result, whose volume still has the voxels of then."""
        return (
            self._count is not None
            and result == self._result
            and result.volume.GetImageData() is not None
            and result.volume.GetImageData().GetMTime() == self._voxelsModified
        )

    def recount(self, labels):
        """Return `measures.recount.Recounted` of a label map that differs in some voxels."""
        return self._count.recount(labels)
