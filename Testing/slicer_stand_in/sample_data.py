"""Stand-in for Slicer's module Sample Data: keeps what is registered and hands it to the caller.

Arguments are those of Slicer 5.12; a module that passes another fails here as there.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer


class SampleDataLogic:
    """`SampleData.SampleDataLogic`, what registering needs of it."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: list[str] | str | None = None,
        fileNames: list[str] | str | None = None,
        nodeNames: list[str] | str | None = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        """Keep a source under its category, once."""
        if len(uris) != len(fileNames):
            raise ValueError("All fields of sample data source must have the same length")
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        source = SimpleNamespace(
            sampleName=sampleName,
            uris=uris,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
        )
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if sampleName not in [known.sampleName for known in sources]:
            sources.append(source)


def make_sample_data_module() -> ModuleType:
    """Return the module `SampleData` to import."""
    module = ModuleType("SampleData", "Stand-in for 3D Slicer's Sample Data.")
    module.SampleDataLogic = SampleDataLogic
    return module
