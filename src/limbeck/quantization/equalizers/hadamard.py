"""A rotation of what linear layers read, which spreads outliers over all channels
(QuaRot, Ashkboos et al., 2024, arXiv 2404.00456, section 3):

    X^ = X H,    W^ = W H,    H H^T = I,    H = diag(signs) H_b / sqrt(b)

with H_b the Hadamard matrix of Sylvester, of +1 and -1, b a power of two, for each block of b
neighbouring channels. The signs are drawn by a fixed seed (section 3, randomized Hadamard): else a
mean that is not zero would itself gather in one channel.

Deviations:

- The rotation stays in the graph, a product before the quantizer, shared by a tensor's readers.
  QuaRot hides it in the weights around a residual stream of RMS norms; a layer norm with weight and
  bias does not commute with it.
- So it is cut into blocks, which cost less: on a static 6 x 384 encoder (128 tokens, one thread)
  ONNX Runtime takes 6 % longer for blocks of 32, 13 % for 64 and 45 % for 128.
- QuaRot's rotation of each head's values is left out: it needs to know which outputs of a layer
  reach a head, which a forward pass does not show.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import Flow
from limbeck.models.precision import back_like, in_float64
from limbeck.quantization.equalizers import Forwards
from limbeck.quantization.equalizers._basis import Rotation, Site, sites

# Of the modules that hold the rotation.
KEY = "hadamard"

# The largest block where none is asked for: above, a product with twice as large a block costs more
# than twice as much.
LARGEST = 64


@dataclass(frozen=True)
class Hadamard:
    """`block`: how many neighbouring channels are mixed, a power of two that divides their number.

    Left open, it is the largest such power up to 64.
    """

    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is None:
            return
        if self.block < 2 or not is_power_of_two(self.block):
            smaller = 2 ** max(1, self.block.bit_length() - 1)
            raise ValueError(
                f"`block` of `hadamard` is {self.block}; expected a power of two, such as {smaller}"
            )

    def arrange(self, model: nn.Module, flow: Flow) -> None:
        """Rotations that turn nothing yet, one for each size of block.

        Raises ValueError where no linear layer is quantized, or a block does not fit one.
        """
        rotations: dict[int, Rotation] = {}
        for site in sites(model, flow):
            if site.first.quantizer.is_half:
                raise ValueError(
                    f"quantize.equalize: hadamard: `{next(iter(site.layers))}` has scales of "
                    "float16, and the files of such weights have no place for a rotation. Leave "
                    "hadamard out, or `scale: float16`"
                )
            size = self.size(site)
            if size == 1:
                continue
            if size not in rotations:
                rotations[size] = Rotation(size, site.first.weight.device)
            site.put(KEY, rotations[size])
        if not rotations:
            raise ValueError(
                "quantize.equalize: hadamard finds no quantized linear layer that reads an even "
                "number of float channels. Leave it out"
            )

    def apply(
        self,
        model: nn.Module,
        flow: Flow,
        forwards: Forwards,
    ) -> None:
        """Turn weights and rotations; no row is looked at."""
        # Sites share rotations, which turn once, after the weights of all.
        rotations: dict[int, Rotation] = {}
        for site in sites(model, flow):
            rotation = site.part(KEY)
            if isinstance(rotation, Rotation):
                rotations[id(rotation)] = rotation
                turn_weights(site, rotation)
        for rotation in rotations.values():
            turned = orthogonal(len(rotation.matrix))
            rotation.matrix.copy_(back_like(turned, rotation.matrix))

    def size(self, site: Site) -> int:
        """The block for a tensor. Raises ValueError where `block` does not divide its channels."""
        width = site.first.weight.shape[1]
        # The largest power of two that divides it: its lowest bit.
        largest = width & -width
        if self.block is None:
            return min(largest, LARGEST)
        if width % self.block:
            fitting = [str(2**power) for power in range(1, largest.bit_length())]
            choices = ", ".join(fitting) or "none; keep it float, or leave hadamard out"
            name = next(iter(site.layers))
            raise ValueError(
                f"quantize.equalize: hadamard: `{name}` reads {width} channels, "
                f"which are not whole blocks of {self.block}. Fitting: {choices}"
            )
        return self.block


def is_power_of_two(number: int) -> bool:
    """Whether it has one bit."""
    return number & (number - 1) == 0


def turn_weights(site: Site, rotation: Rotation) -> None:
    """The weights of a site's readers times H; a rotation that has turned already is undone."""
    matrix = in_float64(rotation.matrix)
    target = orthogonal(len(matrix)).to(matrix.device)
    turn = matrix.t() @ target
    for layer in site.layers.values():
        weight = layer.weight.data
        # In float64, so that a rotation leaves the float function as it was to its last digits.
        blocks = in_float64(weight).unflatten(1, (-1, len(turn)))
        turned = blocks @ turn
        weight.copy_(back_like(turned.flatten(1), weight))


def orthogonal(size: int) -> Tensor:
    """H, (size, size) float64, on the CPU; `size` is a power of two."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        # Sylvester: [[H, H], [H, -H]].
        upper = torch.cat([matrix, matrix], 1)
        lower = torch.cat([matrix, -matrix], 1)
        matrix = torch.cat([upper, lower])
    # Drawn on the CPU, so that every device has the same.
    generator = torch.Generator().manual_seed(0)
    signs = 2 * torch.randint(0, 2, (size, 1), generator=generator) - 1
    return signs * matrix / size**0.5
