"""A model's outputs on a batch: logits and inner activations by module name, unit by unit.

Every tensor of `Outputs` has a unit axis, so that models with different tokenizers meet on the same words: (B, W, V) logits, (B, W, D) hidden.
Where a row is one unit, a layer's tokens (B, T, D) count as their mean over those that the attention mask lets through, (B, 1, D), and a
convolution's map (B, C, H, W) as its mean over the pixels, (B, 1, C).
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.registry import suggest
from limbeck.tasks import Batch, Encoded, collate


@dataclass(frozen=True)
class Outputs:
    """`logits` (B, W, V), `hidden` (B, W, D) by module name, `mask` (B, W; True counts)."""

    logits: torch.Tensor
    mask: torch.Tensor
    hidden: dict[str, torch.Tensor] = field(default_factory=dict)


def blocks(model: nn.Module) -> list[str]:
    """The names of the model's layers. Raises ValueError where there is no list of them."""
    found = layer_names(model)
    if not found:
        raise ValueError(f"{type(model).__name__} has no ModuleList of layers, so none can be left out")
    return found


def layer_names(model: nn.Module) -> list[str]:
    """The members of the model's longest ModuleList, first to last; none where it has no such list."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    name, longest = max(lists, key=lambda pair: len(pair[1]), default=("", ()))
    return [f"{name}.{index}" for index in range(len(longest))]


def evenly(count: int, of: int) -> list[int]:
    """`count` indices out of range(of), evenly spaced, the last kept: evenly(3, 6) = [1, 3, 5]."""
    if not 1 <= count <= of:
        raise ValueError(f"cannot keep {count} of {of} layers")
    return [round((i + 1) * of / count) - 1 for i in range(count)]


def to_torch(batch: Batch) -> Batch:
    """The same batch with torch tensors."""
    tensor = torch.from_numpy
    positions = None if batch.positions is None else tensor(batch.positions)
    return Batch(
        {name: tensor(value) for name, value in batch.inputs.items()},
        positions,
        tensor(batch.labels),
        tensor(batch.mask),
        batch.rows,
    )


def batch_of(encoded: Sequence[Encoded], rows: np.ndarray, padding: dict[str, int]) -> Batch:
    """Some of the encoded rows, by their numbers, as a batch of torch tensors."""
    return to_torch(collate([encoded[i] for i in rows], rows, padding))


def run(model: nn.Module, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
    """The outputs of `model` on a batch of torch tensors, with the activations of `layers`."""
    with capture(model, layers) as captured, naming_tokens_at(model, batch.positions) as gathered:
        result = model(**batch.inputs)
    logits = result if isinstance(result, torch.Tensor) else result.logits
    seen = batch.inputs.get("attention_mask")
    hidden = {name: by_unit(captured[name], batch.positions, seen).float() for name in layers}
    return Outputs((logits if gathered else by_unit(logits, batch.positions)).float(), batch.mask, hidden)


def by_unit(values: torch.Tensor, positions: torch.Tensor | None, seen: torch.Tensor | None = None) -> torch.Tensor:
    """(B, T, D) to (B, W, D) at `positions` (B, W). Without positions one unit a row: (B, D), (B, C, H, W), or (B, T, D) with the mask `seen`
    (B, T), to (B, 1, D)."""
    if positions is not None:
        return values.gather(1, positions.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
    if values.ndim == 4:
        return values.flatten(2).mean(2).unsqueeze(1)
    if values.ndim == 2:
        return values.unsqueeze(1)
    weights = torch.ones_like(values[..., :1]) if seen is None else seen.unsqueeze(-1).to(values.dtype)
    return (values * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)


@contextlib.contextmanager
def naming_tokens_at(model: nn.Module, positions: torch.Tensor | None) -> Iterator[bool]:
    """Inside, a model whose labels are its vocabulary answers at `positions` (B, W) alone, and True is given: at every token, its logits would
    outweigh the rest of a training step."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None or positions is None:
        yield False
        return
    handle = head.register_forward_pre_hook(lambda module, inputs: (by_unit(inputs[0], positions), *inputs[1:]))
    try:
        yield True
    finally:
        handle.remove()


@contextlib.contextmanager
def capture(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Inside, a forward leaves the outputs of the named modules in the dict."""
    captured: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            captured[name] = output[0] if isinstance(output, tuple) else output

        return hook

    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    for name in layers:
        if name not in modules:
            raise ValueError(f"{type(model).__name__} has no module `{name}`. {suggest(name, modules)}")
    handles = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
