"""MobileNetV2 for small images (Sandler et al., 2018, arXiv 1801.04381, table 2): inverted residual blocks with depthwise convolutions and ReLU6.

A block widens its input (1 x 1), filters each channel by itself (3 x 3), and narrows it without an activation (1 x 1). The first two of the paper's
strides of 2 are 1 here, since 32 of 28 pixels would leave one.
"""

from dataclasses import dataclass

import torch
from torch import nn

from limbeck.models.networks._residual import Stacked, convolution

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # t, c, n, s of table 2


@dataclass(frozen=True)
class MobilenetV2:
    """`width`: factor of every layer's channels, rounded to multiples of 8 (section 6.1)."""

    width: float = 1.0

    def build(self, num_labels: int, channels: int) -> nn.Module:
        inside, last = self.channels(32), self.channels(1280) if self.width > 1 else 1280
        stem = [*convolution(channels, inside, 3), nn.ReLU6()]
        blocks: list[nn.Module] = []
        for expansion, width, count, stride in STAGES:
            for index in range(count):
                blocks.append(
                    _InvertedResidual(
                        inside, self.channels(width), expansion, 1 if index else stride
                    )
                )
                inside = self.channels(width)
        blocks.append(nn.Sequential(*convolution(inside, last, 1), nn.ReLU6()))
        return Stacked(stem, blocks, last, num_labels)

    def channels(self, base: int) -> int:
        """The multiple of 8 nearest to `width` times `base`, not below nine tenths of it."""
        nearest = max(8, int(self.width * base + 4) // 8 * 8)
        return nearest if nearest >= 0.9 * self.width * base else nearest + 8


class _InvertedResidual(nn.Module):
    """x + branch(x), or branch(x) where the shape changes."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * inside
        widen = [*convolution(inside, wide, 1), nn.ReLU6()] if expansion > 1 else []
        filtered = [*convolution(wide, wide, 3, stride, groups=wide), nn.ReLU6()]
        self.branch = nn.Sequential(*widen, *filtered, *convolution(wide, outside, 1))
        self.is_residual = stride == 1 and inside == outside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x) if self.is_residual else self.branch(x)
