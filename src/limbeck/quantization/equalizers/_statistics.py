"""What passes through layers while the calibration rows run, as sums or extremes.

No activations are kept: every batch is put together with what the batches before it have left.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models.precision import back_like, in_float64
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.modules.swap import Quantized, QuantizedConvolution

# Of what a layer reads in one batch, (N, D).
Measure = Callable[[Tensor], Tensor]

# Of two batches' measures, one for both.
Join = Callable[[Tensor, Tensor], Tensor]

# Of one call of a layer: the layer, its inputs, its output.
OfCall = Callable[[Quantized, Any, Tensor], Tensor]


def of_inputs(
    model: nn.Module,
    layers: Sequence[Quantized],
    forwards: Forwards,
    measure: Measure,
    join: Join,
) -> list[Tensor]:
    """For each layer, `measure` of the (N, D) that it reads in its basis, over all batches.

    Raises ValueError for a layer that never ran, or values that are not finite.
    """
    return _gather(model, layers, forwards, partial(_of_input, measure), join)


def _of_input(
    measure: Measure,
    layer: Quantized,
    inputs: Any,
    output: Tensor,
) -> Tensor:
    x: Tensor = inputs[0]
    if layer.basis is not None:
        x = layer.basis(x)
    # A sentence's tokens are rows as any others.
    rows = x.float().flatten(0, -2)
    return measure(rows)


def mean_outputs(
    model: nn.Module,
    layers: Sequence[Quantized],
    forwards: Forwards,
) -> list[Tensor]:
    """For each layer the mean (O) of what it makes, over rows and positions, padding among them.

    Raises ValueError for a layer that never ran, or values that are not finite.
    """
    sums = _gather(model, layers, forwards, _sum_and_count, torch.add)
    means = []
    for layer, (total, count) in zip(layers, sums, strict=True):
        means.append(back_like(total / count, layer.weight))
    return means


def _sum_and_count(
    layer: Quantized,
    inputs: Any,
    output: Tensor,
) -> Tensor:
    """(2, O) float64 (`in_float64`): the sum of each output channel, and how many values it has."""
    # A convolution has its channels before its positions, (B, O, ...).
    if isinstance(layer, QuantizedConvolution):
        output = output.movedim(1, -1)
    # In float64: a shift of the mean is small beside the values.
    rows = in_float64(output).flatten(0, -2)
    count = torch.full_like(rows[0], len(rows))
    return torch.stack([rows.sum(0), count])


def _gather(
    model: nn.Module,
    layers: Sequence[Quantized],
    forwards: Forwards,
    of_call: OfCall,
    join: Join,
) -> list[Tensor]:
    """`of_call` of every call of each layer, put together by `join`."""
    gathered: dict[int, Tensor] = {}

    def hook(
        layer: Any,
        inputs: Any,
        output: Any,
    ) -> None:
        key = id(layer)
        value = of_call(layer, inputs, output)
        # Of earlier batches, or of an earlier call of a layer that runs more than once.
        if key in gathered:
            value = join(gathered[key], value)
        gathered[key] = value

    handles = [layer.register_forward_hook(hook) for layer in layers]
    was_training = model.training
    try:
        with torch.no_grad():
            # In eval mode dropout is off, and batch norms are those of the artifact.
            for forward in forwards:
                forward(model.eval())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    is_finite = all(torch.isfinite(value).all() for value in gathered.values())
    if len(gathered) < len(layers) or not is_finite:
        raise ValueError(
            "quantize.equalize: on the calibration rows a layer reads or makes nothing, "
            "or values that are not finite"
        )
    return [gathered[id(layer)] for layer in layers]
