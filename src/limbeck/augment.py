"""Views of the training images that change by epoch: `train: {augment: [flip, crop]}`, applied in the order given.

A view is a pure function of (seed, epoch, row), whatever the batch and whatever ran before, so that a resumed training sees the same ones. Values are
normalised (mean 0, standard deviation 1 over the training images): what a view uncovers is 0, the mean. Teacher and student see the same view (Beyer
et al., 2022, arXiv 2106.05237): a cache of the plain images would teach the answers to other pictures than the student sees, so the teacher answers
each batch anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from limbeck.tasks import Batch

Random = np.random.Generator
MARGIN = 1 / 8  # of a side, by which `crop` shifts at most (He et al., 2015, section 4.2: 4 of 32 pixels)
DEGREES = 10.0
STRENGTH = 0.2  # of the contrast, and in standard deviations of the brightness
HOLE = 1 / 4  # of a side (DeVries and Taylor, 2017, arXiv 1708.04552)


def augmented(batch: Batch, names: Sequence[str], *, seed: int, epoch: int) -> Batch:
    """The batch with `pixel_values` (B, C, H, W) replaced by this epoch's views."""
    images = batch.inputs["pixel_values"]
    views = [view(image, names, np.random.default_rng([seed, epoch, row])) for image, row in zip(images, batch.rows, strict=True)]
    return replace(batch, inputs={**batch.inputs, "pixel_values": torch.stack(views)})


def view(image: torch.Tensor, names: Sequence[str], random: Random) -> torch.Tensor:
    """One image (C, H, W) through the named changes."""
    for name in names:
        image = CHANGES[name](image, random)
    return image


def flip(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Mirrored left to right, every second time."""
    return image.flip(2) if random.random() < 0.5 else image


def crop(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Shifted by up to an eighth of each side."""
    high, wide = (round(MARGIN * side) for side in image.shape[1:])
    top, left = int(random.integers(0, 2 * high + 1)), int(random.integers(0, 2 * wide + 1))
    padded = functional.pad(image, (wide, wide, high, high))
    return padded[:, top : top + image.shape[1], left : left + image.shape[2]]


def rotate(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Turned about the centre by up to 10 degrees, bilinear."""
    angle = np.deg2rad(random.uniform(-DEGREES, DEGREES))
    ratio = image.shape[1] / image.shape[2]  # a grid counts each side as 2, whatever its pixels
    turn = [[np.cos(angle), -np.sin(angle) * ratio, 0.0], [np.sin(angle) / ratio, np.cos(angle), 0.0]]
    grid = functional.affine_grid(torch.tensor([turn], dtype=image.dtype), [1, *image.shape], align_corners=False)
    return functional.grid_sample(image[None], grid, align_corners=False)[0]


def brightness(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Contrast times 0.8 to 1.2, then brighter or darker by up to 0.2 standard deviations."""
    contrast, shift = random.uniform(1 - STRENGTH, 1 + STRENGTH), random.uniform(-STRENGTH, STRENGTH)
    return image * contrast + shift


def cutout(image: torch.Tensor, random: Random) -> torch.Tensor:
    """A square of a quarter of the sides, around any pixel, set to the mean."""
    rows, columns = (slice(max(0, at - half), at + half) for at, half in (centre_and_half(side, random) for side in image.shape[1:]))
    holed = image.clone()
    holed[:, rows, columns] = 0
    return holed


def centre_and_half(side: int, random: Random) -> tuple[int, int]:
    """Any pixel of a side, and half a hole's length."""
    return int(random.integers(0, side)), max(1, round(HOLE * side / 2))


CHANGES: dict[str, Callable[[torch.Tensor, Random], torch.Tensor]] = {
    "flip": flip, "crop": crop, "rotate": rotate, "brightness": brightness, "cutout": cutout,
}  # fmt: skip
