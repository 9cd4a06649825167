"""Residual networks for small images (He et al., 2015, arXiv 1512.03385): a 3 x 3 stem of stride 1, no pool, then four stages.

The first block of every stage but the first has stride 2; a 1 x 1 convolution stands on a shortcut where the shape changes. The paper's networks for
ImageNet begin with a 7 x 7 convolution and a pool of stride 2 each, which leave too little of 28 pixels: both are replaced, as MedMNIST does
(Yang et al., 2023, arXiv 2110.14795).
"""

from collections.abc import Sequence

import torch
from torch import nn


def convolution(
    inside: int, outside: int, size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, and its batch norm."""
    layer = nn.Conv2d(inside, outside, size, stride, padding=size // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outside)]


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x))."""

    def __init__(self, branch: Sequence[nn.Module], shortcut: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branch, self.shortcut, self.activation = (
            nn.Sequential(*branch),
            nn.Sequential(*shortcut),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.branch(x) + self.shortcut(x))


class Stacked(nn.Module):
    """A stem, blocks, the mean over the pixels and a linear classifier on `width` channels."""

    def __init__(
        self, stem: Sequence[nn.Module], blocks: Sequence[nn.Module], width: int, num_labels: int
    ) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Sequential(*stem), nn.ModuleList(blocks)
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to logits (B, V)."""
        hidden = self.stem(pixel_values)
        for block in self.blocks:
            hidden = block(hidden)
        return self.classifier(self.flatten(self.pool(hidden)))


def basic(inside: int, width: int, stride: int) -> list[nn.Module]:
    """The branch of ResNet-18 (figure 5, left)."""
    return [*convolution(inside, width, 3, stride), nn.ReLU(), *convolution(width, width, 3)]


def bottleneck(inside: int, width: int, stride: int) -> list[nn.Module]:
    """The branch of ResNet-50 (figure 5, right), its stride on the 3 x 3 convolution: it then skips no pixel, as today's implementations have it."""
    narrow = [
        *convolution(inside, width, 1),
        nn.ReLU(),
        *convolution(width, width, 3, stride),
        nn.ReLU(),
    ]
    return [*narrow, *convolution(width, 4 * width, 1)]


def residual_network(
    sizes: Sequence[int], width: int, num_labels: int, channels: int, *, deep: bool
) -> nn.Module:
    """`sizes[i]` blocks of width `width` 2^i; `deep`: bottleneck blocks, which end in four widths."""
    blocks: list[nn.Module] = []
    branch, expansion = (bottleneck, 4) if deep else (basic, 1)
    inside = width
    for stage, size in enumerate(sizes):
        for index in range(size):
            stride, outside = 2 if stage and not index else 1, expansion * width << stage
            same_shape = stride == 1 and inside == outside
            blocks.append(
                Residual(
                    branch(inside, width << stage, stride),
                    [] if same_shape else convolution(inside, outside, 1, stride),
                )
            )
            inside = outside
    return Stacked([*convolution(channels, width, 3), nn.ReLU()], blocks, inside, num_labels)
