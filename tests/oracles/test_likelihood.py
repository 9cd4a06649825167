"""Divergences against torch.distributions, and the Fisher information against their Hessians."""

from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence

from limbeck.models.likelihood import nats_between, square_root

B, W, V = 2, 3, 4
KINDS: dict[str, Any] = {
    "categorical": lambda z: Categorical(logits=z),
    "bernoulli": lambda z: Independent(Bernoulli(logits=z), 1),
    "gaussian": lambda z: Independent(Normal(z, torch.ones_like(z)), 1),
}


def logits(seed: int) -> torch.Tensor:
    return 2 * torch.randn(
        B, W, V, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_divergences_are_those_of_torch(kind: str) -> None:
    p, q = logits(0), logits(1)
    torch.testing.assert_close(
        nats_between(kind, p, q), kl_divergence(KINDS[kind](p), KINDS[kind](q))
    )
    torch.testing.assert_close(nats_between(kind, p, p), torch.zeros(B, W, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_the_root_squares_to_the_hessian_of_the_divergence(kind: str) -> None:
    """Exactly, over all signs of V labels."""
    z = logits(2)[0, 0]
    hessian = torch.autograd.functional.hessian(lambda other: nats_between(kind, z, other), z)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * V)
    roots = square_root(kind, z.expand(1, len(signs), V), signs[None])[0]
    torch.testing.assert_close(roots.T @ roots / len(signs), hessian)
