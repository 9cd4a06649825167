"""What the student is asked to match: (student, teacher, batch, progress) -> scalar.

Shapes: B rows, W units of a row (its words, or the one text or image), V labels, D width of a
hidden map, C channels, P places (tokens), K slots of a loss that compares units with one another.

A loss is a pure function of its arguments: its value is the mean over the units that count, in
float32 at least, and `progress`, from 0 to 1, is the share of the training that is done. A
schedule (of a temperature) is read at `progress` inside the call; nothing is set from outside.

- `reads` names what a loss needs of the teacher: "logits", kinds of `models.taps.Tap`, or
  nothing for a hard loss, which compares the student with the labels.
- What else a recipe and the tests of the contract have to know, the loss's class says; `PlainLoss`
  says it for most. No list of losses is kept anywhere.
- Padded units, and units without a label or without a teacher's answer, change nothing. Where no
  unit counts, the loss is 0 and its gradient is finite.
- A training step must not make the host wait for the device. So shapes are fixed: what does not
  count is set to 0 by a mask, never cut away (`values[mask]` has to be told how many are left).
- A loss whose value is a mean over units of what each gives by itself is a `UnitLoss`, which large
  vocabularies need: it alone is computed without the logits of a whole batch.
- A loss may own parameters: projectors from the student's width to the teacher's. They are
  trained and checkpointed with it, and are no part of the student: none is exported.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.losses._matching import LayerPairs, Matching
from limbeck.models.taps import Outputs, Tap
from limbeck.tasks import Batch

# What the labels are that a loss reads.
#   none        it reads none
#   index       (B, W) int64: one of V labels, UNKNOWN where there is none
#   set         (B, W, V) float32: 1 for each label that the unit has, 0 for the others, or UNKNOWN
#   number      (B, W) float32, NaN where there is none; the logits are (B, W, 1)
#   similarity  as `number`, of a pair at the first of its two units, whose logits are vectors
LabelKind = Literal["none", "index", "set", "number", "similarity"]


# What a loss may read of the teacher: its logits, the kinds of `models.taps`, and of a teacher that
# learns along all that it is.
Read = Literal[
    "logits", "hidden", "places", "maps", "attention", "queries", "keys", "values", "peer"
]


class Loss(Protocol):
    """One file of this folder, one loss. The constructor's arguments are its recipe keys.

    `reads`: what it needs of the teacher, as above.
    `labels`: what labels it reads. A soft loss reads "none": rows without a label teach in full.
    `likelihoods`: of a loss on the teacher's logits alone, the tasks that it is for, by what their
    logits mean (`tasks.likelihood`). A recipe of another task is refused.
    `zero_at_identity`: whether a soft loss is 0 where the student is as the teacher is.

    A `PlainLoss` also says, by `other_vocabulary`, whether it compares models whose labels are the
    tokens of two tokenizers.
    """

    reads: ClassVar[tuple[Read, ...]]
    labels: ClassVar[LabelKind]
    likelihoods: ClassVar[tuple[str, ...]]
    zero_at_identity: ClassVar[bool]

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor: ...


class PlainLoss:
    """What most losses are: soft, 0 at identity, for one label of several, and of two models that
    answer in the same labels. A loss that is otherwise says so in its class."""

    labels: ClassVar[LabelKind] = "none"
    likelihoods: ClassVar[tuple[str, ...]] = ("categorical",)
    zero_at_identity: ClassVar[bool] = True
    other_vocabulary: ClassVar[bool] = False


class UnitLoss(PlainLoss, nn.Module, ABC):
    """A loss that is the mean, over the units that count, of what each unit's own logits give.

    Over a vocabulary such losses are computed some units at a time (`distillation.fused`), so that
    no logits of a whole batch are needed. They compare neither units nor rows with one another, and
    remember nothing.

    A soft one (`reads`) counts units that count in both models, a hard one those with a label.
    """

    reads: ClassVar[tuple[str, ...]]

    @abstractmethod
    def of_units(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """(B, W) what each unit gives, in the loss's unit; anything where it does not count."""

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        batch: Batch,
        progress: float,
    ) -> Tensor:
        """The mean over the units that count."""
        values = self.of_units(student, teacher, batch, progress)
        is_counted = counted(self, student.mask, teacher.mask, batch.labels)
        return masked_mean(values, is_counted)


def counted(
    loss: UnitLoss,
    student_mask: Tensor,
    teacher_mask: Tensor,
    labels: Tensor,
) -> Tensor:
    """(B, W) True for the units that count in a `UnitLoss`, of two models' masks (B, W)."""
    # UNKNOWN is below 0.
    return student_mask & (teacher_mask if loss.reads else labels >= 0)


@runtime_checkable
class FeatureLoss(Loss, Protocol):
    """A loss on tensors inside both models.

    `kinds`: the kinds of tensor that it reads of each pair of layers. `matching`: how pairs of
    (student's layer, teacher's layer) are proposed. `pairs`: the pairs that it compares.

    `bind` is called once, before step 0, with both models' outputs on a few rows: it takes the
    pairs, checks that their shapes fit, and makes the projectors that the loss owns from then on.
    It raises ValueError where shapes do not fit.
    """

    kinds: tuple[str, ...]
    matching: Matching
    pairs: LayerPairs

    def bind(
        self,
        pairs: LayerPairs,
        student: Outputs,
        teacher: Outputs,
    ) -> None: ...


@runtime_checkable
class PeerLoss(Loss, Protocol):
    """A loss of two models that learn together.

    `bind_peer` is called once, before step 0. From then on the loss owns `model`, a copy of the
    teacher, which is trained along, also by `hard`, the task's own loss.
    """

    def bind_peer(
        self,
        model: nn.Module,
        hard: Loss,
    ) -> None: ...


class PairedUnits(NamedTuple):
    """The units of rows whose units 0 and 1 are a pair, then 2 and 3: `first` and `second` are
    (B, W / 2, D); `mask` (B, W / 2) is True where both count; `labels` are the first unit's."""

    first: Tensor
    second: Tensor
    mask: Tensor
    labels: Tensor


def wide(values: Tensor) -> Tensor:
    """`values` in float32 at least: what a loss accumulates in."""
    # Promoted, not cast: what comes in float64 (a test's reference) is computed in float64.
    dtype = torch.promote_types(values.dtype, torch.float32)
    return values.to(dtype)


def softened(
    student: Outputs,
    teacher: Outputs,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """(log q, log p), each (B, W, V): log softmax(logits / temperature) of the student and of the
    teacher, through which no gradient flows."""
    student_logits = wide(student.logits)
    teacher_logits = wide(teacher.logits.detach())
    # Not the logarithm of a softmax, which is -inf for labels far behind.
    log_q = torch.log_softmax(student_logits / temperature, -1)
    log_p = torch.log_softmax(teacher_logits / temperature, -1)
    return log_q, log_p


def matched(
    kind: str,
    pairs: LayerPairs,
    student: Outputs,
    teacher: Outputs,
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each pair of layers, the student's tensor of this `kind` and the teacher's, in float32
    at least; no gradient flows through the teacher's."""
    for student_layer, teacher_layer in pairs:
        student_values = student.inner[Tap(kind, student_layer)]
        teacher_values = teacher.inner[Tap(kind, teacher_layer)]
        yield wide(student_values), wide(teacher_values.detach())


def zero_where_not(
    mask: Tensor,
    values: Tensor,
) -> Tensor:
    """`values` where `mask`, which broadcasts with them, is True; 0 elsewhere, without gradient."""
    # A Python 0 in torch.where is copied to the device in every call, and the host waits for it.
    return torch.where(mask, values, values.new_zeros(()))


def masked_mean(
    values: Tensor,
    mask: Tensor,
) -> Tensor:
    """Mean of `values` where `mask`, of the same shape, is True; 0 with a finite gradient where it
    never is."""
    # A mask, not a slice: the shape stays, and what does not count gets the gradient 0.
    total = zero_where_not(mask, values).sum()
    return total / mask.sum().clamp_min(1)


def weights_buffer(weights: list[float] | None) -> Tensor | None:
    """Weights of labels as a buffer of a loss, which moves to the device with it; None for none."""
    return None if weights is None else nn.Buffer(torch.tensor(weights))


def as_logits(
    weights: Tensor | None,
    logits: Tensor,
) -> Tensor | None:
    """Weights of labels in the type that the logits are computed in."""
    return None if weights is None else weights.to(logits.dtype)


def make_projector(
    student_width: int,
    teacher_width: int,
) -> nn.Linear:
    """A linear layer without bias from the student's width to the teacher's, which starts as the
    identity where they agree."""
    projector = nn.Linear(student_width, teacher_width, bias=False)
    # Of a student cut out of its teacher the maps fit at once; a random start would undo that.
    if student_width == teacher_width:
        nn.init.eye_(projector.weight)
    return projector


def flat_units(
    values: Tensor,
    mask: Tensor,
) -> Tensor:
    """(B * W, D) the units of `values` (B, W, D), in float32 at least, for a loss that compares
    the units of a batch with one another; 0 where `mask` (B, W) is False."""
    counted = zero_where_not(mask.unsqueeze(-1), wide(values))
    return counted.flatten(0, 1)


def index_of_true(
    mask: Tensor,
    numbers: Tensor,
) -> Tensor:
    """(K) where in `mask` (N) its True values of these `numbers` (K) stand, counted from 0.

    Where there are fewer, the last index: the caller masks it.

    >>> index_of_true(torch.tensor([False, True, False, True]), torch.tensor([0, 1]))
    tensor([1, 3])
    """
    counts = mask.cumsum(0)
    # The first index up to which there are as many True values.
    found = torch.searchsorted(counts, numbers + 1)
    return found.clamp_max(len(mask) - 1)


def paired_units(
    student: Outputs,
    batch: Batch,
) -> PairedUnits:
    """A batch's pairs of units; a last unit without a partner is left out."""
    end = student.logits.shape[1] // 2 * 2
    first = slice(0, end, 2)
    second = slice(1, end, 2)
    logits = wide(student.logits)
    mask = student.mask[:, first] & student.mask[:, second]
    return PairedUnits(
        first=logits[:, first],
        second=logits[:, second],
        mask=mask,
        labels=batch.labels[:, first],
    )


def rows_that_count(
    student: Outputs,
    teacher: Outputs,
) -> Tensor:
    """(B) True for the rows of which both models count a unit."""
    # A convolution's map is of the whole row, whichever of its units count.
    return (student.mask & teacher.mask).any(1)


def same_size(
    first: Tensor,
    second: Tensor,
) -> tuple[Tensor, Tensor]:
    """Two maps (B, C, H, W), each averaged to the smaller of both heights and widths."""
    height = min(first.shape[2], second.shape[2])
    width = min(first.shape[3], second.shape[3])
    # Averaged down, never up: more pixels would tell nothing new.
    size = (height, width)
    pool = functional.adaptive_avg_pool2d
    return pool(first, size), pool(second, size)
