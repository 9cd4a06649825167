"""A plain convolutional network for small images, after no paper: blocks of a 3 x 3 convolution,
batch norm and ReLU in three stages, the mean over the pixels, one linear layer.

The second and third stage begin with a stride of 2 and have twice the channels of the one before.
It is the smallest student here, and trains in seconds on a CPU. On 64 pixels a side and more a
stride of 2 in the first stage, too, leaves it a quarter of the cost, and twice the view.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

# From 28 or 32 pixels a side to 7 or 8.
NUM_STAGES = 3


@dataclass(frozen=True)
class SmallCnn:
    """`width`: channels of the first stage. `depth`: blocks of each stage. `stride`: of the first
    stage; 2 for images of more than about 48 pixels a side."""

    width: Annotated[int, Field(ge=1, le=1024)] = 16
    depth: Annotated[int, Field(ge=1, le=100)] = 1
    stride: Annotated[int, Field(ge=1, le=4)] = 1

    def build(self, num_labels: int, channels: int) -> nn.Module:
        """The network with new weights, for images of `channels` channels."""
        blocks = nn.ModuleList()
        in_channels = channels
        for stage in range(NUM_STAGES):
            # Twice the channels for a quarter of the pixels: each stage costs about the same.
            out_channels = self.width << stage
            for index in range(self.depth):
                stride = 1
                if index == 0:
                    stride = 2 if stage > 0 else self.stride
                blocks.append(block(in_channels, out_channels, stride))
                in_channels = out_channels
        return _PlainCnn(blocks, in_channels, num_labels)


def block(
    in_channels: int,
    out_channels: int,
    stride: int,
) -> nn.Module:
    """A convolution, its batch norm and a ReLU."""
    # No bias: the norm that follows would take it off again.
    convolution = nn.Conv2d(
        in_channels,
        out_channels,
        3,
        stride=stride,
        padding=1,
        bias=False,
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


class _PlainCnn(nn.Module):
    """Blocks, then the mean over the pixels and a linear classifier on `width` channels."""

    def __init__(
        self,
        blocks: nn.ModuleList,
        width: int,
        num_labels: int,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The logits (B, V) of images (B, C, H, W)."""
        hidden = pixel_values
        for block in self.blocks:
            hidden = block(hidden)
        return self.classifier(hidden.mean((2, 3)))
