"""MobileNetV2 for small images (Sandler et al., 2018, arXiv 1801.04381, table 2): inverted residual
blocks with depthwise convolutions and ReLU6.

A block widens its input (1 x 1), filters each channel by itself (3 x 3), and narrows it without an
activation (1 x 1).

What differs: the first two of the paper's strides of 2 are 1 here. Five strides of 2 leave one
pixel of 28 or 32.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from limbeck.models.networks._residual import Stacked, convolution

# Table 2: expansion factor t, output channels c, number of blocks n, stride s of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

# The channels before the first and after the last block (table 2).
FIRST = 32
LAST = 1280


@dataclass(frozen=True)
class MobilenetV2:
    """`width`: factor of every layer's channels, rounded to multiples of 8 (section 6.1).

    Below 1 the last layer keeps its 1,280 channels, as in the paper.
    """

    width: Annotated[float, Field(gt=0, le=16)] = 1.0

    def build(self, num_labels: int, channels: int) -> nn.Module:
        """The network with new weights, for images of `channels` channels."""
        in_channels = self.channels(FIRST)
        stem = [*convolution(channels, in_channels, 3), nn.ReLU6()]
        blocks: list[nn.Module] = []
        for expansion, base, num_blocks, first_stride in STAGES:
            out_channels = self.channels(base)
            for index in range(num_blocks):
                stride = first_stride if index == 0 else 1
                blocks.append(_InvertedResidual(in_channels, out_channels, expansion, stride))
                in_channels = out_channels
        last = self.channels(LAST) if self.width > 1 else LAST
        blocks.append(nn.Sequential(*convolution(in_channels, last, 1), nn.ReLU6()))
        return Stacked(stem, blocks, last, num_labels)

    def channels(self, base: int) -> int:
        """The multiple of 8 nearest to `width` times `base`, not below nine tenths of it.

        Both rules are those of the authors' code (`make_divisible`).
        """
        wanted = self.width * base
        nearest = max(8, int(wanted + 4) // 8 * 8)
        return nearest if nearest >= 0.9 * wanted else nearest + 8


class _InvertedResidual(nn.Module):
    """x + branch(x), or branch(x) where the shape changes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
    ) -> None:
        super().__init__()
        wide = expansion * in_channels
        layers: list[nn.Module] = []
        # The first block's expansion is 1: it would widen nothing.
        if expansion > 1:
            layers += [*convolution(in_channels, wide, 1), nn.ReLU6()]
        layers += [*convolution(wide, wide, 3, stride, groups=wide), nn.ReLU6()]
        # Without an activation, which would lose what a narrow layer holds (section 3.2).
        layers += convolution(wide, out_channels, 1)
        self.branch = nn.Sequential(*layers)
        # Where the shape changes there is no shortcut at all, unlike in a ResNet.
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.is_residual else self.branch(x)
