"""What passes through layers while the calibration rows run, as sums or extremes: no activations are kept."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.swap import Quantized, QuantizedConvolution

Measure = Callable[[torch.Tensor], torch.Tensor]
Join = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def of_inputs(
    model: nn.Module, layers: Sequence[Quantized], forwards: Forwards, measure: Measure, join: Join
) -> list[torch.Tensor]:
    """For each layer `measure` of the (N, D) that it reads in its basis, batch after batch put together by `join`."""

    def read(
        layer: Quantized, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        x = inputs[0] if layer.basis is None else layer.basis(inputs[0])
        return x.float().flatten(0, -2)

    return _gather(model, layers, forwards, lambda *seen: measure(read(*seen)), join)


def mean_outputs(
    model: nn.Module, layers: Sequence[Quantized], forwards: Forwards
) -> list[torch.Tensor]:
    """For each layer the mean (O) of what it makes, over rows and positions, padding among them."""

    def made(
        layer: Quantized, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        y = output.movedim(1, -1) if isinstance(layer, QuantizedConvolution) else output
        y = y.double().flatten(0, -2)
        return torch.stack([y.sum(0), torch.full_like(y[0], len(y))])

    return [
        (total / count).float()
        for total, count in _gather(model, layers, forwards, made, torch.add)
    ]


def _gather(
    model: nn.Module,
    layers: Sequence[Quantized],
    forwards: Forwards,
    see: Callable[..., torch.Tensor],
    join: Join,
) -> list[torch.Tensor]:
    """`see(layer, inputs, output)` of every call of each layer, put together. Raises ValueError for a layer that never ran, or values not finite."""
    found: dict[int, torch.Tensor] = {}

    def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
        seen = see(layer, inputs, output)
        found[id(layer)] = join(found[id(layer)], seen) if id(layer) in found else seen

    handles = [layer.register_forward_hook(hook) for layer in layers]
    was_training = model.training
    try:
        with torch.no_grad():
            for forward in forwards:
                forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    if len(found) < len(layers) or not all(torch.isfinite(value).all() for value in found.values()):
        raise ValueError(
            "quantize.equalize: on the calibration rows a layer reads or makes nothing, or values that are not finite"
        )
    return [found[id(layer)] for layer in layers]
