"""Views of the training images that change by epoch: `train: {augment: [flip, crop]}`, applied in
the order given; and mixtures of views.

A view is a pure function of (seed, epoch, row), whatever the batch, the process or the device, and
whatever ran before, so that a resumed training sees the same ones. Images are normalised (mean 0,
standard deviation 1 over the training images): what a view uncovers is 0, the mean.

Teacher and student see the same view (Beyer et al., 2022, arXiv 2106.05237): a cache of answers to
the plain images would belong to other pictures than the student sees, so the teacher answers each
batch anew. With `train.views: n` an epoch e shows each row's view e mod n, and the answers to so
many views are cached (`limbeck.distillation.teacher_cache`).

`mixup`, last in the list, mixes the finished views of a batch (Zhang et al., 2017, arXiv
1710.09412, equation 1):

    x = s x_i + (1 - s) x_j        s ~ Beta(a, a), j by a permutation of the batch's rows

with a = 0.2, their ImageNet setting, and one s a batch as in the authors' code: a pure function of
(seed, step) and of which rows make the batch, in which order. So it takes the whole batch, before
the batch is shared between processes. The teacher answers the mixed image itself, so that a soft
loss needs no mixed label; a hard loss is s of that for y_i and 1 - s of that for y_j
(`limbeck.distillation.objective`), and a row that was mixed with one without a label has none.

Shapes: B rows, C channels, H height, W width.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from limbeck.data.randaugment import Levels, Random, randaugment
from limbeck.data.warp import warped
from limbeck.models.torch_batches import move
from limbeck.recipe.model import Train
from limbeck.tasks import UNKNOWN, Batch, Task

Change = Callable[[Tensor, Random], Tensor]

MIXUP = "mixup"

# Of a side, by which `crop` shifts at most: 4 of 32 pixels (He et al., 2015, section 4.2).
MARGIN = 1 / 8

# By which `rotate` turns at most: an upright object still looks upright.
DEGREES = 10.0

# Of the contrast, and in standard deviations of the brightness.
STRENGTH = 0.2

# The side of `cutout`'s hole, in sides of the image (DeVries and Taylor, 2017, arXiv 1708.04552,
# where it was tuned for each data set).
HOLE = 1 / 4

# Both parameters of mixup's Beta distribution.
ALPHA = 0.2


@dataclass(frozen=True)
class Views:
    """Makes the views of a batch.

    `names`: the changes, in order. `seed`: of all that is drawn. `levels`: what black and white are
    in a normalised image. `count`: how many views a row has in all; None for one an epoch.
    """

    names: Sequence[str]
    seed: int
    levels: Levels
    count: int | None = None
    # The levels on each device that images came on: copied once, not in every step.
    levels_by_device: dict[torch.device, Levels] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __call__(
        self,
        batch: Batch,
        epoch: int,
        step: int,
    ) -> Batch:
        """The batch of a training step: each row's view in this epoch, mixed where `names` say so.

        `batch` holds all rows of the step, in tensors on any device.
        """
        batch = self.view(batch, epoch % self.count if self.count else epoch)
        if MIXUP not in self.names:
            return batch
        # Four numbers, so that the stream is that of no view.
        random = np.random.default_rng([self.seed, step, 0, 0])
        return mixup(batch, random)

    def view(self, batch: Batch, number: int) -> Batch:
        """The batch with each row's image in `pixel_values` (B, C, H, W) replaced by its view of
        that number."""
        images = batch.inputs["pixel_values"]
        known = changes_by_name(self.levels_on(images.device))
        changes = [known[name] for name in self.names if name != MIXUP]
        # One generator a row: what a row draws must not depend on the rows before it.
        views = []
        for image, row in zip(images, batch.rows, strict=True):
            random = np.random.default_rng([self.seed, number, row])
            views.append(view(image, changes, random))
        inputs = {**batch.inputs, "pixel_values": torch.stack(views)}
        return replace(batch, inputs=inputs, view=number)

    def levels_on(self, device: torch.device) -> Levels:
        """The levels on the device of the images."""
        if device not in self.levels_by_device:
            self.levels_by_device[device] = move(self.levels, device)
        return self.levels_by_device[device]


def views(settings: Train, task: Task) -> Views | None:
    """What a recipe's `train.augment` asks for, on images as the task normalises them; None where
    it asks for nothing."""
    if not settings.augment:
        return None
    preprocess = json.loads(task.preprocess)
    mean = torch.tensor(preprocess["mean"], dtype=torch.float32).reshape(-1, 1, 1)
    std = torch.tensor(preprocess["std"], dtype=torch.float32).reshape(-1, 1, 1)
    # Black is 0 and white is 1 before the task normalises them.
    levels = ((0 - mean) / std, (1 - mean) / std)
    return Views(settings.augment, settings.seed, levels, settings.views)


def view(
    image: Tensor,
    changes: Sequence[Change],
    random: Random,
) -> Tensor:
    """One image (C, H, W) through the changes."""
    for change in changes:
        image = change(image, random)
    return image


def mixup(batch: Batch, random: Random) -> Batch:
    """The batch with each image mixed with another's, and the labels of both.

    `Batch.labels` are those of the image with the larger share, `Batch.mixed` holds the other's
    labels and that share. A row of which one label is unknown has neither.
    """
    partners = random.permutation(len(batch.rows))
    drawn = random.beta(ALPHA, ALPHA)
    # Rows and partners are alike, so the larger share may be the row's own: what a label of the
    # batch says is then more right than wrong.
    share = max(drawn, 1 - drawn)
    # 1. Images. Indices on their device: an index from the host would make it wait.
    images = batch.inputs["pixel_values"]
    order = move(torch.from_numpy(partners), images.device)
    mixed_images = share * images + (1 - share) * images[order]
    # 2. Labels.
    labels = batch.labels
    others = labels[order]
    known = (labels != UNKNOWN) & (others != UNKNOWN)
    return replace(
        batch,
        inputs={**batch.inputs, "pixel_values": mixed_images},
        labels=labels.where(known, UNKNOWN),
        mixed=(others.where(known, UNKNOWN), share),
    )


def flip(image: Tensor, random: Random) -> Tensor:
    """Mirrored left to right, every second time."""
    return image.flip(2) if random.random() < 0.5 else image


def crop(image: Tensor, random: Random) -> Tensor:
    """Shifted by up to an eighth of each side."""
    height, width = image.shape[1:]
    margin_y = round(MARGIN * height)
    margin_x = round(MARGIN * width)
    top = int(random.integers(0, 2 * margin_y + 1))
    left = int(random.integers(0, 2 * margin_x + 1))
    # Padded all around and cut out again: a shift by up to the margin, either way.
    padded = functional.pad(image, (margin_x, margin_x, margin_y, margin_y))
    return padded[:, top : top + height, left : left + width]


def rotate(image: Tensor, random: Random) -> Tensor:
    """Turned about the centre by up to 10 degrees, bilinear."""
    angle = np.deg2rad(random.uniform(-DEGREES, DEGREES))
    cosine = np.cos(angle)
    sine = np.sin(angle)
    return warped(image, [[cosine, -sine, 0.0], [sine, cosine, 0.0]])


def brightness(image: Tensor, random: Random) -> Tensor:
    """Contrast times 0.8 to 1.2, then brighter or darker by up to 0.2 standard deviations."""
    contrast = random.uniform(1 - STRENGTH, 1 + STRENGTH)
    shift = random.uniform(-STRENGTH, STRENGTH)
    return image * contrast + shift


def cutout(image: Tensor, random: Random) -> Tensor:
    """A square of a quarter of the sides, around any pixel, set to the mean."""
    height, width = image.shape[1:]
    rows = hole(height, random)
    columns = hole(width, random)
    holed = image.clone()
    holed[:, rows, columns] = 0
    return holed


def hole(side: int, random: Random) -> slice:
    """Where a hole lies on a side: around any pixel, so part of it may fall outside."""
    centre = int(random.integers(0, side))
    half = max(1, round(HOLE * side / 2))
    return slice(max(0, centre - half), centre + half)


def changes_by_name(levels: Levels) -> dict[str, Change]:
    """What a recipe can name, but for `mixup`, which takes a whole batch."""
    return {
        "flip": flip,
        "crop": crop,
        "rotate": rotate,
        "brightness": brightness,
        "cutout": cutout,
        "randaugment": partial(randaugment, levels=levels),
    }
