"""Even out the weights of two neighbouring layers, channel by channel, so that one grid suits all
channels of each (cross-layer equalization, Nagel et al., 2019, arXiv 1906.04721, equations 9 to
11). With r the largest weight that makes (1) or reads (2) channel i:

    s_i = sqrt(r1_i / r2_i),    W1_i, b1_i / s_i,    W2_i s_i

after which both ranges are sqrt(r1_i r2_i), repeated over all pairs until no s moves.

Two convolutions (depthwise ones too, and with batch norms, whose gamma and beta are divided) or two
linear layers are a pair, with a ReLU or nothing between them, when no other operation reads what
lies between: f(s x) = s f(x) must hold. It does not for ReLU6, which clips s x and x at the same 6,
nor for GELU.

`absorb` (section 4.1.3) moves c = max(0, beta - 3 |gamma|) of a batch norm before a ReLU into the
next bias, b1 - c and b2 + W2 c. That is exact where activations exceed c, which 99.87 % of a normal
distribution's do; hence it is off by default. It does not go into a convolution that pads with
zeros, which would not hold c.

Deviations:

- The paper replaces ReLU6 by ReLU, which changes the function. Here a pair with one is left alone.
- A channel whose range is below a thousandth of its layer's keeps s = 1: it carries nothing, and a
  small weight divided by a smaller s would blow its bias up.
- Weights are quantized by output channel here, which evens out W1 by itself: what is left to gain
  lies in W2 and in the activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import Flow, is_usual
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._layers import Layer, shift_of, untied_layers
from limbeck.quantization.fold import NO_PADDING
from limbeck.quantization.modules.swap import QuantizedConvolution, find

# Rounds over all pairs, at most: a long chain passes its ranges on pair by pair.
MOST_ROUNDS = 200

# The largest |log s| of a round that ends the search.
STANDS_STILL = 1e-5

# A share of a layer's largest range, below which a channel carries nothing.
CARRIES_NOTHING = 1e-3


@dataclass(frozen=True)
class _Pair:
    """Two layers, the second reading what the first makes, through a ReLU or as it is."""

    first: Layer
    second: Layer
    is_rectified: bool


@dataclass(frozen=True)
class CrossLayer:
    """`absorb`: whether large shifts of a batch norm move into the next layer's bias too, as above.
    Not exact."""

    absorb: bool = False

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Nothing is added.

        Raises ValueError where no two layers are a pair, or a rewrite before this one may have
        mixed the channels of one.
        """
        found = pairs(model, flow)
        if any(pair.second.basis is not None for pair in found):
            raise ValueError(
                "quantize.equalize: cross_layer scales channels as layers make them. "
                "Name it before rewrites of what layers read"
            )
        if not found:
            raise ValueError(
                "quantize.equalize: cross_layer finds no two quantized convolutions or linear "
                "layers with a ReLU or nothing between them that alone "
                "read and make a tensor (ReLU6 and GELU do not scale). Leave it out"
            )

    def apply(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Equalize until the ranges stand still; no row is looked at."""
        found = pairs(model, flow)
        with torch.no_grad():
            # A pair's range changes again when its neighbours are equalized.
            for _ in range(MOST_ROUNDS):
                largest_move = max(equalize(pair) for pair in found)
                if largest_move < STANDS_STILL:
                    break
            if self.absorb:
                for pair in found:
                    absorb(pair)


def pairs(model: nn.Module, flow: Flow) -> list[_Pair]:
    """Neighbours, in the order in which they run."""
    layers = untied_layers(model, flow)
    found = []
    for name, layer in layers.items():
        # What a layer makes in a second call is another tensor, with readers of its own.
        if flow.calls[name] != 1:
            continue
        reader, is_rectified = only_reader(model, flow, name)
        # A linear layer reads the last axis of what a convolution makes, not its channels.
        if reader in layers and type(layers[reader]) is type(layer):
            found.append(_Pair(layer, layers[reader], is_rectified))
    return found


def only_reader(
    model: nn.Module,
    flow: Flow,
    name: str,
) -> tuple[str, bool]:
    """(what alone reads the output of `name`, whether a ReLU lies between).

    It looks past ReLUs, and norms that were folded in. The name is "" where no module is alone.
    """
    is_rectified = False
    while flow.uses[flow.makes.get(name, -1)] == 1:
        made = flow.makes[name]
        readers = [other for other, tensor in flow.reads.items() if tensor == made]
        # One operation uses it, which need not be a module's.
        if len(readers) != 1 or flow.calls[readers[0]] != 1:
            break
        name = readers[0]
        module = find(model, name)
        if not is_usual(module, (nn.ReLU, nn.Identity)):
            return name, is_rectified
        is_rectified |= isinstance(module, nn.ReLU)
    return "", is_rectified


def equalize(pair: _Pair) -> float:
    """Move the ranges of a pair together; returns the largest |log s|."""
    first = pair.first
    second = pair.second
    # 1. s, from the largest weight that makes and the largest that reads each channel.
    rows = first.float_weight().flatten(1)
    made = rows.abs().amax(1)
    columns = by_input(second.float_weight(), second)
    read = columns.abs().amax((1, 3)).flatten()
    is_made = made > CARRIES_NOTHING * made.amax()
    is_read = read > CARRIES_NOTHING * read.amax()
    scale = torch.where(is_made & is_read, (made / read).sqrt(), 1.0)
    # 2. What makes the channel is divided: with a norm folded in, its gamma and beta.
    makers = (first.weight, first.bias)
    if first.norm is not None:
        makers = (first.norm.weight, first.norm.bias)
    for tensor in makers:
        if tensor is not None:
            column = (-1, *[1] * (tensor.ndim - 1))
            tensor.div_(scale.view(column))
    # 3. What reads it is multiplied.
    by_input(second.weight, second).mul_(beside_inputs(scale, second))
    return float(scale.log().abs().amax())


def absorb(pair: _Pair) -> None:
    """Move what a ReLU always lets through of the first layer's shift into the second's."""
    norm = pair.first.norm
    second = pair.second
    shift = shift_of(second)
    if norm is None or shift is None or not pair.is_rectified or pads(second):
        return
    # Three deviations below the mean: what a norm makes has mean beta and deviation |gamma|.
    lowest = norm.bias - 3 * norm.weight.abs()
    passed = lowest.clamp_min(0)
    norm.bias.sub_(passed)
    columns = by_input(second.float_weight(), second)
    products = columns * beside_inputs(passed, second)
    shift.add_(products.sum((2, 3)).flatten())


def num_groups(layer: Layer) -> int:
    """Into how many separate ones a convolution falls; 1 for a linear layer."""
    return int(layer.geometry["groups"]) if isinstance(layer, QuantizedConvolution) else 1


def pads(layer: Layer) -> bool:
    """Whether zeros surround what a layer reads."""
    return isinstance(layer, QuantizedConvolution) and layer.geometry["padding"] not in NO_PADDING


def by_input(weight: Tensor, layer: Layer) -> Tensor:
    """(groups, O of one, D of one, window) a view of a layer's weight (O, D of one, ...)."""
    # The rows of a group follow one another, as the channels do that it reads.
    window = weight[0, 0].numel()
    return weight.view(num_groups(layer), -1, weight.shape[1], window)


def beside_inputs(channels: Tensor, layer: Layer) -> Tensor:
    """Values of each input channel, (D), in a shape that broadcasts against `by_input`."""
    return channels.view(num_groups(layer), 1, -1, 1)
