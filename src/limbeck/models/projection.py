"""A model's output projection, left to be computed when its logits are asked for, unit by unit:

    logits = x W^T + b        x (B, W, D) what the projection reads of each unit, W (V, D), b (V)

V is a vocabulary. Logits of all units would take more memory than the rest of a training step, and
losses need no more than some units at a time.

Shapes: B rows, W units of a row, U some of all units, D width, V labels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.models.units import by_unit

# How many units are computed at once: as many as read the whole projection for enough products
# (each chunk reads it three times), and whose logits, in float32, stay far below what a training
# step takes. Some ten tensors of that size are held at once. A GPU needs more to be busy.
MOST_UNITS = 128
CHUNK_BYTES = 2**26
CHUNK_BYTES_ON_DEVICE = 2**28

Operands = tuple[Tensor, Tensor, Tensor | None]


@runtime_checkable
class Product(Protocol):
    """A module that is one product (quantized ones are): x^, W^ and b, as it multiplies them."""

    def operands(self, x: Tensor) -> Operands: ...


@dataclass(frozen=True)
class Projected:
    """What logits are computed from.

    `hidden`: (B, W, D). `weight`: (V, D). `bias`: (V), or None. All may have gradients. `dtype`: in
    which they are multiplied; the logits are float32 at least.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        num_rows, num_units, _ = self.hidden.shape
        return num_rows, num_units, len(self.weight)

    @property
    def wide(self) -> torch.dtype:
        """The type of the logits: float32 at least."""
        return torch.promote_types(self.dtype, torch.float32)

    def tensors(self) -> list[Tensor]:
        operands = [self.hidden, self.weight]
        return operands if self.bias is None else [*operands, self.bias]

    def cast(self) -> "Projected":
        """The same with its operands in the type in which they are multiplied."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        return Projected(self.hidden.to(self.dtype), self.weight.to(self.dtype), bias, self.dtype)

    def frozen(self) -> "Projected":
        """The same, cast, and without gradients wherever its logits are computed."""
        cast = self.cast()
        bias = None if cast.bias is None else cast.bias.detach()
        return Projected(cast.hidden.detach(), cast.weight.detach(), bias, self.dtype)

    def of_units(self, units: Tensor) -> Tensor:
        """(U, V) of the units with these numbers."""
        operands = self.cast()
        x = operands.hidden.flatten(0, 1).index_select(0, units)
        logits = functional.linear(x, operands.weight, operands.bias)
        return logits.to(self.wide)


def operands_of(
    head: nn.Module,
    x: Tensor,
) -> Operands:
    """x, W and b of the product that `head` computes of `x`."""
    if isinstance(head, Product):
        return head.operands(x)
    assert isinstance(head, nn.Linear)
    return x, head.weight, head.bias


def projection_of(model: nn.Module) -> nn.Module | None:
    """The output projection of a model whose labels are its vocabulary; None for any other."""
    # A method of transformers' models; ours and the user's have none.
    return getattr(model, "get_output_embeddings", lambda: None)()


def can_wait(head: nn.Module | None) -> bool:
    """Whether a projection is a product that can be computed outside the model's forward."""
    if isinstance(head, Product):
        return True
    # By exact type: a subclass may compute something else, and a weight of another type, as one
    # that is split over processes, may be whole in the forward alone.
    return type(head) is nn.Linear and type(head.weight) is nn.Parameter


@dataclass
class Waiting:
    """What a forward leaves of its projection: `projected`, and what it was answered instead."""

    projected: Projected | None = None
    stand_in: Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def projecting_later(
    head: nn.Module,
    positions: Tensor,
) -> Iterator[Waiting]:
    """Inside, `head` is not computed: it answers logits of no unit (B, 0, V), and what it was to
    multiply at `positions` (B, W) is left in what this gives."""
    waiting = Waiting()

    def keep(x: Tensor) -> Tensor:
        x, weight, bias = operands_of(head, by_unit(x, positions))
        dtype = x.dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        projected = Projected(x, weight, bias, dtype)
        # A frozen one is cast once here, not for every piece.
        waiting.projected = projected if torch.is_grad_enabled() else projected.frozen()
        waiting.stand_in = x.new_zeros((len(x), 0, len(weight)))
        return waiting.stand_in

    # In the module's place and not before it (a hook): a quantized one would round its whole
    # weight once more for the logits of no unit.
    head.forward = keep
    try:
        yield waiting
    finally:
        # What the class has is seen again.
        del head.forward


def units_at_once(
    num_labels: int,
    device: torch.device,
) -> int:
    """How many units' logits are computed together, at least one."""
    bytes_of_unit = 4 * num_labels
    if device.type != "cpu":
        return max(1, CHUNK_BYTES_ON_DEVICE // bytes_of_unit)
    return max(1, min(MOST_UNITS, CHUNK_BYTES // bytes_of_unit))


def in_chunks(
    units: Tensor,
    num_labels: int,
) -> tuple[Tensor, ...]:
    """Numbers of units (U) in pieces that are computed together; none where there is no unit."""
    if not len(units):
        return ()
    return units.split(units_at_once(num_labels, units.device))
