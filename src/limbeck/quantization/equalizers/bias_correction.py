"""Take out of each layer's bias what quantization added to the mean of its outputs (empirical bias
correction, Nagel et al., 2019, arXiv 1906.04721, section 4.2 and appendix D); of a layer into which
a batch norm was folded, out of the norm's shift:

    b + E[y] - E[y^]    by output channel, over the calibration rows

with y what the layer makes in the float model, and y^ in the quantized one, whose layers before it
are corrected already: as many passes over the rows as layers.

A layer without a bias gets one. A convolution's is an integer in the end: up to one step of its
accumulator stays.

Deviation: the paper's models read images. Here, in texts, positions of padding count too, as they
do for the ranges.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import Flow
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._layers import product_layers, shift_of
from limbeck.quantization.equalizers._statistics import mean_outputs


@dataclass
class BiasCorrection:
    """`means`: E[y] of every layer, (O) each, once `observe` has run."""

    means: list[Tensor] = field(default_factory=list, init=False)

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """A bias of zeros where there is none. Raises ValueError where no layer is quantized."""
        layers = product_layers(model, flow).values()
        if not layers:
            raise ValueError(
                "quantize.equalize: bias_correction finds no quantized linear layer or "
                "convolution. Leave it out"
            )
        for layer in layers:
            # Here and not when it is known: saved weights must find the bias.
            if shift_of(layer) is None:
                zeros = layer.weight.new_zeros(len(layer.weight))
                layer.bias = nn.Parameter(zeros)

    def observe(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """E[y] of every layer."""
        layers = product_layers(model, flow).values()
        self.means = mean_outputs(model, list(layers), forwards)

    def apply(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Correct one layer after the other."""
        layers = product_layers(model, flow).values()
        for layer, mean in zip(layers, self.means, strict=True):
            # A pass for each: the layers before it are corrected by now.
            (shifted,) = mean_outputs(model, [layer], forwards)
            shift = shift_of(layer)
            assert shift is not None
            shift.data.add_(mean - shifted)
