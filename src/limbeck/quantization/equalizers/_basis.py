"""A change of basis of what linear layers read: x B with the weights W B^-T.

B is a module under the rewrite's name in each reader's `basis`. Readers of one tensor share it, so
that a runtime computes it once. A plain scale is held by what makes the tensor instead, where
nobody else reads it: then it costs nothing. That is a norm with a weight (layer norm, RMS norm;
Xiao et al., 2022, arXiv 2211.10438, section 4), or of a gated feed-forward the linear layer whose
output is multiplied by the gate (AWQ's code, arXiv 2306.00978).

A weight with scales of float16 goes into files that have no place for B: its tensors are those that
such a maker can scale. What attention hands to its output projection is not among them: with keys
and values shared by heads the authors' code leaves it out, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from limbeck.models.anatomy.dataflow import Flow
from limbeck.quantization.equalizers._layers import untied_layers
from limbeck.quantization.modules.swap import QuantizedLinear, find


@dataclass
class Site:
    """A tensor, and the quantized linear layers that read it in the same basis.

    layers: those layers by name.
    maker: the norm, or the linear layer, that makes the tensor for them alone and can scale it;
        None where there is none.
    """

    layers: dict[str, QuantizedLinear]
    maker: Any

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
            # A scale is put only where no maker can hold it (`arrange_scales`).
            if isinstance(part, Scale):
                part.factor.div_(scale)
                return
            weight = self.maker.weight
            # By output channel, of a linear layer too.
            weight.div_(scale.view(-1, *[1] * (weight.ndim - 1)))
            for bias in biases(self.maker):
                bias.div_(scale)


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
    found = []
    for (tensor, *_), layers in readers.items():
        maker = _maker_of(model, flow, tensor, list(layers))
        if maker is not None or not next(iter(layers.values())).quantizer.is_half:
            found.append(Site(layers, maker))
    return found


def _maker_of(model: nn.Module, flow: Flow, tensor: int, readers: Sequence[str]) -> Any:
    """What can scale a tensor in place of its `readers`; None where nothing can.

    They are all that use it, and each of them ran once, as the maker did: of a module that runs
    again the division would meet another tensor too.
    """
    if flow.uses[tensor] != len(readers) or any(flow.calls[name] != 1 for name in readers):
        return None
    names = {made: name for name, made in flow.makes.items()}
    # A factor stands for the product where nobody else uses it.
    factors = [each for each in flow.factors.get(tensor, ()) if flow.uses[each] == 1]
    for made in (tensor, *factors):
        name = names.get(made)
        if name is None or flow.calls[name] != 1:
            continue
        maker = find(model, name)
        if made == tensor and scales_by_weight(maker):
            return maker
        is_linear = isinstance(maker, QuantizedLinear) and maker.norm is None
        if made != tensor and is_linear and name in untied_layers(model, flow):
            return maker
    return None


def biases(module: Any) -> list[Tensor]:
    """The bias of a norm or a linear layer, in a list; none where it has none."""
    return [parameter for key, parameter in module.named_parameters() if key == "bias"]


def scales_by_weight(module: nn.Module) -> bool:
    """Whether a norm's output is multiplied by its weight, channel by channel.

    It is asked by experiment, since every family of models has an RMS norm of its own, and some
    multiply by 1 + weight (Gemma). A batch norm has other moments to keep, and is none.
    """
    parameters = dict(module.named_parameters())
    weight = parameters.get("weight")
    is_norm = weight is not None and weight.ndim == 1 and parameters.keys() <= {"weight", "bias"}
    if weight is None or not is_norm or any(True for _ in module.buffers()):
        return False
    # Powers of two change no digit of a float.
    channels = torch.arange(len(weight), device=weight.device)
    factor = 2.0 ** (channels % 3)
    example = channels.add(1).sin().to(weight.dtype).view(1, 1, -1)
    scaled = {key: parameter * factor for key, parameter in parameters.items()}
    try:
        with torch.no_grad():
            expected = module(example) * factor
            return torch.equal(functional_call(module, scaled, (example,)), expected)
    # What reads something else than tokens: channels first, say.
    except (TypeError, ValueError, IndexError, RuntimeError, AttributeError, AssertionError):
        return False


def arrange_scales(key: str, found: Sequence[Site]) -> None:
    """Put a `Scale` at each site where no maker can hold it.

    That is where others read the tensor too, and after another change of basis.
    """
    for site in found:
        if site.maker is None or site.first.basis is not None:
            weight = site.first.weight
            site.put(key, Scale(weight.shape[1], weight.device))
