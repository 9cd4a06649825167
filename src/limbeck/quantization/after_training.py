"""Quantization after training, and the calibration that training with quantization begins with.

Ranges are fitted on calibration rows, layers rounded one after the other, what is left corrected.
A calibration row reaches the model through `forwards`: functions that run one batch each.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.core.events import STEP, Meter, Progress, Reporter, silent
from limbeck.models.anatomy.dataflow import Flow
from limbeck.quantization.equalizers import (
    Correction,
    Equalizer,
    answers,
    keeping_form,
    relative_change,
    told,
)
from limbeck.quantization.fold import NORMS
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.kv_cache import KeptInInt8
from limbeck.quantization.modules.swap import (
    Normed,
    Quantized,
    QuantizedConvolution,
    QuantizedLinear,
    activation_quantizers,
    find,
)
from limbeck.quantization.roundings import LayerRounding, Rounding

# Positions (tokens, or pixels) that a layer is rounded for: five for each input of the widest
# layers of a BERT of the usual size (3072), whose second moments are estimated from them.
MAX_POSITIONS = 16384
# Of the length of the logits: what a rewrite may change a float model's answers by. Rewrites are
# exact but for rounding in float32; absorbing biases cuts off one value in a thousand.
MOST_CHANGE = 0.1


def calibrate(model: nn.Module, forwards: Iterable[Callable[[nn.Module], Any]]) -> None:
    """Fit every range of a prepared model, in place; its mode is kept.

    Weights are fitted as they stand, activations to those of the float model on the given batches.

    Raises:
        ValueError: there is no batch, or a value is not finite.
    """
    was_training = model.training
    model.eval()
    batches = list(forwards)
    activations = activation_quantizers(model)
    # 1. Back to the float model: a layer's range must not depend on the old ranges before it.
    for module in model.modules():
        if isinstance(module, FakeQuantizer | KeptInInt8):
            module.calibrated.fill_(False)
    take_first_moments(model, batches)
    # 2. Activations first, as long as weights are float too.
    for quantizer in activations:
        quantizer.begin()
    with torch.no_grad():
        for forward in batches:
            forward(model)
        for quantizer in activations:
            quantizer.finish()
        # 3. Weights, and what is kept of tokens.
        for module in model.modules():
            if isinstance(module, Quantized):
                module.calibrate_weight()
            elif isinstance(module, KeptInInt8):
                # Each head of a token has its own scale: there is none to fit.
                module.calibrated.fill_(True)
    model.train(was_training)


def take_first_moments(
    model: nn.Module,
    forwards: Sequence[Callable[[nn.Module], Any]],
) -> None:
    """Let batch norms that have seen no batch take the moments of calibration rows, in place.

    Theirs are 0 and 1, which say nothing of what passes: ranges fitted to that would be wrong from
    the first step on.
    """
    blank = [module for module in model.modules() if isinstance(module, NORMS) and is_blank(module)]
    if not blank:
        return
    # The norm of a product takes moments where the product is in training, and nothing else is:
    # dropout would draw.
    for module in model.modules():
        if isinstance(module, NORMS) or (isinstance(module, Normed) and module.norm is not None):
            module.train()
    shares = [norm.momentum for norm in blank]
    for norm in blank:
        norm.momentum = None  # the mean of all batches
    with torch.no_grad():
        for forward in forwards:
            forward(model)
    for norm, share in zip(blank, shares, strict=True):
        norm.momentum = share
    model.eval()


def is_blank(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> bool:
    """Whether a norm's moments are those that it was made with."""
    # Not by its count of batches, which older files of weights lack.
    if norm.running_mean is None or norm.running_var is None:
        return False
    return bool((norm.running_mean == 0).all() and (norm.running_var == 1).all())


def has_norms(model: nn.Module) -> bool:
    """Whether a model holds batch norms, whose moments follow a training slowly."""
    return any(isinstance(module, NORMS) for module in model.modules())


def quantize_after_training(
    model: nn.Module,
    flow: Flow,
    forwards: Sequence[Callable[[nn.Module], Any]],
    *,
    rounding: Rounding | LayerRounding | None = None,
    equalizers: Iterable[Equalizer] = (),
    tell: Reporter = silent,
) -> None:
    """Quantize a trained, prepared model, in place.

    Args:
        model: as `prepare_model` left it, in float.
        flow: who reads what, as `prepare_model` returned it.
        forwards: each runs one batch of calibration rows.
        rounding: how weights reach the grid; one by layer has its turn here.
        equalizers: rewrites of the float model, and corrections of what quantization has done.
        tell: hears of every layer that was rounded.
    """
    rewrites: list[Equalizer] = []
    corrections: list[Correction] = []
    for equalizer in equalizers:
        if isinstance(equalizer, Correction):
            corrections.append(equalizer)
        else:
            rewrites.append(equalizer)
    # 1. The float model is rewritten, and observed as it is to be matched.
    for rewrite in rewrites:
        apply_rewrite(rewrite, model, flow, forwards)
    for correction in corrections:
        with keeping_form(correction, "observe", model):
            correction.observe(model, flow, forwards)
    # 2. It is quantized.
    calibrate(model, forwards)
    if isinstance(rounding, LayerRounding):
        round_layers(model, flow, forwards, rounding, tell)
    # 3. What is left of the error is corrected.
    for correction in corrections:
        with keeping_form(correction, "apply", model):
            correction.apply(model, flow, forwards)


def apply_rewrite(
    rewrite: Equalizer,
    model: nn.Module,
    flow: Flow,
    forwards: Sequence[Callable[[nn.Module], Any]],
) -> None:
    """Rewrite a float model in place, and look whether it still answers as before.

    Raises:
        ValueError: it does not, or it has other parameters: the rewrite, perhaps somebody else's,
            is at fault.
    """
    name = told(rewrite, "apply")
    parameters = [key for key, _ in model.named_parameters()]
    before = answers(model, forwards[0])
    with keeping_form(rewrite, "apply", model):
        rewrite.apply(model, flow, forwards)
    if [key for key, _ in model.named_parameters()] != parameters:
        raise ValueError(
            f"{name} added or took away parameters in `apply`; they are given their place in "
            "`arrange`, so that saved weights fit the model"
        )
    change = relative_change(answers(model, forwards[0]), before)
    # Not so where it is NaN.
    if not change < MOST_CHANGE:
        raise ValueError(
            f"{name} changed what the float model answers by {change:.0%} in `apply`; it is to "
            "leave the function as it was"
        )


def round_layers(
    model: nn.Module,
    flow: Flow,
    forwards: Sequence[Callable[[nn.Module], Any]],
    rounding: LayerRounding,
    tell: Reporter,
) -> None:
    """Round each layer for the inputs that reach it through the layers before it, already rounded.

    One layer's inputs are held at a time. A weight that two modules share meets the inputs of
    both, and keeps to its nearest levels.
    """
    layers: list[Quantized] = []
    for name in flow.reads:
        layer = find(model, name)
        # An embedding reads one row at a time, whose error is least at the nearest levels.
        if not isinstance(layer, (QuantizedLinear, QuantizedConvolution)):
            continue
        if not layer.is_tied:
            layers.append(layer)
    meter = Meter({STEP: float(len(layers))})
    for done, layer in enumerate(layers, 1):
        inputs = inputs_of(model, layer, forwards)
        layer.round_with(rounding, inputs)
        meter.advance(STEP, 1)
        tell(Progress(done, len(layers), meter.time_left_s()))


class _Reached(Exception):
    """A forward pass has come to the layer whose inputs are wanted; the rest is not computed."""


def inputs_of(
    model: nn.Module,
    layer: Quantized,
    forwards: Sequence[Callable[[nn.Module], Any]],
) -> Tensor:
    """(N, D) what a layer reads on the calibration rows, as the integer kernel will see it.

    At most about MAX_POSITIONS positions, as many of each batch.
    """
    samples: list[Tensor] = []
    share = max(1, MAX_POSITIONS // len(forwards))

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        positions = layer.positions(layer.read(inputs[0])).float()
        # Evenly strided, rounded up; cloned, so that a batch's other positions can be freed.
        stride = -(-len(positions) // share)
        samples.append(positions[::stride].clone())
        raise _Reached

    handle = layer.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            for forward in forwards:
                with contextlib.suppress(_Reached):
                    forward(model.eval())
    finally:
        handle.remove()
    return torch.cat(samples)
