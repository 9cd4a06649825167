"""A multilayer perceptron on the pixels of small images: blocks of a linear layer and a ReLU.

It knows nothing of where pixels lie, so that with few labels it learns less from them than a
convolution does; a teacher that convolves can show it on images without labels (Abnar et al.,
2020, arXiv 2006.00555). Its products are of a vector and a matrix, which integers make faster
at any size, and a microcontroller has nothing simpler to compute.

Shapes: B images, C channels, H x W pixels, V labels.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn


@dataclass(frozen=True)
class Mlp:
    """`width`: of each block. `depth`: blocks. `grid`: images are averaged down (or repeated up) to
    so many pixels a side first."""

    width: Annotated[int, Field(ge=1, le=8192)] = 512
    depth: Annotated[int, Field(ge=1, le=100)] = 2
    grid: Annotated[int, Field(ge=1, le=64)] = 8

    def build(self, num_labels: int, channels: int) -> nn.Module:
        """The network with new weights, for images of `channels` channels."""
        return _Perceptron(self, num_labels, channels)


class _Perceptron(nn.Module):
    """The pixels of the grid in one vector, the blocks, a linear classifier."""

    def __init__(self, keys: Mlp, num_labels: int, channels: int) -> None:
        super().__init__()
        # No norms: layers of linear products and ReLU become integers without a fold.
        self.grid = keys.grid
        widths = [channels * keys.grid**2] + [keys.width] * keys.depth
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)
        )
        self.classifier = nn.Linear(keys.width, num_labels)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The logits (B, V) of images (B, C, H, W)."""
        hidden = self.averaged(pixel_values).flatten(1)
        for block in self.blocks:
            hidden = block(hidden)
        return self.classifier(hidden)

    def averaged(self, images: Tensor) -> Tensor:
        """Images of the grid's size, (B, C, grid, grid)."""
        height, width = images.shape[2:]
        # Nothing to average: the graph of an artifact has no step for it.
        if (height, width) == (self.grid, self.grid):
            return images
        rows = shares(height, self.grid).to(images)
        columns = shares(width, self.grid).to(images)
        return rows @ images @ columns.T


def shares(pixels: int, cells: int) -> Tensor:
    """How much of each cell each pixel is, (cells, pixels), where both lie on one line of length 1.

    Each row sums to 1; with as many cells as pixels it is the identity.
    """
    # In units of 1 / (pixels * cells) all edges are whole numbers, so nothing is rounded.
    ends = torch.arange(1, cells + 1)[:, None] * pixels
    pixel_ends = torch.arange(1, pixels + 1)[None] * cells
    overlap = torch.minimum(ends, pixel_ends) - torch.maximum(ends - pixels, pixel_ends - cells)
    return overlap.clamp(min=0) / pixels
