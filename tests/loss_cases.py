"""Random students, teachers and batches for every loss of the registry, for the contract's tests and the device's.

Shapes: B rows, W units, V labels, D width, P places, N heads, C channels, S pixels a side. What labels
are drawn, and what is asked of a loss, its own class says. Losses are in eval mode: what one remembers from batch to batch stays as it is.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from limbeck.core import registry
from limbeck.losses import FeatureLoss, Loss
from limbeck.models.anatomy.attention import PROBABILITIES
from limbeck.models.taps import HIDDEN, MAPS, OF_ATTENTION, PLACES, Outputs, Tap
from limbeck.tasks import UNKNOWN, Batch

B, W, V, D = 5, 5, 4, 6
P, N, C, S = 6, 2, 3, 4
LAYERS = (0, 1)
PROGRESS = 0.5  # of the training; what follows no schedule is blind to it
NAMES = [
    name for name in registry.names("losses") if "peer" not in registry.load("losses", name).reads
]  # what runs a model: test_mutual.py
CLASSES = {name: registry.load("losses", name) for name in NAMES}
READERS = [name for name in NAMES if CLASSES[name].reads]
HARD = [name for name in NAMES if name not in READERS]
WITH_TEMPERATURE = [name for name in NAMES if "temperature" in registry.keys("losses", name)]
DIVERGENCES = [name for name in READERS if CLASSES[name].zero_at_identity]
BLIND_TO_LABELS = [name for name in READERS if CLASSES[name].labels == "none"]
NUMBERS = ("number", "similarity")  # kinds of labels that are measured

Case = tuple[Outputs, Outputs, Batch]


SHAPES: dict[str, tuple[int, ...]] = {
    HIDDEN: (B, W, D), PLACES: (B, P, D), MAPS: (B, C, S, S), **{kind: (B, N, P, D // N) for kind in OF_ATTENTION}, PROBABILITIES: (B, N, P, P),
}  # fmt: skip
PADDED: dict[str, tuple[int, ...]] = {
    HIDDEN: (1,),
    PLACES: (1,),
    MAPS: (),
    **{kind: (2,) for kind in OF_ATTENTION},
    PROBABILITIES: (2, 3),
}


class Called(torch.nn.Module):
    """A loss without parameters that is no module."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(
        self, student: Outputs, teacher: Outputs, batch: Batch, progress: float
    ) -> torch.Tensor:
        return self.loss(student, teacher, batch, progress)


def make(name: str, dtype: torch.dtype = torch.float64, **keys: float | str) -> torch.nn.Module:
    """The loss with its defaults but for `keys`, bound to two pairs of layers, or to one where it compares one."""
    torch.manual_seed(0)
    loss = registry.create("losses", name, keys)
    if isinstance(loss, FeatureLoss):
        student, teacher, _ = case(name)
        count = 1 if loss.matching.layers == 1 else len(LAYERS)
        loss.bind([(f"own.{i}", f"theirs.{i}") for i in LAYERS[:count]], student, teacher)
    module = loss if isinstance(loss, torch.nn.Module) else Called(loss)
    return module.to(dtype).eval()


def case(name: str, dtype: torch.dtype = torch.float64) -> Case:
    """Random student, teacher and batch for a loss; row 1 ends in a unit and two places that only the student lacks, row 2 in such that only the
    teacher lacks; the student lacks the whole of row 3, and the teacher that of row 4."""
    generator = torch.Generator().manual_seed(0)
    kind = CLASSES[name].labels
    width = 1 if kind == "number" else V

    def draw(*shape: int) -> torch.Tensor:
        return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)

    def inner(side: str) -> dict[Tap, torch.Tensor]:
        found = {
            Tap(kind, f"{side}.{i}"): draw(*shape) for kind, shape in SHAPES.items() for i in LAYERS
        }
        return {
            tap: value.softmax(-1) if tap.kind == PROBABILITIES else value
            for tap, value in found.items()
        }

    own, theirs = torch.ones(B, W, dtype=torch.bool), torch.ones(B, W, dtype=torch.bool)
    own_places, their_places = (
        torch.ones(B, P, dtype=torch.bool),
        torch.ones(B, P, dtype=torch.bool),
    )
    own[1, -1] = theirs[2, -1] = own[3] = theirs[4] = False
    own_places[1, -2:] = their_places[2, -2:] = own_places[3] = their_places[4] = False
    labels = torch.randint(0, V, (B, W), generator=generator)
    if kind == "set":
        labels = torch.randint(0, 2, (B, W, V), generator=generator).float()
    if kind in NUMBERS:
        labels = draw(B, W).float()
    student = Outputs(draw(B, W, width), own, inner("own"), own_places)
    teacher = Outputs(draw(B, W, width), theirs, inner("theirs"), their_places)
    return student, teacher, Batch({}, None, labels, own, np.arange(B))


def unlabelled(name: str, labels: torch.Tensor) -> torch.Tensor:
    """As many labels that say nothing."""
    return torch.full_like(labels, math.nan if CLASSES[name].labels in NUMBERS else UNKNOWN)


def kinds_read(name: str) -> set[str]:
    """The kinds of tensor that a loss compares."""
    loss = registry.create("losses", name)
    return {"logits", *(loss.kinds if isinstance(loss, FeatureLoss) else ())}


def leaves(outputs: Outputs) -> list[torch.Tensor]:
    return [outputs.logits, *outputs.inner.values()]


def mapped(outputs: Outputs, change: Callable[[torch.Tensor], torch.Tensor]) -> Outputs:
    """Every tensor changed alike."""
    return replace(
        outputs,
        logits=change(outputs.logits),
        inner={tap: change(value) for tap, value in outputs.inner.items()},
    )


def watched(outputs: Outputs) -> Outputs:
    return mapped(outputs, lambda value: value.clone().requires_grad_())
