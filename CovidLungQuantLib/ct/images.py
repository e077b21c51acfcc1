"""Between SimpleITK's images and arrays (z, y, x) with a geometry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.ct.volume import Geometry
from CovidLungQuantLib.errors import BadInputError


def geometry_of_image(image: sitk.Image) -> Geometry:
    """Geometry of a 3D SimpleITK image."""
    return Geometry(
        shape=tuple(image.GetSize()[::-1]),
        spacing_mm=tuple(image.GetSpacing()),
        origin_mm=tuple(image.GetOrigin()),
        direction=np.array(image.GetDirection()).reshape(3, 3),
    )


def image_on(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """SimpleITK image of an array (z, y, x) on a grid."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(np.asarray(geometry.direction, dtype=float).ravel().tolist())
    return image


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's and GDCM's own warnings off the terminal."""
    was_shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(was_shown)


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write an array (z, y, x) in the format that the suffix says, whole or not at all.

    Raises:
        BadInputError: it cannot be written there.
    """
    # Under another name until it is complete; the suffix, which says the format, is kept.
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image_on(array, geometry), str(unfinished), useCompression=True)
        unfinished.rename(path)
    except (OSError, RuntimeError) as error:
        raise BadInputError(
            f"{path.name} cannot be written there; choose another folder or free some space."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
