"""Teaching: corrected scans for a training set, and models that go on learning from it."""

from dataclasses import replace
from pathlib import Path

from slicer.i18n import tr as _

from CovidLungQuantLib.mrml.segmentation import segmentation_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node
from CovidLungQuantLib.training.candidates import scans_in
from CovidLungQuantLib.training.dataset import (
    COVIDLUNGQUANT_LAYOUT,
    NNUNET_LAYOUT,
    case_names,
    layout_of,
    patient_count,
)
from CovidLungQuantLib.training.expected_gain import CANDIDATE, ranked_by_what_is_known
from CovidLungQuantLib.training.export import export_training_case
from CovidLungQuantLib.training.fine_tuning_effect import effect_of
from CovidLungQuantLib.training.fine_tuning_runs import fine_tunings
from CovidLungQuantPanel.logic.library import loadPipeline, slicersPython


class TeachLogic:
    """Writes cases of a training set, and starts and finds fine-tunings."""

    def __init__(self, workers):
        self._workers = workers

    def exportTrainingCase(
        self, result, datasetFolder, reader, layout, newVersion, progress, samePatientAs
    ):
        """Add a scan with its segments as they are now to a training set; return its name there."""
        with self._workers.exclusively() as worker:
            loadPipeline(progress)
            ct = ct_from_node(result.volume)
            labels, _warnings = segmentation_from_node(result.segmentation, result.volume)
            machineLabels, provenance = result.machine_labels(), result.provenance()
            return worker.compute(
                lambda report: export_training_case(
                    datasetFolder,
                    ct,
                    labels,
                    machineLabels,
                    provenance,
                    reader,
                    layout,
                    newVersion,
                    samePatientAs,
                ),
                progress,
            )

    def trainingSetLayouts(self):
        """Layouts of a training set: value → text."""
        return {COVIDLUNGQUANT_LAYOUT: _("A folder for each case"), NNUNET_LAYOUT: _("nnU-Net raw")}

    def trainingCases(self, datasetFolder):
        """Return the names of the cases in a training set; none where there is no such folder."""
        datasetFolder = Path(datasetFolder).expanduser()
        return [] if self.layoutOfTrainingSet(datasetFolder) is None else case_names(datasetFolder)

    def trainingPatientCount(self, datasetFolder):
        """Return how many patients the cases of a training set are of."""
        datasetFolder = Path(datasetFolder).expanduser()
        return patient_count(datasetFolder) if self.layoutOfTrainingSet(datasetFolder) else 0

    def layoutOfTrainingSet(self, datasetFolder):
        """Return the layout of a training set that has cases, otherwise None."""
        return layout_of(Path(datasetFolder).expanduser())

    def rankedCases(self, datasetFolder):
        """Return the cases of a training set by expected gain, from what is known; quick."""
        return ranked_by_what_is_known(Path(datasetFolder).expanduser().absolute())

    def rankTrainingSet(self, datasetFolder, device, progress, candidatesFolder):
        """Compare the shipped models on every case and candidate; return them by expected gain."""
        dataset = Path(datasetFolder).expanduser().absolute()
        candidates = scans_in(Path(candidatesFolder)) if candidatesFolder else []
        with self._workers.exclusively() as worker:
            loadPipeline(progress)
            from CovidLungQuantLib.training.model_disagreement import rank_training_set

            ranking = worker.compute(
                lambda report: rank_training_set(dataset, candidates, device, report), progress
            )
        # On pages they go without the names of their files; here these say which they are.
        names = {f"scan {number}": path.name for number, path in enumerate(candidates, start=1)}
        return [
            replace(case, name=names[case.name]) if case.state == CANDIDATE else case
            for case in ranking
        ]

    def writeTrainingSetPage(self, datasetFolder, progress):
        """Write the page of a training set from what is known; return its file."""
        dataset = Path(datasetFolder).expanduser().absolute()
        with self._workers.exclusively() as worker:
            # Not above: Slicer shows the panel before the packages for pages are installed.
            from CovidLungQuantLib.training.training_set_page import write_training_set_page

            return worker.compute(
                lambda report: write_training_set_page(dataset, ranked_by_what_is_known(dataset)),
                progress,
            )

    def fineTuningEffect(self, comparisonFile):
        """Return what a fine-tuning did, from the comparison beside the new model."""
        return effect_of(Path(comparisonFile))

    def fineTune(self, datasetFolder, model, name, device, epochs, heldBack, samePatient):
        """Let a model go on learning from a training set, in a process of its own; do not wait."""
        loadPipeline()
        from CovidLungQuantLib.training.fine_tune import start_fine_tuning

        return start_fine_tuning(
            datasetFolder,
            model,
            name,
            device=device,
            same_patient=samePatient,
            python=slicersPython(),
            held_back=heldBack,
            epochs=epochs,
        )

    def fineTunings(self):
        """Return all fine-tunings that can be told of, running or over, the newest last."""
        sound = (run for run in fine_tunings() if run.is_sound)
        return sorted(sound, key=lambda run: run.started_s)
