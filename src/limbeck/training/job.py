"""What a training is made of: the model, what it minimises, its rows, and who watches.

The loop knows neither distillation nor bits: what it minimises is anything that gives a total and
named parts (`Minimised`), and what changes the model between steps is a listener.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from limbeck.core.events import STEP, Reporter, silent
from limbeck.models.taps import Outputs, Tap
from limbeck.recipe.model import Train
from limbeck.tasks import Batch, Encoded

# (batch in numpy arrays, generator) -> the batch to train on.
Draw = Callable[[Batch, np.random.Generator], Batch]
# (batch on the device, epoch, step) -> the batch with its images augmented.
View = Callable[[Batch, int, int], Batch]
# (batch on the device, step) -> the batch that the step learns from.
Rewrite = Callable[[Batch, int], Batch]
# (student, teacher, parts of the loss, progress) -> figures by name.
Measure = Callable[
    [Outputs, Outputs | None, Mapping[str, torch.Tensor], float],
    dict[str, float],
]
# (step, how many there are) -> its kind of work.
KindOfStep = Callable[[int, int], str]
# (step, how many there are).
BeforeStep = Callable[[int, int], None]
# Figures on validation -> what they are worth: compared as tuples are, and more is better.
Judge = Callable[[Mapping[str, float]], tuple[float, ...]]


class Minimised(Protocol):
    """What a training minimises; a module, since losses may own parameters that are trained too.

    Called with (student, teacher, batch, progress), progress in [0, 1), it gives the total, a
    scalar, and each part by name. It never reads a tensor on the host: where a part is not finite,
    it remembers so on the device, until `raise_if_diverged` is asked.
    """

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]: ...

    def raise_if_diverged(self) -> None:
        """Look at what was remembered since the last look; this waits for the device.

        Raises:
            Diverged: a part was not finite; names the first.
        """

    # As `nn.Module` has it: the optimizer trains these beside the model's.
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...


def keep_rows(batch: Batch, generator: np.random.Generator) -> Batch:
    """Every step trains on the rows as they are."""
    return batch


def keep_view(batch: Batch, epoch: int, step: int) -> Batch:
    """The rows look alike in every epoch."""
    return batch


def keep_texts(batch: Batch, step: int) -> Batch:
    """Every step learns from what the rows say."""
    return batch


def measure_nothing(
    student: Outputs,
    teacher: Outputs | None,
    parts: Mapping[str, torch.Tensor],
    progress: float,
) -> dict[str, float]:
    """Nothing is logged beside the losses."""
    return {}


def all_alike(step: int, total: int) -> str:
    """Every step is of one kind, and costs the same."""
    return STEP


def one_format(total: int) -> Sequence[int]:
    """The model is of one kind from the first step to the last."""
    return [0]


def no_teacher(batch: Batch) -> None:
    """There is none to ask."""


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """The rows, and what each step makes of them.

    encoded: every row of the split, encoded.
    padding: of each input, what fills it up to the longest row of a batch.
    draw: (batch, generator) makes of a numpy batch the one to train on (masked words, say), by a
        generator that (seed, step) alone decides.
    view: (batch, epoch, step) augments its images.
    rewrite: (batch on the device, step) may put other texts in the place of its own, such as what
        the model says as it is at that step; a function of both and of the model's weights alone.
    """

    encoded: Sequence[Encoded]
    padding: dict[str, int]
    draw: Draw = keep_rows
    view: View = keep_view
    rewrite: Rewrite = keep_texts


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What is asked at the end of every epoch.

    metrics: computes the figures by name.
    units: what asking costs, in padded tokens or images, for the time left.
    judge: says which figures are better, so that the best epoch's weights can be kept; None where
        they do not tell epochs apart.
    """

    metrics: Callable[[], dict[str, float]]
    units: float
    judge: Judge | None = None


@dataclass(frozen=True, kw_only=True)
class Watchers:
    """Who looks at a training.

    before_step: each is told (step, total) before the step runs, and may change the model.
    measure: is asked `loop.PROBES` times a training, before the pass backward, for figures to log
        beside the losses.
    diagnose: adds what it knows to the error of a loss that is not finite.
    """

    before_step: Sequence[BeforeStep] = ()
    measure: Measure = measure_nothing
    # `str()` is the empty text: nothing to add.
    diagnose: Callable[[], str] = str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training, on the device where `model` lies.

    objective: what is minimised (`Minimised`), on the same device.
    settings: the recipe's `train`.
    dtype: what matrix products are computed in.
    taps: what is read inside the model for the losses.
    teacher: answers a batch, from its cache or live; None where no loss asks it.
    watchers: who looks on.
    validation: what is asked after every epoch; None for nothing.
    kind: (step, total) -> the step's kind of work, for the time left (`core.events`).
    begins: total -> the steps at which the model takes another format, rising. None of them is
        ever left out, and only weights of the last format may be kept.
    seconds: what the training may take; no bound where None.
    tell: hears how far it is.
    """

    model: nn.Module
    # Not `Minimised`: it is a module too, and Python has no type for both at once.
    objective: Any
    rows: TrainingRows
    settings: Train
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    taps: Sequence[Tap] = ()
    teacher: Callable[[Batch], Outputs | None] = no_teacher
    watchers: Watchers = field(default_factory=Watchers)
    validation: Validation | None = None
    kind: KindOfStep = all_alike
    begins: Callable[[int], Sequence[int]] = one_format
    seconds: float | None = None
    tell: Reporter = silent
