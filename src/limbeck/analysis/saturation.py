"""Where integer products can saturate, and what the format that cannot would cost.

A CPU without VNNI adds the products u8 x s8 of two neighbours in int16 (the instruction
vpmaddubsw), where 255 (w1 + w2) > 32,767 saturates: two weights of one sign that add up to more
than 128. `int7` (-64..64) rules that out by construction.
"""

import copy
import math

import torch
from torch import Tensor, nn

from limbeck.analysis.sensitivities import expected_loss, rounding_error
from limbeck.core.grids import GRIDS
from limbeck.models.precision import in_float64
from limbeck.quantization.modules.swap import Quantized

# The most that two weights of one sign may add up to: 255 x 128 = 32,640 fits int16, 255 x 129
# does not.
MOST_PAIR = 128

# The largest number of int16.
INT16 = 2**15 - 1

# The format whose products cannot saturate.
SAFE = "int7"


def overflow(layer: Quantized) -> tuple[float, float]:
    """How much of a layer can saturate.

    Returns:
        (share of neighbouring pairs of weights that can, 0 to 1;
        the largest sum of any two products of one output channel over what int16 holds).

        Runtimes lay weights out in an order of their own, so that any two may become neighbours:
        only up to 1 can no input saturate the layer.
    """
    codes = layer.codes().flatten(1)
    # A pair at least, and whole pairs: the zeros beside the weights add nothing.
    count = codes.shape[1]
    missing = max(2 - count, count % 2)
    codes = nn.functional.pad(codes, (0, missing))
    pairs = codes.unflatten(1, (-1, 2))
    # The largest input meets the weights of one sign, and 0 those of the other.
    positive = pairs.clamp_min(0).sum(2)
    negative = pairs.clamp_max(0).neg().sum(2)
    can_saturate = torch.maximum(positive, negative) > MOST_PAIR
    share = float(in_float64(can_saturate).mean())
    largest = max(_largest_pair(codes), _largest_pair(-codes))
    return share, largest * GRIDS["uint8"].high / INT16


def _largest_pair(codes: Tensor) -> float:
    """The largest sum of two positive codes of one row of (O, D)."""
    two = codes.clamp_min(0).topk(2).values
    return float(two.sum(1).max())


def safe_nats(layer: Quantized, curvature: Tensor) -> float | None:
    """Nats a unit that int8 weights would cost in `int7` on the same range; None in other formats.

    `curvature` is that of `sensitivities.gradient.fisher`.
    """
    if layer.quantizer.grid != GRIDS["int8"]:
        return None
    # A copy, since the layer goes on with its own.
    quantizer = copy.deepcopy(layer.quantizer)
    quantizer.grid = GRIDS[SAFE]
    # Fewer levels over the same range: each step is as much larger.
    wider = layer.quantizer.grid.high / quantizer.grid.high
    quantizer.log_scale.data += math.log(wider)
    return expected_loss(curvature, rounding_error(layer, quantizer))
