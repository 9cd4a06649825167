"""Residual networks for small images (He et al., 2015, arXiv 1512.03385): a stem, four stages of
residual blocks, the mean over the pixels, a linear classifier.

The first block of every stage but the first has stride 2; a 1 x 1 convolution stands on a shortcut
where the shape changes (the paper's option B).

What differs: the paper's networks for ImageNet begin with a 7 x 7 convolution and a pool of stride
2 each, which leave too little of 28 pixels. Both are replaced by a 3 x 3 convolution of stride 1,
as MedMNIST does (Yang et al., 2023, arXiv 2110.14795).
"""

from collections.abc import Sequence

from torch import Tensor, nn


def convolution(
    in_channels: int,
    out_channels: int,
    size: int,
    stride: int = 1,
    groups: int = 1,
) -> list[nn.Module]:
    """A convolution that keeps height and width but for its stride, and its batch norm.

    It has no bias, since the norm that follows would take it off again.
    """
    layer = nn.Conv2d(
        in_channels,
        out_channels,
        size,
        stride,
        padding=size // 2,
        groups=groups,
        bias=False,
    )
    return [layer, nn.BatchNorm2d(out_channels)]


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); an empty `shortcut` is x itself."""

    def __init__(
        self,
        branch: Sequence[nn.Module],
        shortcut: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.branch(x) + self.shortcut(x))


class Stacked(nn.Module):
    """A stem, blocks, the mean over the pixels and a linear classifier on `width` channels."""

    def __init__(
        self,
        stem: Sequence[nn.Module],
        blocks: Sequence[nn.Module],
        width: int,
        num_labels: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*stem)
        self.blocks = nn.ModuleList(blocks)
        # Modules, not `mean`: what a module makes can be quantized.
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The logits (B, V) of images (B, C, H, W)."""
        hidden = self.stem(pixel_values)
        for block in self.blocks:
            hidden = block(hidden)
        return self.classifier(self.flatten(self.pool(hidden)))


def basic(
    in_channels: int,
    width: int,
    stride: int,
) -> list[nn.Module]:
    """The branch of ResNet-18 (figure 5, left): two 3 x 3 convolutions."""
    return [
        *convolution(in_channels, width, 3, stride),
        nn.ReLU(),
        *convolution(width, width, 3),
    ]


def bottleneck(
    in_channels: int,
    width: int,
    stride: int,
) -> list[nn.Module]:
    """The branch of ResNet-50 (figure 5, right): 1 x 1, 3 x 3 and 1 x 1, to four widths.

    The stride is on the 3 x 3 convolution, as today's implementations have it; on the first, as in
    the paper, it would skip three of four pixels.
    """
    return [
        *convolution(in_channels, width, 1),
        nn.ReLU(),
        *convolution(width, width, 3, stride),
        nn.ReLU(),
        *convolution(width, 4 * width, 1),
    ]


def residual_network(
    sizes: Sequence[int],
    width: int,
    num_labels: int,
    channels: int,
    *,
    deep: bool,
    stride: int = 1,
) -> nn.Module:
    """A stem and a stage for each of `sizes`, which has so many blocks of `width` 2^stage channels.

    `channels`: of the images. `deep`: bottleneck blocks, whose output has four times the width.
    `stride`: of the stem.
    """
    # The paper's two kinds of block: from 50 layers on a basic one would cost too much.
    branch = bottleneck if deep else basic
    expansion = 4 if deep else 1
    blocks: list[nn.Module] = []
    in_channels = width
    # Half the pixels a side and twice the channels from stage to stage (section 3.3).
    for stage, size in enumerate(sizes):
        stage_width = width << stage
        out_channels = expansion * stage_width
        for index in range(size):
            step = 2 if stage > 0 and index == 0 else 1
            layers = branch(in_channels, stage_width, step)
            shortcut: list[nn.Module] = []
            # Only where the shapes differ: elsewhere the shortcut is x itself.
            if step != 1 or in_channels != out_channels:
                shortcut = convolution(in_channels, out_channels, 1, step)
            blocks.append(Residual(layers, shortcut))
            in_channels = out_channels
    # After the blocks: weights are drawn in the order of the modules, and seeds should go on giving
    # the same ones.
    stem = [*convolution(channels, width, 3, stride), nn.ReLU()]
    return Stacked(stem, blocks, in_channels, num_labels)
