"""Random changes to training samples that imitate other scanners, patients and positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# About −860 HU on the default window (CLINICAL range −870…−830).
NORMAL_LUNG_SCALED = 0.1
# −20 HU on that window: blood without contrast medium lies above, fat and lung below.
CONTRAST_ABOVE_SCALED = 0.62


@dataclass(frozen=True)
class AugmentationConfig:
    """How far to go; geometry defaults are those of Grodecki et al. 2021.

    Attributes:
        rotation_degrees, translation_pixels, scale_range: in-plane geometry.
        flip: mirror left and right.
        crop_size: height and width of a random crop; None trains on whole slices.
        hu_shift, hu_gain: HU calibration, largest change as share of the HU window, and as factor.
        noise: largest SD of added noise, as share of the HU window.
        sharpness: largest strength of unsharp masking (positive) or blurring (negative).
        thickness: largest share of its neighbours mixed into a slice, as thicker slices do.
        contrast: largest factor, less one, by which tissue denser than `CONTRAST_ABOVE_SCALED` is
            stretched, as contrast medium does.
        lesion_fade: range of how far lesions fade into the normal lung around them (1 is wholly;
            below 0 they grow denser), so that fainter and denser disease than the few cases' is
            seen.
    """

    rotation_degrees: float = 10.0
    translation_pixels: float = 10.0
    scale_range: tuple[float, float] = (0.9, 1.05)
    flip: bool = True
    crop_size: int | None = None
    hu_shift: float = 0.02
    hu_gain: float = 0.05
    noise: float = 0.02
    sharpness: float = 0.7
    thickness: float = 0.0
    contrast: float = 0.0
    lesion_fade: tuple[float, float] = (0.0, 0.0)


def augment(
    slices: Tensor,
    targets: Tensor,
    lesions: Tensor,
    config: AugmentationConfig,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Change one sample; the same change for all its slices.

    Args:
        slices: float32 (slices, channels, size, size) in 0…1.
        targets: float32 (windows, channels, size, size).
        lesions: float32, shape of `slices`, share of lesion of any kind.
        config: how far to go.
        random: source of randomness.
    """
    if config.lesion_fade != (0.0, 0.0):
        slices = _fade_lesions(slices, lesions, random.uniform(*config.lesion_fade))
    grid = _affine_grid(slices.shape[-1], config, random, slices.device)
    shape = slices.shape[:2]
    slices = functional.grid_sample(
        slices.flatten(0, 1)[None], grid, padding_mode="zeros", align_corners=False
    )
    slices = slices[0].unflatten(0, shape)
    outside = 1.0 - functional.grid_sample(
        torch.ones_like(targets[None, 0, :1]), grid, align_corners=False
    )
    flat = targets.flatten(0, 1)[None]
    moved = functional.grid_sample(flat, grid, align_corners=False)[0]
    moved = moved.unflatten(0, targets.shape[:2])
    moved[:, 0] += outside[0]
    if config.thickness:
        slices = _thicken(slices, random.uniform(0.0, config.thickness))
    if config.contrast:
        slices = _enhance(slices, 1.0 + random.uniform(0.0, config.contrast))
    return _change_intensity(slices, config, random), moved


def _thicken(slices: Tensor, share: float) -> Tensor:
    """Mix the mean of its neighbours into every slice; channels are neighbouring slices."""
    above = torch.cat([slices[:, :1], slices[:, :-1]], dim=1)
    below = torch.cat([slices[:, 1:], slices[:, -1:]], dim=1)
    return torch.lerp(slices, (above + below) / 2.0, share)


def _enhance(slices: Tensor, factor: float) -> Tensor:
    """Stretch what is denser than fat and lung by `factor`."""
    return slices + (factor - 1.0) * (slices - CONTRAST_ABOVE_SCALED).clamp_min(0.0)


def _fade_lesions(slices: Tensor, lesions: Tensor, share: float) -> Tensor:
    """Move lesions towards normal lung by `share`, with soft edges."""
    soft = functional.avg_pool2d(lesions, 5, stride=1, padding=2)
    return (slices + share * soft * (NORMAL_LUNG_SCALED - slices)).clamp(0.0, 1.0)


def _affine_grid(
    size: int, config: AugmentationConfig, random: np.random.Generator, device: torch.device
) -> Tensor:
    """Where each pixel of the result comes from; a crop is a smaller result at the same scale."""
    crop = config.crop_size or size
    angle = math.radians(random.uniform(-config.rotation_degrees, config.rotation_degrees))
    scale = 1.0 / random.uniform(*config.scale_range)
    mirror = -1.0 if config.flip and random.random() < 0.5 else 1.0
    reach = config.translation_pixels + (size - crop) / 2.0
    shift = random.uniform(-reach, reach, 2) * 2.0 / size
    scale = scale * crop / size
    matrix = torch.tensor(
        [
            [mirror * scale * math.cos(angle), -scale * math.sin(angle), shift[0]],
            [mirror * scale * math.sin(angle), scale * math.cos(angle), shift[1]],
        ],
        dtype=torch.float32,
    ).to(device)
    return functional.affine_grid(matrix[None], [1, 1, crop, crop], align_corners=False)


def _change_intensity(
    slices: Tensor, config: AugmentationConfig, random: np.random.Generator
) -> Tensor:
    strength = random.uniform(-config.sharpness, config.sharpness)
    blurred = functional.avg_pool2d(slices, 3, stride=1, padding=1)
    slices = slices + strength * (slices - blurred)
    gain = 1.0 + random.uniform(-config.hu_gain, config.hu_gain)
    slices = slices * gain + random.uniform(-config.hu_shift, config.hu_shift)
    noise = _noise(slices, random)
    return (slices + noise * random.uniform(0.0, config.noise)).clamp_(0.0, 1.0)


def _noise(slices: Tensor, random: np.random.Generator) -> Tensor:
    """White noise of SD 1; a device other than the CPU draws its own, from a seed of `random`."""
    if slices.device.type == "cpu":
        return torch.from_numpy(random.standard_normal(tuple(slices.shape), dtype=np.float32))
    source = torch.Generator(slices.device).manual_seed(int(random.integers(2**62)))
    return torch.randn(slices.shape, generator=source, device=slices.device)
