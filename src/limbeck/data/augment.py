"""Views of the training images that change by epoch: `train: {augment: [flip, crop]}`, applied in the order given; and mixtures of views.

A view is a pure function of (seed, epoch, row), whatever the batch and whatever ran before, so that a resumed training sees the same ones. Values are
normalised (mean 0, standard deviation 1 over the training images): what a view uncovers is 0, the mean. Teacher and student see the same view (Beyer
et al., 2022, arXiv 2106.05237): a cache of the plain images would teach the answers to other pictures than the student sees, so the teacher answers
each batch anew. With `train.views: n` an epoch e shows each row's view e mod n: so many views are answered once and cached (`limbeck.distillation.teacher`).

`mixup`, last in the list, mixes the finished views (Zhang et al., 2017, arXiv 1710.09412, equation 1): x = s x_i + (1 - s) x_j with j from a
permutation of the batch and s ~ Beta(a, a), a = 0.2 (their ImageNet setting), one s a batch as in the authors' code, all a pure function of
(seed, step). The teacher answers the mixed image itself, so that a soft loss needs no mixed label; a hard loss is s of that for y_i and 1 - s of
that for y_j (`limbeck.distillation.objective`), and a row that was mixed with one without a label has none. As i and j are alike, s is taken as the larger of s
and 1 - s: the label that a batch carries is that of the better part.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from limbeck.data.randaugment import Levels, randaugment
from limbeck.data.warp import warped
from limbeck.recipe.model import Train
from limbeck.tasks import UNKNOWN, Batch, Task

Random = np.random.Generator
MARGIN = (
    1 / 8
)  # of a side, by which `crop` shifts at most (He et al., 2015, section 4.2: 4 of 32 pixels)
DEGREES = 10.0
STRENGTH = 0.2  # of the contrast, and in standard deviations of the brightness
ALPHA = 0.2  # of mixup
HOLE = 1 / 4  # of a side (DeVries and Taylor, 2017, arXiv 1708.04552)


@dataclass(frozen=True)
class Views:
    """What `names` make of a batch; `levels`: what black and white are in a normalised image; `count`: how many views a row has, None for one an
    epoch."""

    names: Sequence[str]
    seed: int
    levels: Levels
    count: int | None = None

    def __call__(self, batch: Batch, epoch: int, step: int) -> Batch:
        """The batch of a training step."""
        batch = self.view(batch, epoch % self.count if self.count else epoch)
        return (
            mixup(batch, np.random.default_rng([self.seed, step, 0, 0]))
            if MIXUP in self.names
            else batch
        )  # four: not the stream of a view

    def view(self, batch: Batch, number: int) -> Batch:
        """The batch with `pixel_values` (B, C, H, W) replaced by each row's view of that number."""
        known = changes_by_name(self.levels)
        changes = [known[name] for name in self.names if name != MIXUP]
        images = batch.inputs["pixel_values"]
        views = [
            view(image, changes, np.random.default_rng([self.seed, number, row]))
            for image, row in zip(images, batch.rows, strict=True)
        ]
        return replace(
            batch, inputs={**batch.inputs, "pixel_values": torch.stack(views)}, view=number
        )


def views(settings: Train, task: Task) -> Views | None:
    """What a recipe's `train.augment` asks for, on images as the task normalises them; None where it is empty."""
    if not settings.augment:
        return None
    mean, deviation = (
        torch.tensor(json.loads(task.preprocess)[key], dtype=torch.float32).reshape(-1, 1, 1)
        for key in ("mean", "std")
    )
    return Views(
        settings.augment,
        settings.seed,
        ((0 - mean) / deviation, (1 - mean) / deviation),
        settings.views,
    )


def view(image: torch.Tensor, changes: Sequence["Change"], random: Random) -> torch.Tensor:
    """One image (C, H, W) through the changes."""
    for change in changes:
        image = change(image, random)
    return image


def mixup(batch: Batch, random: Random) -> Batch:
    """The batch with each image mixed with another, and both their labels."""
    other, drawn = random.permutation(len(batch.rows)), random.beta(ALPHA, ALPHA)
    share = max(drawn, 1 - drawn)
    images, labels, others = batch.inputs["pixel_values"], batch.labels, batch.labels[other]
    known = (labels != UNKNOWN) & (others != UNKNOWN)
    mixed = {**batch.inputs, "pixel_values": share * images + (1 - share) * images[other]}
    return replace(
        batch,
        inputs=mixed,
        labels=labels.where(known, UNKNOWN),
        mixed=(others.where(known, UNKNOWN), share),
    )


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
    return warped(
        image, [[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0]]
    )


def brightness(image: torch.Tensor, random: Random) -> torch.Tensor:
    """Contrast times 0.8 to 1.2, then brighter or darker by up to 0.2 standard deviations."""
    contrast, shift = (
        random.uniform(1 - STRENGTH, 1 + STRENGTH),
        random.uniform(-STRENGTH, STRENGTH),
    )
    return image * contrast + shift


def cutout(image: torch.Tensor, random: Random) -> torch.Tensor:
    """A square of a quarter of the sides, around any pixel, set to the mean."""
    rows, columns = (
        slice(max(0, at - half), at + half)
        for at, half in (centre_and_half(side, random) for side in image.shape[1:])
    )
    holed = image.clone()
    holed[:, rows, columns] = 0
    return holed


def centre_and_half(side: int, random: Random) -> tuple[int, int]:
    """Any pixel of a side, and half a hole's length."""
    return int(random.integers(0, side)), max(1, round(HOLE * side / 2))


Change = Callable[[torch.Tensor, Random], torch.Tensor]
MIXUP = "mixup"


def changes_by_name(levels: Levels) -> dict[str, Change]:
    """What a recipe can name, but for `mixup`, which takes a whole batch."""
    return {
        "flip": flip, "crop": crop, "rotate": rotate, "brightness": brightness, "cutout": cutout, "randaugment": partial(randaugment, levels=levels),
    }  # fmt: skip
