"""Small networks of our own, one a file, by name."""

from typing import Any, Protocol

from torch import nn

from limbeck.core import registry
from limbeck.core.contract import wrong_return


class Network(Protocol):
    """One file, one network; its constructor's arguments are its recipe keys."""

    def build(self, num_labels: int, channels: int) -> nn.Module:
        """A torch module with new weights, drawn from torch's global generator.

        Its input is called `pixel_values` (B, C, H, W), and its output is logits (B, V). It takes
        images of any height and width, for it is not told them: those of the data, or of
        `data.size` (a pooling over all pixels, such as `AdaptiveAvgPool2d(1)`, before the last
        layer; the tests give it 8 x 8, 9 x 9 and 28 x 28). It answers each row by itself. Its
        `blocks` are its layers, which losses on hidden maps and surgeries find by that name.
        """
        ...


def build(name: str, options: dict[str, Any], num_labels: int, channels: int) -> nn.Module:
    """A network by its name and its recipe keys. Raises ValueError where it gives no module."""
    network: Network = registry.create("networks", name, options)
    model = network.build(num_labels, channels)
    if not isinstance(model, nn.Module):
        told = f"the network `{name}`"
        raise wrong_return(told, "build", model, "a torch module", network.build)
    return model
