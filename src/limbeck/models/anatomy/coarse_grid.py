"""Do a model's weights lie on a coarse grid already? Then what a few bits lose of it says nothing
of a model that was trained in floats.

Asked of the weights themselves, whatever file they came from: formats of 2 to 4 bits have one scale
for 32 weights or so, and 32 neighbouring weights then take at most 2^bits values. Trained floats
take 32.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

# Neighbours along the inputs that share a scale, in llama.cpp's formats and in most others.
GROUP = 32

# Groups of a matrix that are looked at, from its first rows to its last.
NUM_GROUPS = 256

# More levels than this no group of 32 could show.
MOST_BITS = 4


@dataclass(frozen=True)
class CoarseGrid:
    """share: of the weights in matrices, those on a grid. bits: of the finest such grid."""

    share: float
    bits: int


def coarse_grid(tensors: Iterable[Tensor]) -> CoarseGrid | None:
    """What is on a grid of at most 4 bits among the matrices of a model; None where nothing is."""
    num_weights = 0
    num_coarse = 0
    most = 0
    for tensor in tensors:
        # Norms and biases are floats in every format.
        if tensor.ndim != 2 or not tensor.is_floating_point():
            continue
        num_weights += tensor.numel()
        bits = grid_bits(tensor)
        if bits is not None:
            num_coarse += tensor.numel()
            most = max(most, bits)
    return CoarseGrid(num_coarse / num_weights, most) if num_coarse else None


def grid_bits(weight: Tensor) -> int | None:
    """The bits of a grid that a matrix (out, in) lies on; None where it lies on none of 4 or fewer.

    Example:
        >>> grid_bits(torch.arange(64.0).remainder(8).reshape(2, 32))
        3
        >>> grid_bits(torch.arange(64.0).reshape(2, 32)) is None
        True
    """
    num_rows, num_columns = weight.shape
    if num_columns % GROUP or not num_rows:
        return None
    groups_of_row = num_columns // GROUP
    step = max(1, num_rows * groups_of_row // NUM_GROUPS)
    groups = weight.detach().reshape(-1, GROUP)[::step]
    levels = groups.sort(1).values
    counts = 1 + levels.diff(dim=1).ne(0).sum(1)
    num_levels = int(counts.max())
    # A matrix of zeros is on every grid.
    if not 1 < num_levels <= 2**MOST_BITS:
        return None
    return (num_levels - 1).bit_length()
