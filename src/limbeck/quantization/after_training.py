"""Quantization after training: ranges are fitted on calibration rows, layers rounded one after the other, what is left corrected."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from limbeck.core.events import STEP, Meter, Progress, Reporter, silent
from limbeck.models.dataflow import Flow
from limbeck.quantization.equalizers import Correction, Equalizer
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.roundings import LayerRounding, Rounding
from limbeck.quantization.swap import (
    Quantized,
    QuantizedConvolution,
    QuantizedLinear,
    activation_quantizers,
    find,
)

MOST_INPUTS = 16384  # positions that a layer is rounded for


def calibrate(model: nn.Module, forwards: Iterable[Callable[[nn.Module], Any]]) -> None:
    """Fit the ranges: weights as they stand, activations on the float activations of the given batches. The mode is kept."""
    was_training = model.training
    model.eval()
    activations = activation_quantizers(model)
    for module in model.modules():
        if isinstance(module, FakeQuantizer):
            module.calibrated.fill_(False)
    for quantizer in activations:
        quantizer.begin()
    with torch.no_grad():
        for forward in forwards:
            forward(model)
        for quantizer in activations:
            quantizer.finish()
        for module in model.modules():
            if isinstance(module, Quantized):
                module.calibrate_weight()
    model.train(was_training)


def quantize_after_training(
    model: nn.Module,
    flow: Flow,
    forwards: Sequence[Callable[[nn.Module], Any]],
    *,
    rounding: Rounding | LayerRounding | None = None,
    equalizers: Iterable[Equalizer] = (),
    tell: Reporter = silent,
) -> None:
    """Quantize a prepared, trained model: rewrite it, fit its ranges, round its layers one after the other, correct what is left."""
    chosen = list(equalizers)
    corrections = [equalizer for equalizer in chosen if isinstance(equalizer, Correction)]
    for equalizer in chosen:
        if not isinstance(equalizer, Correction):
            equalizer.apply(model, flow, forwards)
    for correction in corrections:
        correction.observe(model, flow, forwards)
    calibrate(model, forwards)
    if isinstance(rounding, LayerRounding):
        round_layers(model, flow, forwards, rounding, tell)
    for correction in corrections:
        correction.apply(model, flow, forwards)


def round_layers(
    model: nn.Module,
    flow: Flow,
    forwards: Sequence[Callable[[nn.Module], Any]],
    rounding: LayerRounding,
    tell: Reporter,
) -> None:
    """Round each layer for the inputs that reach it through the layers before it, already rounded; one layer's inputs are held at a time.

    A weight that two modules share meets the inputs of both, and keeps to its nearest levels.
    """
    found = {name: find(model, name) for name in flow.reads}
    layers = [
        name
        for name, layer in found.items()
        if isinstance(layer, (QuantizedLinear, QuantizedConvolution)) and not layer.is_tied
    ]
    meter = Meter({STEP: float(len(layers))})
    for done, name in enumerate(layers, 1):
        layer = find(model, name)
        assert isinstance(layer, Quantized)
        layer.round_with(rounding, inputs_of(model, layer, forwards))
        meter.advance(STEP, 1)
        tell(Progress(done, len(layers), meter.time_left_s()))


class _Reached(Exception):
    """A forward has come to the layer whose inputs are wanted: what comes after it is not computed."""


def inputs_of(
    model: nn.Module, layer: Quantized, forwards: Sequence[Callable[[nn.Module], Any]]
) -> torch.Tensor:
    """(N, D) what a layer reads on the calibration rows, as the integer kernel will see it: MOST_INPUTS positions at most, as many of each batch."""
    found: list[torch.Tensor] = []
    share = max(1, MOST_INPUTS // len(forwards))

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        positions = layer.positions(layer.read(inputs[0])).float()
        found.append(positions[:: -(-len(positions) // share)].clone())
        raise _Reached

    handle = layer.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            for forward in forwards:
                with contextlib.suppress(_Reached):
                    forward(model.eval())
    finally:
        handle.remove()
    return torch.cat(found)
