"""Cross-layer equalization: two neighbouring layers share the range of each channel between them (Nagel et al., 2019, arXiv 1906.04721,
equations 9 to 11). With r the largest weight that makes (1) or reads (2) channel i:

    s_i = sqrt(r1_i / r2_i)        W1_i, b1_i / s_i        W2_i s_i        after which both ranges are sqrt(r1_i r2_i)

repeated over all pairs until no s moves. Two convolutions (depthwise ones too, and with batch norms, whose gamma and beta are divided) or two
linear layers are a pair with a ReLU or nothing between them, when no other operation reads what lies between: f(s x) = s f(x) must hold. It does
not for ReLU6, which clips s x and x at the same 6, nor for GELU. A channel whose range is below a thousandth of its layer's keeps s = 1: it
carries nothing, and a small weight divided by a smaller s would blow its bias up.

`absorb` (section 4.1.3) moves c = max(0, beta - 3 |gamma|) of a batch norm before a ReLU into the next bias, b1 - c and b2 + W2 c: exact where
activations exceed c, which 99.87 % of a normal distribution's do, hence off by default. Not into a convolution that pads with zeros, which would
not hold c. Weights are quantized by output channel here, which evens out W1 by itself: what is left to gain lies in W2 and in the activations.
"""

from dataclasses import dataclass

import torch
from torch import nn

from limbeck.models.dataflow import Flow
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._layers import Layer, own, shift_of
from limbeck.quantization.fold import NO_PADDING
from limbeck.quantization.swap import QuantizedConvolution, find

MOST_SWEEPS = 200
SETTLED = 1e-5  # of log s
CARRIES_NOTHING = 1e-3  # of a layer's largest range


@dataclass(frozen=True)
class _Pair:
    """Two layers, the second reading what the first makes, through a ReLU or as it is."""

    first: Layer
    second: Layer
    is_rectified: bool


@dataclass(frozen=True)
class CrossLayer:
    """`absorb`: move large biases into the next layer, too."""

    absorb: bool = False

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Nothing is added. Raises ValueError where no two layers are a pair, or a rewrite before this one may have mixed the channels of one."""
        found = pairs(model, flow)
        if any(pair.second.basis is not None for pair in found):
            raise ValueError(
                "quantize.equalize: cross_layer scales channels as layers make them. Name it before rewrites of what layers read"
            )
        if not found:
            raise ValueError(
                "quantize.equalize: cross_layer finds no two quantized convolutions or linear layers with a ReLU or nothing between them that alone "
                "read and make a tensor (ReLU6 and GELU do not scale). Leave it out"
            )

    def apply(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """Equalize until the ranges stand still; no row is looked at."""
        found = pairs(model, flow)
        with torch.no_grad():
            for _ in range(MOST_SWEEPS):
                if max(equalize(pair) for pair in found) < SETTLED:
                    break
            for pair in found if self.absorb else ():
                absorb(pair)


def pairs(model: nn.Module, flow: Flow) -> list[_Pair]:
    """Neighbours, in the order in which they run."""
    found, known = [], own(model, flow)
    for name, layer in known.items():
        other, is_rectified = follow(model, flow, name) if flow.calls[name] == 1 else ("", False)
        if other in known and type(known[other]) is type(layer):
            found.append(_Pair(layer, known[other], is_rectified))
    return found


def follow(model: nn.Module, flow: Flow, name: str) -> tuple[str, bool]:
    """(the module that alone reads what `name` makes, past norms that were folded in and ReLUs, or ""; whether a ReLU lies between)."""
    is_rectified = False
    while flow.uses[flow.makes.get(name, -1)] == 1:
        readers = [other for other, tensor in flow.reads.items() if tensor == flow.makes[name]]
        if len(readers) != 1 or flow.calls[readers[0]] != 1:
            break
        name = readers[0]
        module = find(model, name)
        if not isinstance(module, (nn.ReLU, nn.Identity)):
            return name, is_rectified
        is_rectified |= isinstance(module, nn.ReLU)
    return "", is_rectified


def equalize(pair: _Pair) -> float:
    """The largest |log s|."""
    made = pair.first.float_weight().flatten(1).abs().amax(1)
    read = by_input(pair.second.float_weight(), pair.second).abs().amax((1, 3)).flatten()
    carries = (made > CARRIES_NOTHING * made.amax()) & (read > CARRIES_NOTHING * read.amax())
    scale = torch.where(carries, (made / read).sqrt(), 1.0)
    norm = pair.first.norm
    for tensor in (
        (pair.first.weight, pair.first.bias) if norm is None else (norm.weight, norm.bias)
    ):
        if tensor is not None:
            tensor.div_(scale.view(-1, *[1] * (tensor.ndim - 1)))
    by_input(pair.second.weight, pair.second).mul_(scale.view(groups(pair.second), 1, -1, 1))
    return float(scale.log().abs().amax())


def absorb(pair: _Pair) -> None:
    """Move what a ReLU always lets through of the first's shift into the second's."""
    norm = pair.first.norm
    shift = shift_of(pair.second)
    if norm is None or shift is None or not pair.is_rectified or pads(pair.second):
        return
    passed = (norm.bias - 3 * norm.weight.abs()).clamp_min(0)
    norm.bias.sub_(passed)
    shift.add_(
        (
            by_input(pair.second.float_weight(), pair.second)
            * passed.view(groups(pair.second), 1, -1, 1)
        )
        .sum((2, 3))
        .flatten()
    )


def groups(layer: Layer) -> int:
    """1, or into how many separate ones a convolution falls."""
    return int(layer.geometry["groups"]) if isinstance(layer, QuantizedConvolution) else 1


def pads(layer: Layer) -> bool:
    """Whether zeros surround what a layer reads."""
    return isinstance(layer, QuantizedConvolution) and layer.geometry["padding"] not in NO_PADDING


def by_input(weight: torch.Tensor, layer: Layer) -> torch.Tensor:
    """(groups, O of one, C of one, window) a view of a layer's weight (O, ...)."""
    return weight.view(groups(layer), -1, weight.shape[1], weight[0, 0].numel())
