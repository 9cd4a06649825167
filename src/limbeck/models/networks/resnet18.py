"""ResNet-18 for small images: blocks of two 3 x 3 convolutions, 2 in each stage (He et al., 2015, arXiv 1512.03385, table 1)."""

from dataclasses import dataclass

from torch import nn

from limbeck.models.networks._residual import residual_network


@dataclass(frozen=True)
class Resnet18:
    """`width`: channels of the first stage, doubled in each of the three others."""

    width: int = 64

    def build(self, num_labels: int, channels: int) -> nn.Module:
        return residual_network((2, 2, 2, 2), self.width, num_labels, channels, deep=False)
