"""A plain convolutional network for small images: 3 x 3 convolutions with batch norm and ReLU, two strides of 2, global average, one linear layer."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class SmallCnn:
    """`width`: channels of the first block, doubled after each stride; `depth`: blocks before each stride."""

    width: int = 16
    depth: int = 1

    def build(self, num_labels: int, channels: int) -> nn.Module:
        widths = (
            [self.width] * self.depth
            + [2 * self.width] * self.depth
            + [4 * self.width] * self.depth
        )
        strides = [2 if i and i % self.depth == 0 else 1 for i in range(len(widths))]
        return _PlainCnn(channels, widths, strides, num_labels)


class _PlainCnn(nn.Module):
    """Blocks of convolution, batch norm and ReLU, then the mean over the pixels and a linear classifier."""

    def __init__(
        self, channels: int, widths: list[int], strides: list[int], num_labels: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for width, stride in zip(widths, strides, strict=True):
            convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
            self.blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
            channels = width
        self.classifier = nn.Linear(channels, num_labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to logits (B, V)."""
        hidden = pixel_values
        for block in self.blocks:
            hidden = block(hidden)
        return self.classifier(hidden.mean((2, 3)))
