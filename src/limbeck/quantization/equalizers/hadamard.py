"""A rotation of what linear layers read, which spreads outliers over all channels (QuaRot, Ashkboos et al., 2024, arXiv 2404.00456, section 3):

    X^ = X H        W^ = W H        H H^T = I        H = diag(signs) H_b / sqrt(b)

with H_b the Hadamard matrix of Sylvester, of +1 and -1, b a power of two, for each block of b neighbouring channels. The signs are drawn by a
fixed seed (section 3, randomized Hadamard): else a mean that is not zero would itself gather in one channel.

Deviations: the rotation stays in the graph, a product before the quantizer shared by all readers of a tensor. On a static 6 x 384 encoder (128
tokens, one thread) ONNX Runtime takes 6 % longer for blocks of 32, 13 % for 64 and 45 % for 128. QuaRot hides it in the weights around
a residual stream of RMS norms; a layer norm with weight and bias does not commute with it. Its rotation of each head's values needs to know which
outputs of a layer reach a head, which a forward does not show, and is left out.
"""

from dataclasses import dataclass

import torch
from torch import nn

from limbeck.models.dataflow import Flow
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._basis import Rotation, Site, sites

KEY = "hadamard"
LARGEST = 64  # a product with twice as large a block costs twice as much


@dataclass(frozen=True)
class Hadamard:
    """`block`: channels that are mixed, a power of two; left open, the largest one up to 64 that divides a tensor's channels."""

    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and (self.block < 2 or self.block & (self.block - 1)):
            raise ValueError(
                f"`block` of `hadamard` is {self.block}; expected a power of two, such as {2 ** max(1, self.block.bit_length() - 1)}"
            )

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Rotations by nothing. Raises ValueError where no linear layer is quantized, or a block does not fit one."""
        shared: dict[int, Rotation] = {}
        for site in sites(model, flow):
            size = self.size(site)
            if size > 1:
                site.put(KEY, shared.setdefault(size, Rotation(size)))
        if not shared:
            raise ValueError(
                "quantize.equalize: hadamard finds no quantized linear layer that reads an even number of float channels. Leave it out"
            )

    def apply(self, model: nn.Module, flow: Flow, forwards: Forwards) -> None:
        """Turn weights and rotations; no row is looked at."""
        rotations = {}
        for site in sites(model, flow):
            rotation = site.part(KEY)
            if isinstance(rotation, Rotation):
                rotations[id(rotation)] = rotation
                turn = rotation.matrix.double().t() @ orthogonal(len(rotation.matrix))
                for layer in site.layers.values():
                    layer.weight.data.copy_(
                        (layer.weight.data.double().unflatten(1, (-1, len(turn))) @ turn).flatten(1)
                    )
        for rotation in rotations.values():
            rotation.matrix.copy_(orthogonal(len(rotation.matrix)))

    def size(self, site: Site) -> int:
        """The block for a tensor. Raises ValueError where `block` does not divide its channels."""
        width = site.first.weight.shape[1]
        largest = width & -width
        if self.block is None:
            return min(largest, LARGEST)
        if width % self.block:
            fitting = [str(2**power) for power in range(1, largest.bit_length())]
            raise ValueError(
                f"quantize.equalize: hadamard: `{next(iter(site.layers))}` reads {width} channels, which are not whole blocks of {self.block}. "
                f"Fitting: {', '.join(fitting) or 'none; keep it float, or leave hadamard out'}"
            )
        return self.block


def orthogonal(size: int) -> torch.Tensor:
    """(size, size) float64, H above."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    signs = 2 * torch.randint(0, 2, (size, 1), generator=torch.Generator().manual_seed(0)) - 1
    return signs * matrix / size**0.5
