"""The CT out of a scene file (.mrb) that was written with a result; needs no Slicer."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree

from CovidLungQuantLib.ct import CTVolume, read_ct
from CovidLungQuantLib.errors import BadInputError, CovidLungQuantError
from CovidLungQuantLib.files.disk import writing_error
from CovidLungQuantLib.vetting.limits import MOST_VOXEL_BYTES
from CovidLungQuantLib.vetting.regular_file import LARGEST_TEXT_BYTES

STORAGE_ROLE = "storage"


def read_ct_of_scene(path: Path | str) -> CTVolume:
    """Read the first volume of a scene, which is the CT wherever this software wrote it.

    Raises:
        BadInputError: it is no scene, it holds no CT, or the CT cannot be measured.
        OutOfResourcesError: the disk or the memory does not hold it.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            name, member = _first_volume(archive)
            if archive.getinfo(member).file_size > MOST_VOXEL_BYTES:
                raise ValueError(member)
            with tempfile.TemporaryDirectory() as folder:
                # A name of ours: that of the archive might lead anywhere.
                file = Path(folder) / f"ct{PurePosixPath(member).suffix}"
                try:
                    with archive.open(member) as packed, file.open("wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked)
                except OSError as error:
                    raise writing_error(error, file) from error
                return replace(read_ct(file), name=name)
    except CovidLungQuantError:
        raise
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        ElementTree.ParseError,
    ) as error:
        raise BadInputError(
            f"The CT in {path.name} cannot be read; name the scan itself with --ct."
        ) from error


def _first_volume(archive: zipfile.ZipFile) -> tuple[str, str]:
    """Return (name, member of the archive) of the first volume; raises KeyError without one."""
    scene_file = next(name for name in [*archive.namelist(), None] if _is_scene(name))
    if scene_file is None or archive.getinfo(scene_file).file_size > LARGEST_TEXT_BYTES:
        raise KeyError(scene_file)
    scene = ElementTree.fromstring(archive.read(scene_file))
    volume = scene.find("Volume")
    if volume is None:
        raise KeyError("Volume")
    references = dict(
        reference.partition(":")[::2] for reference in volume.attrib["references"].split(";")
    )
    for node in scene.iter("VolumeArchetypeStorage"):
        if node.attrib["id"] == references[STORAGE_ROLE]:
            file = PurePosixPath(scene_file).parent / unquote(node.attrib["fileName"])
            return volume.attrib["name"], str(file)
    raise KeyError(STORAGE_ROLE)


def _is_scene(name: str | None) -> bool:
    return name is None or name.endswith(".mrml")
