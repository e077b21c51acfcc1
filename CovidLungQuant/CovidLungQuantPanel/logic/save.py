"""Saving a result as it is now: a folder of files, DICOM SEG and SR, text for a spreadsheet."""

from dataclasses import replace
from pathlib import Path

import slicer

from CovidLungQuantLib.mrml.dicom_source import INSTANCE_UIDS_ATTRIBUTE, source_files_of
from CovidLungQuantLib.mrml.scene_result import numbers_fit, with_record
from CovidLungQuantLib.mrml.segmentation import segmentation_from_node
from CovidLungQuantLib.mrml.table import is_stale, table_text
from CovidLungQuantLib.mrml.volumes import ct_from_node, geometry_of
from CovidLungQuantLib.outputs.dicom_files import check_dicom_possible, write_dicom
from CovidLungQuantLib.outputs.dicom_source import read_source
from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder, write_results
from CovidLungQuantLib.outputs.pdf import check_pdf_possible
from CovidLungQuantLib.progress import subrange
from CovidLungQuantPanel.logic.library import loadPipeline


class SaveLogic:
    """Writes segments and numbers that fit each other; counts again first where they do not."""

    def __init__(self, workers, run, correct, counter):
        self._workers = workers
        self._run = run
        self._correct = correct
        self._counter = counter

    def tableText(self, result):
        """Return the table as text for a spreadsheet."""
        self._upToDate(result)
        return table_text(result.table)

    def saveReport(self, result, folder, overwrite, pdf, dicom, progress):
        """Write the result into a folder, as the command line does; return the files."""
        check_output_folder(folder, overwrite)
        if pdf:
            check_pdf_possible()
        files = self.dicomFiles(result.volume) if dicom else ()
        filledIn = self.checkDicom(result.volume, files) if dicom else ()
        return self._writeAsItIsNow(
            result,
            lambda quantification, report: write_results(
                folder,
                replace(quantification, warnings=(*quantification.warnings, *filledIn)),
                overwrite,
                progress=report,
                dicom_source=files,
                pdf=pdf,
            ),
            progress,
        )

    def saveDICOM(self, result, folder, overwrite, progress):
        """Write DICOM SEG and SR alone into a folder; return the files."""
        check_output_folder(folder, overwrite)
        files = self.dicomFiles(result.volume)
        self.checkDicom(result.volume, files)

        def write(quantification, report):
            with filled_folder(folder, overwrite) as unfinished:
                names = write_dicom(unfinished, quantification, files)
            return [Path(folder) / name for name in names]

        return self._writeAsItIsNow(result, write, progress)

    def isFromDicom(self, volumeNode):
        """Whether a volume was loaded from DICOM."""
        return volumeNode is not None and bool(volumeNode.GetAttribute(INSTANCE_UIDS_ATTRIBUTE))

    def dicomFiles(self, volumeNode):
        """Return the DICOM file of each slice of a volume, in their order."""
        check_dicom_possible()
        return source_files_of(volumeNode, lambda uid: slicer.dicomDatabase.fileForInstance(uid))

    def checkDicom(self, volumeNode, files):
        """Refuse headers that DICOM results cannot refer to, before any work; return warnings."""
        _source, warnings = read_source(files, geometry_of(volumeNode).spacing_mm[2])
        return warnings

    def _upToDate(self, result):
        """Return (record, labels): what a table says and the segments, which fit each other.

        Where they do not, the numbers are taken again.
        """
        labels, _warnings = segmentation_from_node(result.segmentation, result.volume)
        voxel_ml = geometry_of(result.volume).voxel_volume_ml
        record = result.record()
        if is_stale(result.table) or not numbers_fit(record.measurements, labels, voxel_ml):
            self._correct.recount(result)
            record = result.record()
        if not numbers_fit(record.measurements, labels, voxel_ml):
            self._run.measure(result)
            record = result.record()
        return record, labels

    def _writeAsItIsNow(self, result, write, progress):
        """Let `write(quantification, report)` write the result as it is now; return its result."""
        record, labels = self._upToDate(result)
        with self._workers.exclusively() as worker:
            pipeline = loadPipeline(progress)
            ct = ct_from_node(result.volume)
            lobes = result.read_lobes()[0] if record.measurements.lobes else None
            airwaysAndVessels, _warnings = result.read_airways_and_vessels()
            probability = result.lesion_probability()
            enhancement = None
            if self._counter.isOf(result):
                enhancement = self._counter.quantification.enhancement

            def work(report):
                measured = pipeline.measure(
                    ct,
                    labels,
                    subrange(report, 0.0, 0.4),
                    lobes,
                    airways_and_vessels=airwaysAndVessels,
                )
                current = replace(
                    with_record(measured, record),
                    enhancement=enhancement,
                    lesion_probability=probability,
                )
                return write(current, subrange(report, 0.4, 1.0))

            return worker.compute(work, progress)
