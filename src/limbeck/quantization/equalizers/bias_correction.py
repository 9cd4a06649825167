"""Empirical bias correction (Nagel et al., 2019, arXiv 1906.04721, section 4.2 and appendix D): rounding shifts the mean of what a layer makes, and
the shift is taken out of its bias, or of the shift of the batch norm that was folded into it:

    b + E[y] - E[y^]        by output channel, over the calibration rows

y what the layer makes in the float model, y^ in the quantized one, whose layers before it are corrected already: as many passes over the rows as
layers. A layer without a bias gets one. A convolution's is an integer in the end: up to one step of its accumulator stays. Positions of padding
count as they do for the ranges.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from limbeck.models.dataflow import Flow
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._layers import layers, shift_of
from limbeck.quantization.equalizers._statistics import mean_outputs


@dataclass
class BiasCorrection:
    """No keys."""

    means: list[torch.Tensor] = field(default_factory=list, init=False)

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """A bias of zeros where there is none. Raises ValueError where no layer is quantized."""
        found = layers(model, flow).values()
        if not found:
            raise ValueError(
                "quantize.equalize: bias_correction finds no quantized linear layer or convolution. Leave it out"
            )
        for layer in found:
            if shift_of(layer) is None:
                layer.bias = nn.Parameter(torch.zeros(len(layer.weight)))

    def observe(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """E[y] of every layer."""
        self.means = mean_outputs(model, list(layers(model, flow).values()), forwards)

    def apply(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """Correct one layer after the other."""
        for layer, mean in zip(layers(model, flow).values(), self.means, strict=True):
            (found,) = mean_outputs(model, [layer], forwards)
            shift = shift_of(layer)
            assert shift is not None
            shift.data.add_(mean - found)
