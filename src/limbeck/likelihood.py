"""What a model's logits z say of one unit, and how far two models are apart, KL(p || q) in nats, by the `likelihood` of the task:

categorical   one of V labels, p = softmax(z)                  sum_v p_v (log p_v - log q_v)
bernoulli     each of V labels by itself, p_v = sigmoid(z_v)   sum_v p_v (z_v - y_v) + softplus(y_v) - softplus(z_v), y the logits of q
gaussian      numbers, N(z, 1) each                            |z - y|^2 / 2
"""

import torch
from torch.nn.functional import softplus

from limbeck.evaluate import divergence


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
