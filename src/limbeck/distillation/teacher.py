"""The frozen teacher, asked batch by batch.

Its outputs over the training rows are computed once and kept on disk (`teacher_cache.py`). Where
`train.augment` changes the images by epoch, nothing can be kept: the teacher answers live, on the
very batch that the student reads, at the cost of its forward in every step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.models.running import autocast, run_model
from limbeck.models.taps import Outputs, Tap
from limbeck.tasks import Batch

FORWARDS = "teacher forwards"
# How often a teacher ran on a batch in this process: tests read that a cache is not made twice.
counted: dict[str, int] = {FORWARDS: 0}


def same_batch(batch: Batch) -> Batch:
    """The rows as they are, not augmented."""
    return batch


@dataclass(frozen=True)
class TeacherRequest:
    """What is wanted of a teacher, beside its logits.

    `taps`: what the losses read inside it. `dtype`: in which it multiplies. `stored`: in which the
    cache keeps what taps give, "float16" or "int8". `top`: of how many labels the cache keeps the
    logits, 0 for all. `view(batch)`: the augmented view of a batch that the teacher reads.
    """

    taps: Sequence[Tap]
    dtype: torch.dtype
    stored: str = "float16"
    top: int = 0
    view: Callable[[Batch], Batch] = same_batch


@dataclass(frozen=True)
class LiveTeacher:
    """The frozen teacher itself, for views that change by epoch. `model` is in eval mode."""

    model: nn.Module
    taps: Sequence[Tap]
    dtype: torch.dtype

    def __call__(self, batch: Batch) -> Outputs:
        """The teacher's outputs on the batch, on the device of both."""
        # Not inference mode: its tensors may not be saved for the student's pass backward.
        with torch.no_grad():
            return ask(self.model, batch, self.taps, self.dtype)


def ask(
    model: nn.Module,
    batch: Batch,
    taps: Sequence[Tap],
    dtype: torch.dtype,
) -> Outputs:
    """One forward of a teacher, on the device where model and batch lie; of a vocabulary its logits
    are left to be computed later, some units at a time."""
    counted[FORWARDS] += 1
    with autocast(batch.mask.device, dtype):
        return run_model(model, batch, taps, project_later=True)
