"""What the student is asked to match: (student, teacher, batch) -> scalar, the mean over counted units, accumulated in float32.

`reads` names what a loss needs of the teacher ("logits", kinds of `features.Tap`; nothing for a hard loss). Padded units and places, and units
without a label or a teacher, are inert; where none counts, the loss is 0 and its gradient is finite. A loss that reads inner tensors is bound to both
models' before step 0; it may own projectors, which are trained and checkpointed with it and are no part of the student: none is exported. A
temperature T may follow a schedule: see `Tempered`.
"""

from typing import ClassVar, Protocol, runtime_checkable

import torch

from limbeck.core.schedules import Schedule
from limbeck.losses._matching import Matching
from limbeck.models.taps import Outputs
from limbeck.tasks import Batch


class Loss(Protocol):
    """One file, one loss."""

    reads: ClassVar[tuple[str, ...]]

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch) -> torch.Tensor: ...


@runtime_checkable
class FeatureLoss(Loss, Protocol):
    """A loss on inner tensors: of each pair of layers it reads `kinds`; `matching` proposes the pairs. It is bound to both models' outputs on a few
    rows before step 0, whose shapes it checks."""

    kinds: tuple[str, ...]
    matching: Matching
    pairs: list[tuple[str, str]]

    def bind(self, pairs: list[tuple[str, str]], student: Outputs, teacher: Outputs) -> None: ...


@runtime_checkable
class PeerLoss(Loss, Protocol):
    """A loss of two that learn together: it owns a copy of the teacher, which learns by the task's hard loss too. The objective calls `at` with the
    progress before each call."""

    def bind_peer(self, model: torch.nn.Module, hard: Loss) -> None: ...

    def at(self, progress: float) -> None: ...


@runtime_checkable
class Tempered(Loss, Protocol):
    """A loss at a temperature: the objective sets `temperature` to what `temperatures` says of the progress before each call."""

    temperature: float
    temperatures: Schedule


def wide(values: torch.Tensor) -> torch.Tensor:
    """`values` in float32 at least: what a loss accumulates in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def softened(
    student: Outputs, teacher: Outputs, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log q, log p), each (B, W, V): log softmax(logits / T) of student and teacher, the teacher detached."""
    own, theirs = wide(student.logits), wide(teacher.logits.detach())
    return torch.log_softmax(own / temperature, -1), torch.log_softmax(theirs / temperature, -1)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` (B, W) where `mask` is True; 0 with a finite gradient where it never is."""
    kept = torch.where(mask, values, torch.zeros((), dtype=values.dtype))
    return kept.sum() / mask.sum().clamp_min(1)


def projector(own_width: int, their_width: int) -> torch.nn.Linear:
    """A linear layer without bias from the student's width to the teacher's, which starts as the identity where they agree."""
    made = torch.nn.Linear(own_width, their_width, bias=False)
    if own_width == their_width:
        torch.nn.init.eye_(made.weight)
    return made


def counted(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(N, D) the units of `values` (B, W, D) where `mask` (B, W) is True, in float32 at least, for a loss that compares units of a batch."""
    return wide(values)[mask]


def pairs(
    student: Outputs, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The units 0 and 1 of a row are a pair, then 2 and 3: (B, P, D) the first vectors and the second, (B, P) where both count, and the labels of the
    first."""
    first, second = (slice(start, student.logits.shape[1] // 2 * 2, 2) for start in (0, 1))
    logits, mask = wide(student.logits), student.mask
    return (
        logits[:, first],
        logits[:, second],
        mask[:, first] & mask[:, second],
        batch.labels[:, first],
    )


def rows_that_count(student: Outputs, teacher: Outputs) -> torch.Tensor:
    """(B) the rows of which both sides count a unit."""
    return (student.mask & teacher.mask).any(1)


def same_size(first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
    """Maps (B, C, H, W), each averaged to the smaller of both heights and widths."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    return [torch.nn.functional.adaptive_avg_pool2d(maps, size) for maps in (first, second)]
