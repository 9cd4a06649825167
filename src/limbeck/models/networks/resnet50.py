"""ResNet-50 for small images: bottleneck blocks (1 x 1, 3 x 3, 1 x 1), 3, 4, 6 and 3 in the stages (He et al., 2015, arXiv 1512.03385, table 1)."""

from dataclasses import dataclass

from torch import nn

from limbeck.models.networks._residual import residual_network


@dataclass(frozen=True)
class Resnet50:
    """`width`: channels of the first stage, doubled in each of the three others."""

    width: int = 64

    def build(self, num_labels: int, channels: int) -> nn.Module:
        return residual_network((3, 4, 6, 3), self.width, num_labels, channels, deep=True)
