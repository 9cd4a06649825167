"""Move the outliers of activations into the weights, which are easier to quantize: channels with
large activations are divided by a scale s, and the weights that meet them multiplied by it
(SmoothQuant, Xiao et al., 2022, arXiv 2211.10438, equations 3 and 4):

    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha),    X^ = X / s,    W^ = W s

for each channel j of a tensor that linear layers read as integers, the maximum of W over all its
readers. Where the layer norm that makes the tensor cannot hold the division (BERT's residual reads
it too) it stands before the quantizer: one multiplication, shared by query, key and value.

Deviation: a channel that is zero in activations or weights keeps s = 1, where the formula would
divide by 0; the authors' code bounds s from below instead.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import Flow
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._basis import Site, arrange_scales, sites
from limbeck.quantization.equalizers._statistics import of_inputs
from limbeck.quantization.modules.swap import QuantizedLinear

# Of the modules that hold the scales.
KEY = "smoothquant"


@dataclass(frozen=True)
class Smoothquant:
    """`alpha`: how much of the outliers the weights take, from 0 (none) to 1 (all)."""

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(
                f"`alpha` of `smoothquant` is {self.alpha}; "
                "expected a number from 0 to 1, such as 0.5"
            )

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Places for the scales. Raises ValueError where no linear layer reads integers."""
        found = self.sites(model, flow)
        if not found:
            raise ValueError(
                "quantize.equalize: smoothquant finds no linear layer whose activations are "
                "quantized where it reads them. "
                "Leave it out, or quantize activations (uint8, uint8-dynamic or int8-dynamic)"
            )
        arrange_scales(KEY, found)

    def apply(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Scales for what the calibration rows make."""
        # Found anew: nothing is kept from `arrange`, which another process may have run.
        found = self.sites(model, flow)
        readers = [site.first for site in found]
        # The readers of a tensor read the same: one stands for all.
        peaks = of_inputs(model, readers, forwards, largest, torch.maximum)
        for site, peak in zip(found, peaks, strict=True):
            weight_peak = largest(site.weight())
            site.rescale(KEY, self.scale(peak, weight_peak))

    def sites(self, model: nn.Module, flow: Flow) -> list[Site]:
        """Tensors that are quantized where linear layers read them."""
        return sites(model, flow, reads_integers)

    def scale(self, activations: Tensor, weights: Tensor) -> Tensor:
        """(D) s, of the largest activation and the largest weight of each channel."""
        scale = activations.pow(self.alpha) / weights.pow(1 - self.alpha)
        is_alive = (activations > 0) & (weights > 0)
        return torch.where(is_alive, scale, 1.0)


def reads_integers(layer: QuantizedLinear) -> bool:
    """Whether the layer's inputs are quantized where it reads them."""
    return layer.is_dynamic or bool(layer.token_group) or layer.input is not None


def largest(rows: Tensor) -> Tensor:
    """(D) the largest |x| of each channel of rows (N, D)."""
    return rows.abs().amax(0)
