"""A model's tensors by unit and by place, in the shapes of `models.taps`.

A model works on tokens or pixels. Shapes: B rows, T tokens, W units of a row, P places, N heads, D
width, C channels. `positions` (B, W) are the tokens at which the units of a row begin; None means
that a row is one unit.
"""

import torch

from limbeck.models.anatomy.attention import PROBABILITIES
from limbeck.models.taps import BY_PLACE, HIDDEN, MAPS, PLACES, Tap
from limbeck.tasks import Batch

# By kind: how many axes a module's output may have, and what such an output is called.
EXPECTED = {
    HIDDEN: ((2, 3, 4), ""),
    PLACES: ((3,), "tokens (B, T, D)"),
    MAPS: ((4,), "maps (B, C, H, W)"),
}
OF_ATTENTION_EXPECTED = ((4,), "")


def holds_texts(batch: Batch) -> bool:
    """Whether a row holds several texts (B, W, T), each a unit that the model reads by itself."""
    token_mask = batch.inputs.get("attention_mask")
    return token_mask is not None and token_mask.ndim == 3


def places_of(batch: Batch, inner: dict[Tap, torch.Tensor]) -> torch.Tensor | None:
    """(B, P), True for a place that counts, as `Outputs.places` says; also None where no tap of
    `inner` reads places."""
    lengths = []
    # Tokens are the second axis of hidden states, and the third of what has heads.
    for tap, value in inner.items():
        if tap.kind in BY_PLACE:
            lengths.append(value.shape[1 if tap.kind == PLACES else 2])
    if batch.positions is not None or not lengths:
        return None
    token_mask = batch.inputs.get("attention_mask")
    if token_mask is None:
        # An image has a fixed number of patches, and all count where the image does.
        return batch.mask.expand(-1, lengths[0])
    return token_mask.bool()


def shape_tap(
    tap: Tap,
    values: torch.Tensor,
    batch: Batch,
) -> torch.Tensor:
    """A tensor inside the model in the shape of the tap's kind, as float32.

    Raises ValueError where the module gives a tensor that cannot be read so.
    """
    num_axes, what = EXPECTED.get(tap.kind, OF_ATTENTION_EXPECTED)
    if values.ndim not in num_axes:
        raise ValueError(
            f"`{tap.module}` gives {tuple(values.shape)}, and {what} are read of it. "
            "Name another module, or take the loss `hidden`"
        )
    if holds_texts(batch):
        return of_texts(tap, values, batch)
    if tap.kind == HIDDEN:
        token_mask = batch.inputs.get("attention_mask")
        return by_unit(values, batch.positions, token_mask).float()
    if batch.positions is None or tap.kind == MAPS:
        return values.float()
    if tap.kind == PLACES:
        return by_unit(values, batch.positions).float()
    # Rows of the map are who looks, columns who is looked at: both go by places.
    at_places = values.take_along_dim(batch.positions[:, None, :, None], 2)
    if tap.kind == PROBABILITIES:
        at_places = at_places.take_along_dim(batch.positions[:, None, None, :], 3)
    return at_places.float()


def of_texts(
    tap: Tap,
    values: torch.Tensor,
    batch: Batch,
) -> torch.Tensor:
    """(B W, T, D), of a model that read all texts of all rows at once, to (B, W, D).

    Raises ValueError for another kind than `hidden`: texts of one row have no common places.
    """
    if tap.kind != HIDDEN:
        raise ValueError(
            f"`{tap.module}`: a row holds several texts here, "
            "which a loss that goes by place cannot read. Take the loss `hidden`"
        )
    token_mask = batch.inputs["attention_mask"].flatten(0, 1)
    means = by_unit(values, None, token_mask).float()
    return means.reshape(*batch.mask.shape, -1)


def by_unit(
    values: torch.Tensor,
    positions: torch.Tensor | None,
    token_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """A module's output as (B, W, D), one vector a unit.

    With `positions` (B, W): of (B, T, D), the vectors there. Without, where a row is one unit, the
    result is (B, 1, D): (B, D) as it is, the mean over the pixels of (B, C, H, W), the mean over
    the tokens of (B, T, D) where `token_mask` (B, T) is not 0 (left out: all).
    """
    if positions is not None:
        # The same token for every number of the vector.
        index = positions.unsqueeze(-1).expand(-1, -1, values.shape[-1])
        return values.gather(1, index)
    if values.ndim == 4:
        return values.flatten(2).mean(2).unsqueeze(1)
    if values.ndim == 2:
        return values.unsqueeze(1)
    if token_mask is None:
        # Images in patches: every one counts.
        weights = torch.ones_like(values[..., :1])
    else:
        weights = token_mask.unsqueeze(-1).to(values.dtype)
    total = (values * weights).sum(1, keepdim=True)
    # A text that only fills up its row has no token; it gives 0 rather than 0 / 0.
    count = weights.sum(1, keepdim=True).clamp_min(1)
    return total / count
