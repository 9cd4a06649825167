"""Activation-aware weight quantization: channels that meet large activations are rounded more finely (Lin et al., 2023, arXiv 2306.00978,
equations 4 and 5):

    s = s_X^alpha        alpha = argmin ||Q(W s) (X / s) - W X||^2        s_X = mean |X_j|

with W rounded in its own format and range, one alpha for all readers of a tensor, tried in equal steps from 0 to 1; alpha = 0 is no scale, so
the error never grows. As in the paper's code s is divided by sqrt(max s min s). The error is exact from the second moments C = X^T X, tr(E C E^T)
with E = Q(W s) / s - W: D^2 numbers a tensor are kept, no activations. X is taken as float, whether it is quantized or not.
"""

from dataclasses import dataclass

import torch
from torch import nn

from limbeck.models.dataflow import Flow
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._basis import Site, arrange_scales, sites
from limbeck.quantization.equalizers._statistics import of_inputs
from limbeck.quantization.fake import FakeQuantizer
from limbeck.quantization.swap import QuantizedLinear

KEY = "awq"
SMALLEST = 1e-4  # of s before it is divided, as in the paper's code


@dataclass(frozen=True)
class Awq:
    """`steps`: into how many the exponents from 0 to 1 are cut."""

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
                "quantize.equalize: awq finds no quantized linear layer that reads a float tensor. Leave it out"
            )
        arrange_scales(KEY, found)

    def apply(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """The best scales for what the calibration rows make."""
        found = sites(model, flow)
        for site, sums in zip(
            found,
            of_inputs(model, [site.first for site in found], forwards, moments, torch.add),
            strict=True,
        ):
            site.rescale(KEY, self.best(site, sums[:-2], sums[-2] / sums[-1]))

    def best(self, site: Site, second: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """(D) the scale of least error; `second` (D, D) X^T X, `mean` (D) |X|."""
        scales = [scale(mean, step / self.steps) for step in range(self.steps + 1)]
        errors = [
            sum(error(layer, each, second) for layer in site.layers.values()) for each in scales
        ]
        return scales[errors.index(min(errors))]


def moments(x: torch.Tensor) -> torch.Tensor:
    """(D + 2, D): X^T X of (N, D), the sum of |X|, and N."""
    return torch.cat([x.t() @ x, x.abs().sum(0, keepdim=True), torch.full_like(x[:1], len(x))])


def scale(mean: torch.Tensor, alpha: float) -> torch.Tensor:
    """(D) s, its largest and its least value reciprocal."""
    raw = mean.pow(alpha).clamp_min(SMALLEST)
    return raw / (raw.amax() * raw.amin()).sqrt()


def error(layer: QuantizedLinear, scale: torch.Tensor, second: torch.Tensor) -> float:
    """Squared error of the layer's outputs, summed, when its weights are rounded times `scale` (D)."""
    weight = layer.float_weight().detach()
    difference = rounded(layer.quantizer, weight * scale) / scale - weight
    return float(((difference @ second) * difference).sum())


def rounded(quantizer: FakeQuantizer, weight: torch.Tensor) -> torch.Tensor:
    """`weight` on a grid fitted to it, as `quantizer` would have it."""
    fresh = FakeQuantizer(
        quantizer.grid, quantizer.range_class, quantizer.groups, rounding=quantizer.rounding
    ).eval()
    with torch.no_grad():
        fresh.begin()
        fresh(weight)
        fresh.finish()
        return fresh(weight)
