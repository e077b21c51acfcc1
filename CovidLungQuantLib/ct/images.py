"""Between SimpleITK's images, headers of files, and arrays (z, y, x) with a geometry."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.ct.volume import Geometry
from CovidLungQuantLib.vetting.stored_image import ImageHeader


def geometry_of_image(image: sitk.Image) -> Geometry:
    """Geometry of a 3D SimpleITK image."""
    return Geometry(
        shape=tuple(image.GetSize()[::-1]),
        spacing_mm=tuple(image.GetSpacing()),
        origin_mm=tuple(image.GetOrigin()),
        direction=np.array(image.GetDirection()).reshape(3, 3),
    )


def geometry_of_header(header: ImageHeader) -> Geometry:
    """Geometry of the first three axes of an image file."""
    width, height, depth = header.sizes[:3]
    x_mm, y_mm, z_mm = header.spacing_mm[:3]
    x0_mm, y0_mm, z0_mm = header.origin_mm[:3]
    return Geometry(
        shape=(depth, height, width),
        spacing_mm=(x_mm, y_mm, z_mm),
        origin_mm=(x0_mm, y0_mm, z0_mm),
        direction=header.direction[:3, :3],
    )


def image_on(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """SimpleITK image of an array (z, y, x) on a grid."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(np.asarray(geometry.direction, dtype=float).ravel().tolist())
    return image
