"""RandAugment (Cubuk et al., 2019, arXiv 1909.13719, algorithm 1): N = 2 of 14 operations, drawn
evenly, at the magnitude M = 9 of 30.

With s = M / 30, in the ranges of AutoAugment (Cubuk et al., 2018, arXiv 1805.09501, table 6) that
the paper keeps:

    identity, autocontrast, equalize    no magnitude
    rotate                              30 s degrees, either way
    shear_x, shear_y                    0.3 s, either way
    translate_x, translate_y            0.45 s of the side (150 of 331 pixels), either way
    solarize                            values from 1 - s on are inverted
    posterize                           8 - 4 s bits are kept, rounded
    color, contrast, brightness,        blended with grey, the mean grey, black, or a smoothed
    sharpness                           image, by the factor 1 + 0.9 s or 1 - 0.9 s

The arithmetic is Pillow's. Deviations:
- Images here are normalised floats. Operations on values first undo that (`levels`: what black and
  white have become) and clip to [0, 1].
- Only `equalize` and `posterize` need 256 levels, and round to them.
- Geometry is bilinear and about the centre, and what it uncovers is 0, the mean of the training
  images, not black.

Shapes: C channels, H height, W width. A signed magnitude lies in [-1, 1]; its sign is the way that
an operation goes.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from limbeck.data.warp import Affine, warped
from limbeck.models.torch_batches import move

Random = np.random.Generator
Geometry = Callable[[float, int, int], Affine]
OnValues = Callable[[Tensor, float], Tensor]

# What black and what white are in a normalised image, (C, 1, 1) each.
Levels = tuple[Tensor, Tensor]

# N, and M / 30: what the paper found best for a ResNet-50 on ImageNet.
NUM_OPERATIONS = 2
STRENGTH = 9 / 30

# Luma of ITU-R 601, as Pillow makes grey of colours.
LUMA = (0.299, 0.587, 0.114)


def randaugment(
    image: Tensor,
    random: Random,
    levels: Levels,
) -> Tensor:
    """An image (C, H, W) through two operations, drawn from `random`."""
    # By place in the two tables, one after the other: 6 and 8 are the 14 operations.
    geometries = list(GEOMETRY.values())
    num_operations = len(GEOMETRY) + len(VALUES)
    for index in random.integers(0, num_operations, NUM_OPERATIONS).tolist():
        # Drawn for every operation, so that the stream does not depend on which one it is.
        sign = 1.0 if random.random() < 0.5 else -1.0
        signed = sign * STRENGTH
        if index < len(geometries):
            matrix = geometries[index](signed, image.shape[1], image.shape[2])
            image = warped(image, matrix)
        else:
            operation = list(VALUES.values())[index - len(geometries)]
            image = on_values(image, operation, signed, levels)
    return image


def on_values(
    image: Tensor,
    operation: OnValues,
    signed: float,
    levels: Levels,
) -> Tensor:
    """An operation on values from 0 (black) to 1 (white), on a normalised image."""
    black, white = levels
    plain = ((image - black) / (white - black)).clamp(0, 1)
    return operation(plain, signed).clamp(0, 1) * (white - black) + black


def identity(
    signed: float,
    height: int,
    width: int,
) -> Affine:
    """The image as it is."""
    return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def rotate(
    signed: float,
    height: int,
    width: int,
) -> Affine:
    """Turned by up to 30 degrees."""
    angle = math.radians(30 * signed)
    cosine = math.cos(angle)
    sine = math.sin(angle)
    return [[cosine, -sine, 0.0], [sine, cosine, 0.0]]


def shear_x(
    signed: float,
    height: int,
    width: int,
) -> Affine:
    """Rows shifted by up to 0.3 of their distance from the centre."""
    return [[1.0, 0.3 * signed, 0.0], [0.0, 1.0, 0.0]]


def shear_y(
    signed: float,
    height: int,
    width: int,
) -> Affine:
    """Columns shifted by up to 0.3 of their distance from the centre."""
    return [[1.0, 0.0, 0.0], [0.3 * signed, 1.0, 0.0]]


def translate_x(
    signed: float,
    height: int,
    width: int,
) -> Affine:
    """Shifted sideways by up to 0.45 of the width."""
    return [[1.0, 0.0, 0.45 * signed * width], [0.0, 1.0, 0.0]]


def translate_y(
    signed: float,
    height: int,
    width: int,
) -> Affine:
    """Shifted up or down by up to 0.45 of the height."""
    return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.45 * signed * height]]


def grey(image: Tensor) -> Tensor:
    """The luma (1, H, W) of an image of three channels; of any other number, their mean."""
    weights = torch.full((len(image),), 1 / len(image), dtype=image.dtype)
    # Other numbers of channels are no colours.
    if len(image) == 3:
        weights = torch.tensor(LUMA, dtype=image.dtype)
    by_channel = move(weights, image.device)[:, None, None]
    return (image * by_channel).sum(0, keepdim=True)


def blended(
    degenerate: Tensor,
    image: Tensor,
    signed: float,
) -> Tensor:
    """Away from a degenerate image (above 0), or towards it (below)."""
    return degenerate + (1 + 0.9 * signed) * (image - degenerate)


def color(image: Tensor, signed: float) -> Tensor:
    """More colour, or less."""
    return blended(grey(image), image, signed)


def contrast(image: Tensor, signed: float) -> Tensor:
    """Further from the mean grey, or nearer."""
    return blended(grey(image).mean(), image, signed)


def brightness(image: Tensor, signed: float) -> Tensor:
    """Further from black, or nearer."""
    return blended(image.new_zeros(()), image, signed)


def sharpness(image: Tensor, signed: float) -> Tensor:
    """Further from the smoothed image, or nearer."""
    return blended(smoothed(image), image, signed)


def smoothed(image: Tensor) -> Tensor:
    """Each pixel averaged with its neighbours, itself five times; the border stays (Pillow)."""
    result = image.clone()
    if min(image.shape[1:]) > 2:
        kernel = image.new_ones(1, 1, 3, 3)
        kernel[0, 0, 1, 1] = 5.0
        inside = functional.conv2d(image[:, None], kernel / 13)
        result[:, 1:-1, 1:-1] = inside[:, 0]
    return result


def autocontrast(image: Tensor, signed: float) -> Tensor:
    """Each channel stretched from black to white; one of a single value stays."""
    # Each channel by itself, as Pillow does.
    low = image.amin((1, 2), keepdim=True)
    high = image.amax((1, 2), keepdim=True)
    # The bound is for the branch that `where` does not take, whose 0 / 0 would be a NaN.
    stretched = (image - low) / (high - low).clamp_min(1e-12)
    return torch.where(high > low, stretched, image)


def in_bytes(image: Tensor) -> Tensor:
    """The nearest of 256 levels."""
    return (image * 255).round().long()


def equalize(image: Tensor, signed: float) -> Tensor:
    """Each channel with its levels as frequent as each other, by Pillow's table."""
    channels = [equal_levels(channel)[channel] for channel in in_bytes(image)]
    return torch.stack(channels).to(image.dtype) / 255


def equal_levels(channel: Tensor) -> Tensor:
    """(256) the new level of each old one, of a channel (H, W) of levels.

    Written without `bincount`, `nonzero` and branches, which make the host wait for a device.
    """
    flat = channel.flatten()
    counts = flat.new_zeros(256).scatter_add(0, flat, torch.ones_like(flat))
    # Pillow leaves the highest level that occurs out of the step.
    highest = counts.gather(0, flat.max().reshape(1))
    step = (counts.sum() - highest) // 255
    below = counts.cumsum(0) - counts
    # A step of 0 means too few pixels to spread; the bound keeps the unused branch from 1 / 0.
    spread = ((step // 2 + below) // step.clamp_min(1)).clamp(max=255)
    unchanged = torch.arange(256, device=channel.device)
    return torch.where(step == 0, unchanged, spread)


def solarize(image: Tensor, signed: float) -> Tensor:
    """Light values inverted."""
    return torch.where(image >= 1 - abs(signed), 1 - image, image)


def posterize(image: Tensor, signed: float) -> Tensor:
    """Fewer bits a value."""
    # What is left of 256 levels, each the lowest of `step` old ones.
    step = 2 ** round(4 * abs(signed))
    return (in_bytes(image) // step * step).to(image.dtype) / 255


# Drawn by their place in these two tables, so their order is part of every view.
GEOMETRY: dict[str, Geometry] = {
    "identity": identity,
    "rotate": rotate,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
}
VALUES: dict[str, OnValues] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "solarize": solarize,
    "posterize": posterize,
    "color": color,
    "contrast": contrast,
    "brightness": brightness,
    "sharpness": sharpness,
}
