"""Round the weights that meet large activations more finely than the others (activation-aware
weight quantization, AWQ, Lin et al., 2023, arXiv 2306.00978, equations 4 and 5):

    s = s_X^alpha,    alpha = argmin || Q(W s) (X / s) - W X ||^2,    s_X = mean |X_j|

with W rounded in its own format and range. One alpha for all readers of a tensor is tried in equal
steps from 0 to 1; alpha = 0 is no scale, so that the error never grows. As in the authors' code, s
is divided by sqrt(max s min s), which keeps its size near 1.

Deviations:

- The error is exact over all rows, from the second moments C = X^T X, as tr(E C E^T) with
  E = Q(W s) / s - W: D^2 numbers a tensor are kept, and no activations.
- X is taken as float, whether it is quantized or not: the scale is chosen for the weights' sake.
- The paper also clips the weights of each group; here that is the part of the range.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import Flow
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._basis import Site, arrange_scales, sites
from limbeck.quantization.equalizers._statistics import of_inputs
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import QuantizedLinear

# Of the modules that hold the scales.
KEY = "awq"

# Of s before it is divided, as in the authors' code: a channel that nothing meets has s_X = 0.
SMALLEST = 1e-4


@dataclass(frozen=True)
class Awq:
    """`steps`: how many exponents alpha are tried beside 0, evenly spaced up to 1.

    More take longer, and may find a smaller error; 20 is the authors'.
    """

    steps: int = 20

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(
                f"`steps` of `awq` is {self.steps}; expected a whole number from 1 up, such as 20"
            )

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Places for the scales. Raises ValueError where no linear layer is quantized."""
        found = sites(model, flow)
        if not found:
            raise ValueError(
                "quantize.equalize: awq finds no quantized linear layer that reads a float tensor. "
                "Leave it out"
            )
        arrange_scales(KEY, found)

    def apply(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """The best scales for what the calibration rows make."""
        found = sites(model, flow)
        readers = [site.first for site in found]
        sums = of_inputs(model, readers, forwards, moments, torch.add)
        for site, of_site in zip(found, sums, strict=True):
            second = of_site[:-2]
            total = of_site[-2]
            mean = total / of_site[-1]
            site.rescale(KEY, self.best(site, second, mean))

    def best(
        self,
        site: Site,
        second: Tensor,
        mean: Tensor,
    ) -> Tensor:
        """(D) the scale of least error, of X^T X (D, D) and the mean of |X| (D)."""
        best = torch.ones_like(mean)
        least_error = math.inf
        # From alpha = 0, no scale: of two with the same error the weaker one is kept.
        for step in range(self.steps + 1):
            scale = scale_of(mean, step / self.steps)
            error = 0.0
            for layer in site.layers.values():
                error += output_error(layer, scale, second)
            if error < least_error:
                best = scale
                least_error = error
        return best


def moments(x: Tensor) -> Tensor:
    """(D + 2, D): X^T X of x (N, D), the sum of |X|, and N."""
    # In one tensor, since sums over batches are taken of one: the last two rows are |X| and N.
    second = x.t() @ x
    total = x.abs().sum(0, keepdim=True)
    count = torch.full_like(x[:1], len(x))
    return torch.cat([second, total, count])


def scale_of(mean: Tensor, alpha: float) -> Tensor:
    """(D) s, its largest and its least value reciprocal."""
    raw = mean.pow(alpha).clamp_min(SMALLEST)
    middle = (raw.amax() * raw.amin()).sqrt()
    return raw / middle


def output_error(
    layer: QuantizedLinear,
    scale: Tensor,
    second: Tensor,
) -> float:
    """The summed squared error of the layer's outputs, its weights rounded times `scale` (D).

    `second`: X^T X (D, D) of what it reads.
    """
    weight = layer.float_weight().detach()
    error = rounded(layer.quantizer, weight * scale) / scale - weight
    return float(((error @ second) * error).sum())


def rounded(quantizer: FakeQuantizer, weight: Tensor) -> Tensor:
    """`weight` on a grid fitted to it, of the format and range that `quantizer` has."""
    fresh = quantizer.alike(quantizer.grid)
    # In training a rounding may draw.
    fresh.eval()
    with torch.no_grad():
        fresh.begin()
        fresh(weight)
        fresh.finish()
        return fresh(weight)
