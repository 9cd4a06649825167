"""RandAugment (Cubuk et al., 2019, arXiv 1909.13719, algorithm 1): N = 2 of 14 operations, drawn evenly, at the magnitude M = 9 of 30.

With s = M / 30, in the ranges of AutoAugment (Cubuk et al., 2018, arXiv 1805.09501, table 6) that the paper keeps:
    identity, autocontrast, equalize        no magnitude
    rotate 30 s degrees; shear_x, shear_y 0.3 s; translate_x, translate_y 0.45 s of the side (150 of 331 pixels); either way
    solarize        values from 1 - s on are inverted
    posterize       8 - 4 s bits are kept, rounded
    color, contrast, brightness, sharpness  blended with grey, the mean grey, black, a smoothed image: factor 1 + 0.9 s or 1 - 0.9 s

The arithmetic is Pillow's. Deviations: images here are normalised floats, so that the operations on values first undo that (`levels`: what black and
white have become) and clip to [0, 1]; only `equalize` and `posterize` need 256 levels, and round to them. Geometry is bilinear and about the centre,
and what it uncovers is 0, the mean of the training images, not black.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from limbeck.data.warp import warped

Random = np.random.Generator
Levels = tuple[
    torch.Tensor, torch.Tensor
]  # what black and white are in a normalised image, (C, 1, 1) each
OPERATIONS = 2
STRENGTH = 9 / 30
SMOOTH = torch.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13


def randaugment(image: torch.Tensor, random: Random, levels: Levels) -> torch.Tensor:
    """One image (C, H, W) through two operations."""
    for index in random.integers(0, len(GEOMETRY) + len(VALUES), OPERATIONS).tolist():
        sign = 1.0 if random.random() < 0.5 else -1.0
        if index < len(GEOMETRY):
            image = warped(
                image,
                list(GEOMETRY.values())[index](sign * STRENGTH, image.shape[1], image.shape[2]),
            )
        else:
            image = on_values(
                image, list(VALUES.values())[index - len(GEOMETRY)], sign * STRENGTH, levels
            )
    return image


def on_values(
    image: torch.Tensor,
    operation: Callable[[torch.Tensor, float], torch.Tensor],
    signed: float,
    levels: Levels,
) -> torch.Tensor:
    """An operation on values from 0 (black) to 1 (white)."""
    black, white = levels
    plain = ((image - black) / (white - black)).clamp(0, 1)
    return operation(plain, signed).clamp(0, 1) * (white - black) + black


def rotated(signed: float, height: int, width: int) -> list[list[float]]:
    """By up to 30 degrees."""
    angle = math.radians(30 * signed)
    return [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]


def grey(image: torch.Tensor) -> torch.Tensor:
    """Luma (1, H, W) of an image of three channels (ITU-R 601); of one channel, that."""
    weights = (
        image.new_tensor([0.299, 0.587, 0.114])
        if len(image) == 3
        else image.new_full((len(image),), 1 / len(image))
    )
    return (image * weights[:, None, None]).sum(0, keepdim=True)


def blended(degenerate: torch.Tensor, image: torch.Tensor, signed: float) -> torch.Tensor:
    """Away from a degenerate image, or towards it."""
    return degenerate + (1 + 0.9 * signed) * (image - degenerate)


def smoothed(image: torch.Tensor) -> torch.Tensor:
    """Averaged with its neighbours, but for the border."""
    found = image.clone()
    if min(image.shape[1:]) > 2:
        found[:, 1:-1, 1:-1] = functional.conv2d(
            image[:, None], SMOOTH.to(image.dtype)[None, None]
        )[:, 0]
    return found


def autocontrast(image: torch.Tensor, signed: float) -> torch.Tensor:
    """Each channel from black to white; one of a single value stays."""
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    return torch.where(high > low, (image - low) / (high - low).clamp_min(1e-12), image)


def in_bytes(image: torch.Tensor) -> torch.Tensor:
    """The nearest of 256 levels."""
    return (image * 255).round().long()


def equalize(image: torch.Tensor, signed: float) -> torch.Tensor:
    """Each channel's levels as frequent as each other, by Pillow's table."""
    return (
        torch.stack([equal_levels(channel)[channel] for channel in in_bytes(image)]).to(image.dtype)
        / 255
    )


def equal_levels(channel: torch.Tensor) -> torch.Tensor:
    """(256) the new level of each old one."""
    counts = torch.bincount(channel.flatten(), minlength=256)
    step = int(counts.sum() - counts[counts.nonzero()[-1]]) // 255
    if step == 0:
        return torch.arange(256)
    below = counts.cumsum(0) - counts
    return ((step // 2 + below) // step).clamp(max=255)


def solarize(image: torch.Tensor, signed: float) -> torch.Tensor:
    """Light values inverted."""
    return torch.where(image >= 1 - abs(signed), 1 - image, image)


def posterize(image: torch.Tensor, signed: float) -> torch.Tensor:
    """Fewer bits a value."""
    lost = 2 ** round(4 * abs(signed))
    return (in_bytes(image) // lost * lost).to(image.dtype) / 255


GEOMETRY: dict[str, Callable[[float, int, int], list[list[float]]]] = {
    "identity": lambda signed, height, width: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "rotate": rotated,
    "shear_x": lambda signed, height, width: [[1.0, 0.3 * signed, 0.0], [0.0, 1.0, 0.0]],
    "shear_y": lambda signed, height, width: [[1.0, 0.0, 0.0], [0.3 * signed, 1.0, 0.0]],
    "translate_x": lambda signed, height, width: [
        [1.0, 0.0, 0.45 * signed * width],
        [0.0, 1.0, 0.0],
    ],
    "translate_y": lambda signed, height, width: [
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.45 * signed * height],
    ],
}
VALUES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "solarize": solarize,
    "posterize": posterize,
    "color": lambda image, signed: blended(grey(image), image, signed),
    "contrast": lambda image, signed: blended(grey(image).mean(), image, signed),
    "brightness": lambda image, signed: blended(torch.zeros(()), image, signed),
    "sharpness": lambda image, signed: blended(smoothed(image), image, signed),
}
