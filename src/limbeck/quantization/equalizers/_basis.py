"""A change of basis of what linear layers read: x B with the weights W B^-T.

B is a module under the rewrite's name in each reader's `basis`. Readers of one tensor share it, so
that a runtime computes it once. A plain scale is held by the layer norm that makes the tensor
instead, where nobody else reads it: then it costs nothing (Xiao et al., 2022, arXiv 2211.10438,
section 4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models.anatomy.dataflow import Flow, is_usual
from limbeck.quantization.equalizers._layers import untied_layers
from limbeck.quantization.modules.swap import QuantizedLinear, find


@dataclass
class Site:
    """A tensor, and the quantized linear layers that read it in the same basis.

    layers: those layers by name.
    norm: the layer norm that makes the tensor for them alone; None where there is none.
    """

    layers: dict[str, QuantizedLinear]
    norm: nn.LayerNorm | None

    @property
    def first(self) -> QuantizedLinear:
        """The reader whose inputs stand for those of all."""
        return next(iter(self.layers.values()))

    def weight(self) -> Tensor:
        """(O of all readers, D)."""
        weights = [layer.float_weight() for layer in self.layers.values()]
        return torch.cat(weights).detach()

    def put(self, key: str, module: nn.Module) -> None:
        """Let what is read pass through `module`, after what the basis has already."""
        # One module in all readers' chains: saved and exported once, and changed once for all.
        for layer in self.layers.values():
            layer.basis = layer.basis or nn.Sequential()
            layer.basis.add_module(key, module)

    def part(self, key: str) -> nn.Module | None:
        """What `put` put there under this key."""
        if not self.first.basis:
            return None
        return dict(self.first.basis.named_children()).get(key)

    def rescale(self, key: str, scale: Tensor) -> None:
        """Divide what is read by `scale` (D), from now on, and multiply the weights by it."""
        part = self.part(key)
        with torch.no_grad():
            for layer in self.layers.values():
                layer.weight.mul_(scale)
            # A scale is put only where no norm can hold it (`arrange_scales`).
            if isinstance(part, Scale):
                part.factor.div_(scale)
                return
            assert self.norm is not None
            self.norm.weight.div_(scale)
            if self.norm.bias is not None:
                self.norm.bias.div_(scale)


class Scale(nn.Module):
    """x (..., D) times a factor for each channel, ones at first."""

    factor: Tensor

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(width, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Rotation(nn.Module):
    """Blocks of channels of x (..., D) times an orthogonal matrix, the identity at first."""

    matrix: Tensor

    def __init__(self, size: int, device: torch.device | None = None) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.eye(size, device=device))

    def forward(self, x: Tensor) -> Tensor:
        size = len(self.matrix)
        # One block needs no reshaping, which a graph would hold as nodes.
        if x.shape[-1] == size:
            return x @ self.matrix
        blocks = x.unflatten(-1, (-1, size))
        return (blocks @ self.matrix).flatten(-2)


def any_layer(layer: QuantizedLinear) -> bool:
    """Every layer will do."""
    return True


def sites(
    model: nn.Module,
    flow: Flow,
    is_wanted: Callable[[QuantizedLinear], bool] = any_layer,
) -> list[Site]:
    """Where what linear layers read can change its basis, in the order in which they run.

    It cannot where a tensor is quantized by the module that makes it, nor for a weight that another
    module holds too.
    """
    # Readers of one tensor are together as long as they read it through the same modules.
    readers: dict[tuple[int, ...], dict[str, QuantizedLinear]] = {}
    for name, layer in untied_layers(model, flow).items():
        if not isinstance(layer, QuantizedLinear) or layer.reads_codes or not is_wanted(layer):
            continue
        modules = layer.basis or ()
        key = (flow.reads[name], *map(id, modules))
        group = readers.setdefault(key, {})
        group[name] = layer
    makers = {tensor: name for name, tensor in flow.makes.items()}
    found = []
    for (tensor, *_), layers in readers.items():
        maker = makers.get(tensor, "")
        norm = _norm_for(model, flow, maker, list(layers))
        found.append(Site(layers, norm))
    return found


def _norm_for(
    model: nn.Module,
    flow: Flow,
    maker: str,
    readers: Sequence[str],
) -> nn.LayerNorm | None:
    """The layer norm `maker`, if `readers` are all that use what it makes, and each ran once."""
    norm: Any = find(model, maker) if maker else None
    if norm is None or not is_usual(norm, (nn.LayerNorm,)) or norm.weight is None:
        return None
    made = flow.makes[maker]
    has_other_readers = flow.uses[made] != len(readers)
    # Of a module that runs again, the division would meet another tensor too.
    runs_once = all(flow.calls[name] == 1 for name in (maker, *readers))
    return norm if runs_once and not has_other_readers else None


def arrange_scales(key: str, found: Sequence[Site]) -> None:
    """Put a `Scale` at each site where no layer norm can hold it.

    That is where others read the tensor too, and after another change of basis.
    """
    for site in found:
        if site.norm is None or site.first.basis is not None:
            weight = site.first.weight
            site.put(key, Scale(weight.shape[1], weight.device))
