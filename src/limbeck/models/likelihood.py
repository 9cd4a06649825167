"""The likelihood of a task's logits in torch: divergence in nats, and the square root of the Fisher information."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import softplus

from limbeck.models.taps import run_model
from limbeck.tasks import Batch


def wide_logits(model: nn.Module, batches: Sequence[Batch]) -> list[torch.Tensor]:
    """(B, W, V) of each batch, in float64: an int8 weight's divergence is of the size of float32's own rounding."""
    with torch.no_grad():
        return [run_model(model, batch).logits.double() for batch in batches]


def divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """(B, W) KL(p || q) in nats, of (B, W, V)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def nats_between(likelihood: str, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """(B, W) KL(p || q) in nats, of logits (B, W, V)."""
    if likelihood == "gaussian":
        return (p - q).square().sum(-1) / 2
    if likelihood == "bernoulli":
        return (p.sigmoid() * (p - q) + softplus(q) - softplus(p)).sum(-1)
    return divergence(p.log_softmax(-1), q.log_softmax(-1))


def square_root(likelihood: str, logits: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """h of the shape of `logits` (B, W, V) with E[h h^T] = the Fisher information of a unit's logits, over random `signs` e.

    Of a softmax it is diag(p) - p p^T, h = sqrt(p) e - p (sqrt(p) . e); of Bernoullis p (1 - p) each; of unit normals 1 each.
    """
    if likelihood == "gaussian":
        return signs
    if likelihood == "bernoulli":
        p = logits.sigmoid()
        return (p * (1 - p)).sqrt() * signs
    root = logits.softmax(-1).sqrt()
    signed = root * signs
    return signed - root.square() * signed.sum(-1, keepdim=True)
