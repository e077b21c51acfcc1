"""Stand-in for Slicer's module Sample Data: fetches files and loads them as the module does.

Arguments and what comes back are those of Slicer 5.12. A button of its panel calls the source's own
downloader where it has one; `downloadSample` never does, but fetches the files that it names.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from slicer.util import computeChecksum, extractAlgoAndDigest


@dataclass
class SampleDataSource:
    """What a sample consists of; every list has one entry a file."""

    sampleName: str | None = None
    uris: Any = None
    fileNames: Any = None
    nodeNames: Any = None
    checksums: Any = None
    loadFiles: Any = None
    customDownloader: Callable[[Any], Any] | None = None
    thumbnailFileName: str | None = None
    loadFileType: Any = None
    loadFileProperties: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make a list of every entry.

        Raises:
            ValueError: they are not as many as there are files.
        """
        names = ("fileNames", "nodeNames", "checksums", "loadFiles", "loadFileType")
        if isinstance(self.uris, str):
            for name in ("uris", *names):
                setattr(self, name, [getattr(self, name)])
        count = len(self.uris)
        if isinstance(self.loadFileType, str):
            self.loadFileType = [self.loadFileType] * count
        for name in names:
            if getattr(self, name) is None:
                setattr(self, name, [None] * count)
            if len(getattr(self, name)) != count:
                raise ValueError("All fields of sample data source must have the same length")


class SampleDataLogic:
    """`SampleData.SampleDataLogic`: keeps sources, fetches and loads them."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: list[str] | str | None = None,
        fileNames: list[str] | str | None = None,
        nodeNames: list[str] | str | None = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = "VolumeFile",
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        """Keep a source under its category, once."""
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileType=loadFileType,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties or {},
            checksums=checksums,
        )
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in sources:
            sources.append(source)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        """Return the source of that name."""
        for sources in slicer.modules.sampleDataSources.values():
            for source in sources:
                if source.sampleName == sampleName:
                    return source
        return None

    def downloadSample(self, sampleName: str) -> Any:
        """Fetch and load a sample; return its first node."""
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName: str) -> list[Any]:
        """Fetch and load a sample; return its nodes, none where there is no such sample."""
        source = self.sourceForSampleName(sampleName)
        return [] if source is None else self.downloadFromSource(source)

    def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
        """Fetch every file of a source; return the nodes, or the paths where none is named.

        The source's own downloader is not asked.
        """
        nodes, paths = [], []
        entries = (source.uris, source.fileNames, source.nodeNames, source.checksums)
        for uri, name, node_name, checksum in zip(*entries, strict=True):
            path = self.downloadFileIntoCache(uri, name, checksum)
            paths.append(path)
            if node_name:
                nodes.append(_load_volume(path, node_name))
        return nodes or paths

    def downloadFileIntoCache(self, uri: str, name: str, checksum: str | None = None) -> str:
        """Fetch a file unless the cache holds it with that checksum; return where it lies.

        Raises:
            ValueError: it cannot be fetched, or is another file than the checksum says.
        """
        cache = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
        cache.mkdir(parents=True, exist_ok=True)
        path = cache / name
        if path.exists() and not _is_that_file(path, checksum):
            path.unlink()
        if not path.exists():
            try:
                urllib.request.urlretrieve(uri, path)
            except OSError as error:
                raise ValueError(f"Failed to download {uri} to {path}") from error
            if not _is_that_file(path, checksum):
                path.unlink()
                raise ValueError(f"{uri} does not have the checksum {checksum}")
        return str(path)


def _is_that_file(path: Path, checksum: str | None) -> bool:
    algorithm, digest = extractAlgoAndDigest(checksum)
    return algorithm is None or computeChecksum(algorithm, str(path)) == digest


def _load_volume(path: str, name: str) -> Any:
    """Read a file into a volume without a storage node, since its file may leave the cache."""
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    if not storage.ReadData(node):
        raise ValueError(f"Load failed: {path}")
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return node


def press_button(source: SampleDataSource) -> Any:
    """What a click on the source's button in the panel of Sample Data does."""
    if source.customDownloader:
        return source.customDownloader(source)
    return SampleDataLogic().downloadFromSource(source)


def make_sample_data_module() -> ModuleType:
    """Return the module `SampleData` to import."""
    module = ModuleType("SampleData", "Stand-in for 3D Slicer's Sample Data.")
    module.SampleDataLogic = SampleDataLogic
    module.SampleDataSource = SampleDataSource
    module.downloadSample = lambda sampleName: SampleDataLogic().downloadSample(sampleName)
    module.downloadSamples = lambda sampleName: SampleDataLogic().downloadSamples(sampleName)
    return module
