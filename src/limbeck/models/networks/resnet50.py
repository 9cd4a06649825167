"""ResNet-50 for small images (He et al., 2015, arXiv 1512.03385, table 1): bottleneck blocks
(1 x 1, 3 x 3, 1 x 1), 3, 4, 6 and 3 in the four stages.

What differs from the paper's network for ImageNet stands in `_residual`: the stem, and
where a block has its stride.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import nn

from limbeck.models.networks._residual import residual_network

# Blocks of each stage: table 1.
SIZES = (3, 4, 6, 3)


@dataclass(frozen=True)
class Resnet50:
    """`width`: channels of the first stage, doubled in each of the three others. `stride`: of the
    stem; 2 for images of more than about 48 pixels a side, which are then a quarter of the cost.
    """

    width: Annotated[int, Field(ge=1, le=512)] = 64
    stride: Annotated[int, Field(ge=1, le=4)] = 1

    def build(self, num_labels: int, channels: int) -> nn.Module:
        """The network with new weights, for images of `channels` channels."""
        return residual_network(
            SIZES,
            self.width,
            num_labels,
            channels,
            stride=self.stride,
            deep=True,
        )
