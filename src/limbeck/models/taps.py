"""A model's outputs on a batch: logits unit by unit, and what losses read of its inside, each by a `Tap`: a kind and a module's name.

| kind | shape | what |
|---|---|---|
| hidden | (B, W, D) | a module's output unit by unit, so that models with different tokenizers meet on the same words |
| places | (B, P, D) | the same place by place |
| maps | (B, C, H, W) | a convolution's output |
| attention | (B, N, P, P) | the probabilities of the attention inside a module, N heads |
| queries, keys, values | (B, N, P, D) | what that attention multiplies |

Where a row is one unit, `hidden` is the mean over its tokens that the attention mask lets through, (B, 1, D), or over its pixels, (B, 1, C). Places
are the units of a row that has several (a word's first token, so that tails and padding are left out), and the tokens of a row that is one unit.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from limbeck.core.wording import suggest
from limbeck.models import attention
from limbeck.tasks import Batch, Encoded, collate

HIDDEN, PLACES, MAPS = "hidden", "places", "maps"
OF_ATTENTION = (attention.PROBABILITIES, *attention.FACTORS)
BY_PLACE = (PLACES, *OF_ATTENTION)


class Tap(NamedTuple):
    """Where a loss reads: what `kind` of tensor, of which `module`."""

    kind: str
    module: str


@dataclass(frozen=True)
class Outputs:
    """`logits` (B, W, V), `mask` (B, W; True counts), `inner` by tap, and `places` (B, P; True counts), where they are not the units."""

    logits: torch.Tensor
    mask: torch.Tensor
    inner: dict[Tap, torch.Tensor] = field(default_factory=dict)
    places: torch.Tensor | None = None

    @property
    def place_mask(self) -> torch.Tensor:
        """(B, P) which places count."""
        return self.mask if self.places is None else self.places

    @property
    def hidden(self) -> dict[str, torch.Tensor]:
        """(B, W, D) the hidden maps by module name."""
        return {tap.module: value for tap, value in self.inner.items() if tap.kind == HIDDEN}


def hidden_of(modules: Sequence[str]) -> list[Tap]:
    """The taps of these modules' hidden maps."""
    return [Tap(HIDDEN, name) for name in modules]


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


def run_model(model: nn.Module, batch: Batch, taps: Sequence[Tap] = ()) -> Outputs:
    """The outputs of `model` on a batch of torch tensors, with what `taps` name."""
    attending = [tap.module for tap in taps if tap.kind in OF_ATTENTION]
    layers = [tap.module for tap in taps if tap.kind not in OF_ATTENTION]
    with (
        capture(model, layers) as captured,
        attention.recorded(model, attending) as recorded,
        naming_tokens_at(model, batch.positions) as gathered,
    ):
        result = model(**batch.inputs)
    logits = logits_of(result)
    inner = {
        tap: placed(
            tap,
            recorded[tap.module][tap.kind] if tap.kind in OF_ATTENTION else captured[tap.module],
            batch,
        )
        for tap in taps
    }
    units = logits if gathered or holds_texts(batch) else by_unit(logits, batch.positions)
    return Outputs(units.float(), batch.mask, inner, places_of(batch, inner))


def logits_of(result: Any) -> torch.Tensor:
    """The logits of what a model gives."""
    return result if isinstance(result, torch.Tensor) else result.logits


def holds_texts(batch: Batch) -> bool:
    """Whether a row holds several texts (B, W, T), each a unit that is read by itself."""
    seen = batch.inputs.get("attention_mask")
    return seen is not None and seen.ndim == 3


def places_of(batch: Batch, inner: dict[Tap, torch.Tensor]) -> torch.Tensor | None:
    """(B, P) which places count, where a row is one unit; None where units are the places, or nothing is read place by place."""
    found = [
        value.shape[1 if tap.kind == PLACES else 2]
        for tap, value in inner.items()
        if tap.kind in BY_PLACE
    ]
    if batch.positions is not None or not found:
        return None
    seen = batch.inputs.get("attention_mask")
    return batch.mask.expand(-1, found[0]) if seen is None else seen.bool()


def placed(tap: Tap, values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """A module's output in the shape of the tap's kind. Raises ValueError where it has none."""
    wanted, what = {
        HIDDEN: ((2, 3, 4), ""),
        PLACES: ((3,), "tokens (B, T, D)"),
        MAPS: ((4,), "maps (B, C, H, W)"),
    }.get(tap.kind, ((4,), ""))
    if values.ndim not in wanted:
        raise ValueError(
            f"`{tap.module}` gives {tuple(values.shape)}, and {what} are read of it. Name another module, or take the loss `hidden`"
        )
    seen = batch.inputs.get("attention_mask")
    if seen is not None and seen.ndim == 3:
        if tap.kind != HIDDEN:
            raise ValueError(
                f"`{tap.module}`: a row holds several texts here, which a loss that goes by place cannot read. Take the loss `hidden`"
            )
        return by_unit(values, None, seen.flatten(0, 1)).float().reshape(*batch.mask.shape, -1)
    if tap.kind == HIDDEN:
        return by_unit(values, batch.positions, seen).float()
    if batch.positions is None or tap.kind == MAPS:
        return values.float()
    if tap.kind == PLACES:
        return by_unit(values, batch.positions).float()
    values = values.take_along_dim(batch.positions[:, None, :, None], 2)
    return (
        values.take_along_dim(batch.positions[:, None, None, :], 3)
        if tap.kind == attention.PROBABILITIES
        else values
    ).float()


def by_unit(
    values: torch.Tensor, positions: torch.Tensor | None, seen: torch.Tensor | None = None
) -> torch.Tensor:
    """(B, T, D) to (B, W, D) at `positions` (B, W). Without positions one unit a row: (B, D), (B, C, H, W), or (B, T, D) with the mask `seen`
    (B, T), to (B, 1, D)."""
    if positions is not None:
        return values.gather(1, positions.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
    if values.ndim == 4:
        return values.flatten(2).mean(2).unsqueeze(1)
    if values.ndim == 2:
        return values.unsqueeze(1)
    weights = (
        torch.ones_like(values[..., :1]) if seen is None else seen.unsqueeze(-1).to(values.dtype)
    )
    return (values * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(
        1
    )  # a padded text has no token


@contextlib.contextmanager
def naming_tokens_at(model: nn.Module, positions: torch.Tensor | None) -> Iterator[bool]:
    """Inside, a model whose labels are its vocabulary answers at `positions` (B, W) alone, and True is given: at every token, its logits would
    outweigh the rest of a training step."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None or positions is None:
        yield False
        return
    handle = head.register_forward_pre_hook(
        lambda module, inputs: (by_unit(inputs[0], positions), *inputs[1:])
    )
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
            raise ValueError(
                f"{type(model).__name__} has no module `{name}`. {suggest(name, modules)}"
            )
    handles = [modules[name].register_forward_hook(keep(name)) for name in dict.fromkeys(layers)]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
