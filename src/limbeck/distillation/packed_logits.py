"""Logits of a vocabulary in some 350 bytes a unit: what the teacher's output projection read, and
beside it the largest logits by themselves.

Logits z = W h + b of V labels come from a hidden state h of D numbers, and D is far below V. Kept
are, of each unit,

1. h, each number rounded to a whole multiple of a step of its own;
2. the k largest log-probabilities, rounded to 1/32 of a nat, and whose they are;
3. the logarithm of the mass of all others, rounded alike.

Restored are the logits W h^ + b of the rounded h^, shifted together so that the others have the
mass that was kept, and the k largest as they were kept. A model whose logits are no such product
has no h^: its other labels share their mass evenly.

**The step.** Rounding number i by e_i moves the logits by sum_i W_vi e_i, of which what is common
to all labels changes no probability. Let s_i be the standard deviation of W_vi over the labels and
the step of number i be

    step_i = LOGIT_ERROR sqrt(12 / D) / s_i

Errors spread evenly over a step, independent of each other, then move a logit by LOGIT_ERROR nats
in the root of the mean square over the labels. All numbers have the same share in that, which is
the fewest bits for it (reverse water-filling: Cover and Thomas, Elements of Information Theory,
section 13.3.3, without a rotation). It takes about .53 bytes for each number, whatever D is.

**The bound.** Let d be half of the difference between the largest and the smallest error of a
unit's restored logits, and p, p^ the teacher's softmax at temperature T before and after. Then
|log p^ - log p| <= 2 d / T, the total variation between the two is at most tanh(d / (2 T)), and
KL(p || p^) <= d^2 / (2 T^2) (Hoeffding's lemma). With the student's logits w, and range(x) =
max x - min x, a unit's loss is off by at most

| loss | bound |
|---|---|
| soft_cross_entropy | T range(w) tanh(d / (2 T)) |
| kl | T range(z^ - w) tanh(d / (2 T)) + d^2 / 2 |
| reverse_kl | 2 T d |
| jensen_shannon | 2 T d beta (log(1 / beta) + 1 / e); at beta 0 and 1 those of the two above |

The bound is that of the worst label: losses weigh errors by probabilities, and errors of either
sign cancel. What is measured is some hundredth of it (docs/log.md).

A fixed k, 16 where a recipe does not say: these labels have most of the mass, and each takes about
2.5 bytes. Cached logits for distillation: Raman et al., 2023, arXiv 2311.09194; that the largest
alone mislead the student at any temperature: Anshumann et al., 2025, arXiv 2503.16870.

Shapes: B rows, W units of a row, U some of all units, D width, V labels, k largest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.distillation.row_codes import (
    Column,
    RowReader,
    RowWriter,
    open_rows,
)
from limbeck.models.precision import in_float64
from limbeck.models.projection import (
    Projected,
    in_chunks,
    operands_of,
    projection_of,
)
from limbeck.models.taps import (
    Outputs,
    some_units,
)
from limbeck.models.torch_batches import (
    device_of,
    move,
)
from limbeck.tasks import pad

# The root mean square error of a logit, in nats, that rounding the hidden state makes.
LOGIT_ERROR = 0.18
# Of a log-probability, in nats. A power of 2: multiples are exact in float32.
STEP = 1 / 32
# Codes take two bytes: no log-probability below -2,048 is told from that one.
CODES = 2**16
# Of a vocabulary so many logits are kept by themselves where a recipe does not say.
TOP = 16

NAME = "logits"
GRID = "grid.npy"


@dataclass(frozen=True)
class Grid:
    """How a hidden state is rounded: `center` (D) + code * `step` (D), both float32."""

    center: np.ndarray
    step: np.ndarray

    def codes(self, hidden: np.ndarray) -> np.ndarray:
        """(W, D) codes from 0 on of hidden states (W, D): 0, -1, 1, -2, 2 and so on become 0, 1,
        2, 3, 4. Raises ValueError for numbers that are no codes: not finite, or too large."""
        steps = np.rint((hidden - self.center) / self.step)
        # Written so that NaN, which compares as False, is refused too.
        if not np.all(np.abs(steps) < CODES // 2):
            raise ValueError(
                "the teacher's hidden states are not finite, or so large that its answers cannot "
                "be kept. Train it at a smaller `learning_rate`, or take `train.dtype: float32`"
            )
        signed = steps.astype(np.int32)
        return np.where(signed < 0, -2 * signed - 1, 2 * signed)

    def restore(self, codes: np.ndarray) -> np.ndarray:
        """(W, D) float32: what `codes` stand for."""
        signed = np.where(codes % 2, -(codes + 1) // 2, codes // 2)
        return self.center + signed.astype(np.float32) * self.step


def grid_of(
    projected: Projected,
    mask: Tensor,
) -> Grid:
    """The grid for a projection, around the mean of the first units (B, W) that count."""
    weight = projected.weight.detach().float()
    # Over the labels, without what is common to all of them.
    spread = in_float64(weight.std(0, correction=0))
    step = LOGIT_ERROR * math.sqrt(12 / len(spread)) / spread
    # A number that moves no logit is kept at its center.
    largest = torch.finfo(torch.float32).max / CODES
    hidden = projected.hidden.detach().float()[mask]
    center = hidden.mean(0) if len(hidden) else torch.zeros_like(spread)
    bounded = step.clamp_max(largest).float()
    return Grid(
        center=center.float().cpu().numpy(),
        step=bounded.cpu().numpy(),
    )


@dataclass(frozen=True)
class Largest:
    """What is kept of units' log-probabilities, as codes of -log p / STEP; on the host.

    `labels`: (U, k), ascending. `codes`: (U, k) theirs. `others`: (U, 1) of the mass of all others.
    """

    labels: np.ndarray
    codes: np.ndarray
    others: np.ndarray


def largest(
    logits: Tensor,
    top: int,
) -> Largest:
    """The `top` largest of (U, V) logits, and the mass of the others. `top` is below V."""
    logits = logits.float()
    total = logits.logsumexp(-1, keepdim=True)
    # Not sorted: by label they take fewer bytes.
    labels = logits.topk(top, -1, sorted=False).indices.sort(-1).values
    log_p = logits.gather(-1, labels) - total
    # From the others themselves: 1 - sum p would be rounding alone where p is nearly 1.
    without = logits.scatter(-1, labels, -torch.inf)
    others = without.logsumexp(-1, keepdim=True) - total
    return Largest(
        labels=labels.cpu().numpy(),
        codes=log_codes(log_p),
        others=log_codes(others),
    )


def log_codes(log_p: Tensor) -> np.ndarray:
    """Codes of log-probabilities. Raises ValueError for NaN."""
    if log_p.isnan().any():
        raise ValueError(
            "the teacher's logits are not finite. Train it at a smaller `learning_rate`, or take "
            "`train.dtype: float32`"
        )
    steps = (-log_p / STEP).round().clamp(0, CODES - 1)
    return steps.cpu().numpy().astype(np.int32)


@dataclass(frozen=True)
class PackedLogits:
    """Restored when they are asked for, some units at a time (`models.taps.UnitLogits`).

    `projected`: the rounded hidden states (B, W, D) and the teacher's projection; None without.
    `labels`: (B, W, k). `log_p`: (B, W, k) theirs. `log_others`: (B, W, 1) of the mass of all
    others. `num_labels`: V.
    """

    projected: Projected | None
    labels: Tensor
    log_p: Tensor
    log_others: Tensor
    num_labels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        num_rows, num_units, _ = self.labels.shape
        return num_rows, num_units, self.num_labels

    def tensors(self) -> list[Tensor]:
        return [self.log_p, self.log_others]

    def of_units(self, units: Tensor) -> Tensor:
        """(U, V) log-probabilities of the units with these numbers."""
        labels = self.labels.flatten(0, 1)[units].long()
        log_others = self.log_others.flatten(0, 1)[units]
        if self.projected is None:
            num_others = self.num_labels - labels.shape[-1]
            each = log_others - math.log(num_others)
            logits = each.expand(-1, self.num_labels).clone()
        else:
            # In the type of the projection, which the teacher may have multiplied in.
            logits = self.projected.of_units(units)
            logits.scatter_(-1, labels, -torch.inf)
            logits += log_others - logits.logsumexp(-1, keepdim=True)
        return logits.scatter_(-1, labels, self.log_p.flatten(0, 1)[units])


def columns_of(
    top: int,
    num_labels: int,
    width: int,
) -> list[Column]:
    """The columns of a row's codes: labels, log-probabilities, the others' mass, hidden states."""
    label_bytes = (max(1, num_labels - 1).bit_length() + 7) // 8
    columns = [
        Column(top, label_bytes),
        Column(top, 2),
        Column(1, 2),
    ]
    if width:
        columns.append(Column(width, 2))
    return columns


@dataclass
class LogitsWriter:
    """Writes what is kept of logits, batch by batch. `counts` (N): how many units each row has;
    `grid`: None for a model whose logits are no product."""

    rows: RowWriter
    counts: np.ndarray
    top: int
    grid: Grid | None

    def write(
        self,
        rows: np.ndarray,
        outputs: Outputs,
    ) -> None:
        """The logits of a batch, by its rows' numbers. Raises ValueError for what is not finite."""
        counts = self.counts[rows]
        num_units = outputs.mask.shape[1]
        # Padding is not looked at.
        is_own = np.arange(num_units) < counts[:, None]
        units = torch.from_numpy(np.flatnonzero(is_own)).to(outputs.mask.device)
        kept: list[Largest] = []
        # Never the logits of all units at once.
        for some in in_chunks(units, outputs.num_labels):
            of_some = some_units(outputs, some).logits[0]
            kept.append(largest(of_some, self.top))
        if not kept:
            # Rows without a unit: nothing is written of them, and their spans stay empty.
            return
        labels = np.concatenate([each.labels for each in kept])
        codes = np.concatenate([each.codes for each in kept])
        others = np.concatenate([each.others for each in kept])
        # From one label to the next is a smaller number than the label.
        values = [np.diff(labels, axis=1, prepend=0), codes, others]
        if self.grid is not None:
            assert isinstance(outputs.later, Projected)
            hidden = outputs.later.hidden.float().flatten(0, 1)[units]
            values.append(self.grid.codes(hidden.cpu().numpy()))
        ends = np.cumsum(counts)[:-1]
        split = [np.split(each, ends) for each in values]
        by_row = zip(*split, strict=True)
        for row, of_row in zip(rows, by_row, strict=True):
            self.rows.write(row, of_row)

    def close(self) -> None:
        """Bring everything to the disk."""
        self.rows.close()


def make_logits_writer(
    folder: Path,
    outputs: Outputs,
    counts: np.ndarray,
    top: int,
) -> LogitsWriter:
    """A writer into `folder`, as the outputs on the first batch tell the shapes; the rest as of
    `LogitsWriter`."""
    grid = None
    width = 0
    if isinstance(outputs.later, Projected):
        grid = grid_of(outputs.later, outputs.mask)
        width = len(grid.step)
        np.save(folder / GRID, np.stack([grid.center, grid.step]))
    columns = columns_of(top, outputs.num_labels, width)
    rows = RowWriter(folder, NAME, columns, len(counts))
    return LogitsWriter(
        rows=rows,
        counts=counts,
        top=top,
        grid=grid,
    )


@dataclass(frozen=True)
class Projection:
    """The teacher's output projection: `weight` (V, D), `bias` (V) or None."""

    weight: Tensor
    bias: Tensor | None


def projection_of_teacher(
    model: nn.Module,
    width: int,
    dtype: torch.dtype,
) -> Projection:
    """The projection of the teacher, which reads `width` numbers, in the type it multiplied in."""
    head = projection_of(model)
    assert head is not None
    # A quantized one rounds what it reads, of which nothing is kept here.
    reads = torch.zeros(1, width, device=device_of(model))
    _, weight, bias = operands_of(head, reads)
    if bias is not None:
        bias = bias.detach().to(dtype)
    return Projection(weight.detach().to(dtype), bias)


@dataclass(frozen=True)
class LogitsReader:
    """What `LogitsWriter` wrote of one part; the arguments are as there."""

    rows: RowReader
    grid: Grid | None

    def row(self, row: int) -> list[np.ndarray]:
        """Labels, log-probabilities, the others' and the hidden states of one row, (W, n) each."""
        steps, codes, others, *hidden = self.rows.read(row)
        labels = np.cumsum(steps, axis=1, dtype=np.int32)
        values = [labels, decoded(codes), decoded(others)]
        if self.grid is not None:
            values.append(self.grid.restore(hidden[0]))
        return values


def decoded(codes: np.ndarray) -> np.ndarray:
    """The log-probabilities that codes stand for, float32."""
    return codes.astype(np.float32) * np.float32(-STEP)


def open_logits(
    folder: Path,
    counts: np.ndarray,
    top: int,
    num_labels: int,
) -> LogitsReader:
    """What was written to `folder`. Raises ValueError for files that are damaged or not there."""
    grid = None
    width = 0
    if (folder / GRID).exists():
        center, step = np.load(folder / GRID)
        grid = Grid(center, step)
        width = len(step)
    columns = columns_of(top, num_labels, width)
    rows = open_rows(folder, NAME, columns, counts)
    return LogitsReader(rows, grid)


def restored(
    rows: Sequence[Sequence[np.ndarray]],
    num_units: int,
    num_labels: int,
    projection: Projection | None,
) -> PackedLogits:
    """The rows of a batch, as `LogitsReader.row` gives them, padded to `num_units` (W); on the
    projection's device."""
    padded: list[Tensor] = []
    for of_rows in zip(*rows, strict=True):
        # A row of nothing, as wide as the batch, to which `pad` makes the others as wide.
        widest = np.zeros((num_units, of_rows[0].shape[1]), of_rows[0].dtype)
        with_padding = torch.from_numpy(pad([widest, *of_rows], 0)[1:])
        if projection is not None:
            with_padding = move(with_padding, projection.weight.device)
        padded.append(with_padding)
    labels, log_p, log_others, *hidden = padded
    projected = None
    if projection is not None:
        weight = projection.weight
        projected = Projected(
            hidden=hidden[0],
            weight=weight,
            bias=projection.bias,
            dtype=weight.dtype,
        )
    return PackedLogits(
        projected=projected,
        labels=labels,
        log_p=log_p,
        log_others=log_others,
        num_labels=num_labels,
    )
