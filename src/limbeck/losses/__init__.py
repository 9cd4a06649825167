"""What the student is asked to match: (student, teacher, batch) -> scalar, the mean over counted units, accumulated in float32.

`reads` names what a loss needs of the teacher ("logits", "hidden"; nothing for a hard loss). Padded units and units without a label or a teacher are
inert; where none counts, the loss is 0 and its gradient is finite. A loss that reads hidden maps owns projectors: `bind` makes them before step 0. A
temperature T may follow a schedule: see `Tempered`.
"""

from typing import ClassVar, Protocol, runtime_checkable

import torch

from limbeck.features import Outputs
from limbeck.schedules import Schedule
from limbeck.tasks import Batch


class Loss(Protocol):
    """One file, one loss."""

    reads: ClassVar[tuple[str, ...]]

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor: ...


@runtime_checkable
class FeatureLoss(Loss, Protocol):
    """A loss on hidden maps: it proposes which layers meet, and is bound to their widths before step 0."""

    pairs: list[tuple[str, str]]

    def layer_map(self, student: list[str], teacher: list[str]) -> list[tuple[str, str]]: ...

    def bind(self, pairs: list[tuple[str, str]], widths: list[tuple[int, int]]) -> None: ...


@runtime_checkable
class Tempered(Loss, Protocol):
    """A loss at a temperature: the objective sets `temperature` to what `temperatures` says of the progress before each call."""

    temperature: float
    temperatures: Schedule


def wide(values: torch.Tensor) -> torch.Tensor:
    """`values` in float32 at least: what a loss accumulates in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def softened(student: Outputs, teacher: Outputs, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(log q, log p), each (B, W, V): log softmax(logits / T) of student and teacher, the teacher detached."""
    own, theirs = wide(student.logits), wide(teacher.logits.detach())
    return torch.log_softmax(own / temperature, -1), torch.log_softmax(theirs / temperature, -1)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` (B, W) where `mask` is True; 0 with a finite gradient where it never is."""
    kept = torch.where(mask, values, torch.zeros((), dtype=values.dtype))
    return kept.sum() / mask.sum().clamp_min(1)
