"""Losses over a vocabulary, some units at a time, with the student's gradient taken on the way:

    L = sum over terms k of c_k / N_k * sum over counted units u of loss_k(z_u, t_u)
    z_u = x_u W^T + b       the student's logits of a unit, from its output projection

For a chunk of units the logits of both models are computed, each term's values of it, the gradient
G of L with respect to the chunk's logits, and from that its share of the projection's gradients:

    dL/dx_u = G_u W,    dL/dW += G^T x,    dL/db += sum over the chunk of G_u

Then the chunk is forgotten. N_k, how many units count, is known before the first one. So neither
model's logits (B, W, V) of a batch are ever held, and no product is computed twice: the gradients
wait, in the size of the parameters and hidden states, for the pass backward (the idea of Liger
Kernel's fused linear cross-entropy, Hsu et al., 2024, arXiv 2410.10989, section 3.2, for any sum of
`losses.UnitLoss`).

Each term's value has a gradient of its own too. Who asks for it (`conflict.py`), or for the sum's a
second time, has the chunks computed again for it.

Shapes: B rows, W units of a row, U units of a chunk, D width, V labels, K terms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from limbeck.losses import zero_where_not
from limbeck.models.projection import Projected, in_chunks
from limbeck.models.taps import Outputs, some_units
from limbeck.tasks import Batch


class Chunk(NamedTuple):
    """Some units of a batch, as the one row of a small one: masks and labels (1, U), logits
    (1, U, V). `units`: (U) their numbers in the batch."""

    units: Tensor
    student: Outputs
    teacher: Outputs
    batch: Batch


class Gradients(NamedTuple):
    """Of one sum, to be added to: `hidden` (B, W, D), `weight` (V, D), `bias` (V); None where none
    is wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    def add(
        self,
        to_logits: Tensor,
        operands: Projected,
        units: Tensor,
    ) -> None:
        """Bring the gradient of some units' logits (U, V) through their product."""
        gradient = to_logits.to(operands.dtype)
        if self.hidden is not None:
            to_units = gradient @ operands.weight
            self.hidden.flatten(0, 1).index_copy_(0, units, to_units.to(self.hidden.dtype))
        if self.weight is not None:
            x = operands.hidden.flatten(0, 1).index_select(0, units)
            if self.weight.dtype == gradient.dtype:
                # Product and sum in one pass over the large matrix.
                self.weight.addmm_(gradient.T, x)
            else:
                # In bfloat16 a sum of many chunks would lose its digits.
                self.weight.add_(gradient.T @ x)
        if self.bias is not None:
            self.bias.add_(to_logits.sum(0))

    def scale(self, factor: Tensor) -> None:
        """Multiply them in place."""
        for gradient in self:
            if gradient is not None:
                gradient.mul_(factor)


# (student, teacher, batch, progress) of some units -> (1, U) what each gives: `UnitLoss.of_units`.
OfUnits = Callable[[Outputs, Outputs, Batch, float], Tensor]


@dataclass(frozen=True)
class Comparison:
    """What is compared in a step, but for the student's logits.

    `losses`: K of them. `counts`: of each, (B, W) the units that count. `mask`: the student's.
    `teacher`: None where no loss reads it.
    """

    losses: Sequence[OfUnits]
    counts: Sequence[Tensor]
    mask: Tensor
    teacher: Outputs | None
    batch: Batch
    progress: float

    def values_and_gradients(
        self,
        student: Projected,
        shares: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> tuple[Tensor, Gradients]:
        """(K) each term's mean over its units, and the gradients of their sum by `shares`.

        student: what its logits are computed from; gradients end here.
        shares: what each term counts in the sum; one that is None is not computed, and gives 0.
        wanted: whether the gradients of hidden states, weight and bias are wanted.
        """
        gradients = zeros_like_operands(student, wanted)
        # Once a step, not once a chunk: under autocast the whole projection is cast.
        operands = student.cast()
        sums = torch.zeros(len(self.losses), device=self.mask.device, dtype=student.wide)
        _, _, num_labels = student.shape
        for units in in_chunks(self.units(), num_labels):
            sums += self.add_chunk(operands, units, shares, gradients)
        numbers = torch.stack(self.numbers())
        return sums / numbers, gradients

    def numbers(self) -> list[Tensor]:
        """K scalars: of how many units each term is the mean."""
        return [count.sum().clamp_min(1) for count in self.counts]

    def units(self) -> Tensor:
        """The numbers of the units that count in some term."""
        is_counted = torch.stack(list(self.counts)).any(0).flatten()
        everything = torch.arange(len(is_counted), device=is_counted.device)
        # Padding costs a product by the vocabulary. But on a device the host would have to wait to
        # be told how many units are left.
        return everything[is_counted] if is_counted.device.type == "cpu" else everything

    def add_chunk(
        self,
        operands: Projected,
        units: Tensor,
        shares: Sequence[Tensor | None],
        gradients: Gradients,
    ) -> Tensor:
        """(K) each term's sum over the units of a chunk, whose gradients are added."""
        # A method of its own, so that all of a chunk is forgotten before the next one.
        chunk = self.chunk(operands, units)
        with torch.enable_grad():
            sums = self.sums(chunk, shares)
            means = [total / number for total, number in zip(sums, self.numbers(), strict=True)]
            total = weighted_sum(means, shares)
        # Where no model learns (a look at the losses alone) the values are all that is wanted.
        if total.requires_grad and any(each is not None for each in gradients):
            (to_logits,) = torch.autograd.grad(total, chunk.student.logits)
            gradients.add(to_logits[0], operands, units)
        return torch.stack(sums).detach()

    def sums(
        self,
        chunk: Chunk,
        shares: Sequence[Tensor | None],
    ) -> list[Tensor]:
        """K scalars: each term's sum over the units of a chunk."""
        sums = []
        for of_units, share, count in zip(self.losses, shares, self.counts, strict=True):
            total = chunk.student.logits.new_zeros(())
            # One that is not asked for is not computed; its sum holds its place.
            if share is not None:
                values = of_units(chunk.student, chunk.teacher, chunk.batch, self.progress)
                is_counted = count.flatten()[chunk.units].view_as(values)
                total = zero_where_not(is_counted, values).sum()
            sums.append(total)
        return sums

    def chunk(
        self,
        operands: Projected,
        units: Tensor,
    ) -> Chunk:
        """The units with these numbers; the student's logits are a leaf."""
        mask = self.mask.flatten()[units].unsqueeze(0)
        logits = operands.of_units(units).unsqueeze(0).requires_grad_()
        batch = replace(
            self.batch,
            inputs={},
            positions=None,
            labels=self.batch.labels.flatten()[units].unsqueeze(0),
            mask=mask,
        )
        student = Outputs(logits, mask)
        # Whatever stands in the teacher's place is not looked at where no loss reads it.
        teacher = student if self.teacher is None else some_units(self.teacher, units)
        return Chunk(units, student, teacher, batch)


def weighted_sum(
    values: Sequence[Tensor],
    shares: Sequence[Tensor | None],
) -> Tensor:
    """The sum of K `values` by their shares, of which None is 0."""
    total = values[0].new_zeros(())
    for value, share in zip(values, shares, strict=True):
        if share is not None:
            total = total + share * value
    return total


def zeros_like_operands(
    operands: Projected,
    wanted: Sequence[bool],
) -> Gradients:
    """What gradients are added up in, for those of hidden states, weight, bias that are wanted."""
    tensors = (operands.hidden, operands.weight, operands.bias)
    zeros: list[Tensor | None] = []
    for tensor, is_wanted in zip(tensors, wanted, strict=True):
        if tensor is None or not is_wanted:
            zeros.append(None)
        else:
            # In rows that lie one after the other, whatever hidden states are a view of.
            zeros.append(torch.zeros_like(tensor, memory_format=torch.contiguous_format))
    return Gradients(*zeros)


class FusedSum(torch.autograd.Function):
    """(hidden, weight, bias, dtype, comparison, shares) -> (sum by shares, each term's mean...).

    The sum's gradient is computed in the forward pass and given away in the first pass backward.
    """

    @staticmethod
    def forward(
        ctx: Any,
        *arguments: Any,
    ) -> tuple[Tensor, ...]:
        hidden, weight, bias, dtype, comparison, shares = arguments
        # For whoever asks again: the operands, from which all can be computed anew.
        ctx.save_for_backward(hidden, weight, bias)
        ctx.dtype, ctx.comparison, ctx.shares = dtype, comparison, shares
        # What nobody asks the gradient of is None in the pass backward, and not zero.
        ctx.set_materialize_grads(False)
        student = Projected(hidden, weight, bias, dtype)
        means, ctx.gradients = comparison.values_and_gradients(
            student, shares, ctx.needs_input_grad[:3]
        )
        each = means.unbind()
        return weighted_sum(each, shares), *(mean.clone() for mean in each)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        *asked: Tensor | None,
    ) -> tuple[Any, ...]:
        of_sum, *of_terms = asked
        gradients, ctx.gradients = ctx.gradients, None
        if of_sum is not None and gradients is not None and not any_of(of_terms):
            gradients.scale(of_sum)
            return (*gradients, None, None, None)
        # They are gone, or a single term's are asked for: they stay for who asks for the sum's.
        ctx.gradients = gradients
        shares = combined_shares(of_sum, of_terms, ctx.shares)
        hidden, weight, bias = ctx.saved_tensors
        student = Projected(hidden, weight, bias, ctx.dtype)
        _, again = ctx.comparison.values_and_gradients(student, shares, ctx.needs_input_grad[:3])
        return (*again, None, None, None)


def any_of(gradients: Sequence[Tensor | None]) -> bool:
    """Whether some gradient is asked for."""
    return any(gradient is not None for gradient in gradients)


def combined_shares(
    of_sum: Tensor | None,
    of_terms: Sequence[Tensor | None],
    shares: Sequence[Tensor],
) -> list[Tensor | None]:
    """What each term counts, of the gradients of the sum by `shares` and of the terms; None where
    it counts nothing."""
    combined = []
    for of_term, share in zip(of_terms, shares, strict=True):
        if of_sum is not None:
            in_sum = of_sum * share
            of_term = in_sum if of_term is None else in_sum + of_term
        combined.append(of_term)
    return combined


def fused_sum(
    comparison: Comparison,
    student: Projected,
    shares: Sequence[Tensor],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The sum of the losses by their `shares`, and each by itself: scalars with gradients.

    Raises what a loss raises.
    """
    operands = (student.hidden, student.weight, student.bias)
    total, *means = FusedSum.apply(*operands, student.dtype, comparison, tuple(shares))
    return total, tuple(means)
