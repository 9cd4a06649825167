"""A change of basis of what linear layers read: x B with the weights W B^-T, and where it stands.

It is a module under the rewrite's name in each reader's `basis`, shared by those that read one tensor, so that a runtime computes it once. A plain
scale is held by the layer norm that makes the tensor instead, where nobody else reads it (Xiao et al., 2022, arXiv 2211.10438, section 4).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.models.dataflow import Flow
from limbeck.quantization.equalizers._layers import own
from limbeck.quantization.swap import QuantizedLinear, find


@dataclass
class Site:
    """A tensor and the quantized linear layers that read it, in the same basis. `norm`: the layer norm that makes it for them alone."""

    layers: dict[str, QuantizedLinear]
    norm: nn.LayerNorm | None

    @property
    def first(self) -> QuantizedLinear:
        """The reader whose inputs stand for all."""
        return next(iter(self.layers.values()))

    def weight(self) -> torch.Tensor:
        """(all O, D), of all readers."""
        return torch.cat([layer.float_weight().detach() for layer in self.layers.values()])

    def put(self, key: str, module: nn.Module) -> None:
        """Let what is read pass through `module`, last."""
        for layer in self.layers.values():
            layer.basis = layer.basis or nn.Sequential()
            layer.basis.add_module(key, module)

    def part(self, key: str) -> nn.Module | None:
        """What `put` put there."""
        return dict(self.first.basis.named_children() if self.first.basis else ()).get(key)

    def rescale(self, key: str, scale: torch.Tensor) -> None:
        """Divide what is read by `scale` (D), from now on, and multiply the weights by it."""
        part = self.part(key)
        with torch.no_grad():
            for layer in self.layers.values():
                layer.weight.mul_(scale)
            if isinstance(part, Scale):
                part.factor.div_(scale)
            else:
                assert self.norm is not None
                self.norm.weight.div_(scale)
                if self.norm.bias is not None:
                    self.norm.bias.div_(scale)


class Scale(nn.Module):
    """x times a factor for each channel, ones at first."""

    factor: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Rotation(nn.Module):
    """Blocks of channels times an orthogonal matrix, the identity at first."""

    matrix: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.eye(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = len(self.matrix)
        return (
            x @ self.matrix
            if x.shape[-1] == size
            else (x.unflatten(-1, (-1, size)) @ self.matrix).flatten(-2)
        )


def sites(
    model: nn.Module, flow: Flow, wanted: Callable[[QuantizedLinear], bool] = lambda layer: True
) -> list[Site]:
    """Where what linear layers read can change its basis, in the order in which they run.

    Not where a tensor is quantized by the module that makes it, nor for a weight that another module holds too.
    """
    groups: dict[tuple[int, ...], dict[str, QuantizedLinear]] = {}
    for name, layer in own(model, flow).items():
        if isinstance(layer, QuantizedLinear) and not layer.reads_codes and wanted(layer):
            groups.setdefault((flow.reads[name], *map(id, layer.basis or ())), {})[name] = layer
    makers = {tensor: name for name, tensor in flow.makes.items()}
    return [
        Site(layers, _norm_for(model, flow, makers.get(key[0], ""), list(layers)))
        for key, layers in groups.items()
    ]


def _norm_for(model: nn.Module, flow: Flow, maker: str, readers: list[str]) -> nn.LayerNorm | None:
    """The layer norm `maker`, where `readers` are all that use what it makes, and each ran once."""
    norm = find(model, maker) if maker else None
    is_alone = flow.uses[flow.makes.get(maker, -1)] == len(readers) and all(
        flow.calls[name] == 1 for name in (maker, *readers)
    )
    return norm if isinstance(norm, nn.LayerNorm) and norm.weight is not None and is_alone else None


def arrange_scales(key: str, found: list[Site]) -> None:
    """Put a `Scale` where no layer norm can hold it: after another change of basis, or where others read the tensor."""
    for site in found:
        if site.norm is None or site.first.basis is not None:
            site.put(key, Scale(site.first.weight.shape[1]))
