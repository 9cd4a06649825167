"""The losses that read inside both models: which layers meet, what is read of them, and whether it fits, all before step 0."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import nn

from limbeck.core import registry
from limbeck.distillation.objective import Term
from limbeck.losses import FeatureLoss, PeerLoss
from limbeck.models.taps import BY_PLACE, Outputs, Tap, run_model, to_torch
from limbeck.tasks import Batch

MATCHED = "student <- teacher layers"  # how a line about pairs of layers begins, after its loss


def match_layers(
    terms: Sequence[Term],
    student: Sequence[str],
    teacher: Sequence[str],
    likeness: Callable[[], np.ndarray],
) -> list[str]:
    """Give every loss on inner tensors its pairs of layers; a line about each. `likeness()` is measured once, where a loss asks for it."""
    measured, lines = cache(likeness), []
    for name, loss in feature_losses(terms).items():
        try:
            loss.pairs = loss.matching.pairs(student, teacher, measured)
        except ValueError as error:
            raise ValueError(f"distill.losses.{name}: {error}") from None
        lines.append(
            f"{name}: {MATCHED} " + ", ".join(f"{own} <- {theirs}" for own, theirs in loss.pairs)
        )
    return lines


def feature_losses(terms: Sequence[Term]) -> dict[str, FeatureLoss]:
    """The losses on inner tensors by name."""
    return {term.name: term.loss for term in terms if isinstance(term.loss, FeatureLoss)}


def refuse_other_tokens(terms: Sequence[Term]) -> None:
    """Raises ValueError for a loss that compares token by token: teacher and student read a text as other tokens."""
    for name, loss in feature_losses(terms).items():
        if set(loss.kinds) & set(BY_PLACE):
            raise ValueError(
                f"distill.losses.{name}: it compares token by token, and teacher and student cut a text into other tokens. "
                "Take two models with one tokenizer and maximum length, or the loss `hidden`, which compares whole texts"
            )


def taps_of(terms: Sequence[Term], *, of_teacher: bool) -> list[Tap]:
    """What the losses read inside one of the models, each once."""
    losses = feature_losses(terms).values()
    return list(
        dict.fromkeys(
            Tap(kind, pair[of_teacher])
            for loss in losses
            for pair in loss.pairs
            for kind in loss.kinds
        )
    )


def bind_losses(
    model: nn.Module,
    terms: Sequence[Term],
    answer: Callable[[Batch], Outputs | None] | None,
    example: Batch,
) -> list[Tap]:
    """Bind every loss on inner tensors to both models' outputs on a few rows, which checks their shapes; what is read of the student."""
    taps = taps_of(terms, of_teacher=False)
    if answer is None or not taps:
        return []
    batch = to_torch(example)
    with torch.no_grad():
        own_outputs, outputs = run_model(model.eval(), batch, taps), answer(batch)
    assert outputs is not None
    own, theirs = own_outputs.place_mask.shape[1], outputs.place_mask.shape[1]
    if own != theirs:
        raise ValueError(
            f"distill: a row has {own} places in the student and {theirs} in the teacher. Take the loss `hidden`, of whole rows"
        )
    for name, loss in feature_losses(terms).items():
        try:
            loss.bind(loss.pairs, own_outputs, outputs)
        except ValueError as error:
            raise ValueError(f"distill.losses.{name}: {error}") from None
    return taps


def bind_peers(terms: Sequence[Term], peer: Callable[[], nn.Module], hard_loss: str) -> None:
    """Give every loss of two that learn together its copy of the teacher."""
    for term in terms:
        if isinstance(term.loss, PeerLoss):
            term.loss.bind_peer(peer(), registry.create("losses", hard_loss))
