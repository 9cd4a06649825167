"""What a module's weights in a format cost the quality: nats a counted unit by which the outputs leave those of the float model.

Every way estimates the same figure, KL(float || one module rounded), so that their results compare and add up: of small errors in several modules
the divergences add to first order, and a plan's is the sum of its modules'. None of them needs a label.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import nn

from limbeck.core.events import Tell, silent, track
from limbeck.core.grids import GRIDS
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.swap import Normed, Quantized
from limbeck.tasks import Batch

Scores = dict[str, dict[str, float]]  # module, format: nats a unit


class Sensitivity(Protocol):
    """One file, one way. The model is left as it was; the order of batches, and of rows within one, does not matter."""

    def __call__(self, probe: "Probe") -> Scores: ...


@dataclass(frozen=True)
class Probe:
    """`model` in eval mode with its modules swapped and no quantizer on, `batches` of torch tensors, `formats` of integers, and the
    task's `likelihood`."""

    model: nn.Module
    batches: Sequence[Batch]
    formats: Sequence[str]
    tell: Tell = silent
    likelihood: str = "categorical"

    @cached_property
    def layers(self) -> dict[str, Quantized]:
        """The modules that are looked at: of those with tied weights the first."""
        first: dict[FakeQuantizer, tuple[str, Quantized]] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, Quantized):
                first.setdefault(module.quantizer, (name, module))
        return dict(first.values())

    @property
    def units(self) -> int:
        """Those that count, over all batches."""
        return sum(int(batch.mask.sum()) for batch in self.batches)

    def second_order(self, curvature: Mapping[str, torch.Tensor]) -> Scores:
        """1/2 sum_w c_w (Q(w) - w)^2 of every module and format; `curvature`: c, of the shape of the module's weight or one for all."""
        pairs = [(name, form) for form in self.formats for name in self.layers]
        found: Scores = {name: {} for name in self.layers}
        for name, form in track(pairs, lambda pair: self.layers[pair[0]].weight.numel(), self.tell):
            found[name][form] = expected_loss(
                curvature[name], error(self.layers[name], fitted(self.layers[name], form))
            )
        return found


def fitted(layer: Quantized, form: str) -> FakeQuantizer:
    """A quantizer of the layer's weight in another format, its range (that of the recipe) fitted."""
    own = layer.quantizer
    quantizer = FakeQuantizer(
        GRIDS[form], own.range_class, own.groups, rounding=own.rounding
    ).eval()
    with torch.no_grad():
        quantizer.begin()
        quantizer(layer.float_weight())
        quantizer.finish()
    return quantizer


def error(layer: Quantized, quantizer: FakeQuantizer) -> torch.Tensor:
    """Q(w) - w in units of the layer's parameter: taken back from a folded norm."""
    with torch.no_grad():
        weight = layer.float_weight()
        found = quantizer(weight) - weight
        return found / layer.factors() if isinstance(layer, Normed) else found


def expected_loss(curvature: torch.Tensor, error: torch.Tensor) -> float:
    """1/2 sum_w c_w e_w^2."""
    return 0.5 * float((curvature * error.square()).sum(dtype=torch.float64))


@contextlib.contextmanager
def differentiable(
    model: nn.Module, layers: Mapping[str, Quantized]
) -> Iterator[list[torch.Tensor]]:
    """Inside, gradients flow to the weights of `layers`, which are given, and to nothing else."""
    parameters = list(model.parameters())
    before = [parameter.requires_grad for parameter in parameters]
    model.requires_grad_(False)
    weights = [layer.weight.requires_grad_() for layer in layers.values()]
    try:
        yield weights
    finally:
        for parameter, flag in zip(parameters, before, strict=True):
            parameter.requires_grad_(flag)
