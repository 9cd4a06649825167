"""The half of each likelihood that needs torch: against the other half, torch.distributions, and Hessians."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence

from limbeck.models import likelihood as with_torch
from limbeck.tasks import likelihood as without_torch
from limbeck.tasks.likelihood import UNKNOWN

B, W, V = 2, 3, 4
BY_TORCH: dict[str, Any] = {
    "categorical": lambda z: Categorical(logits=z),
    "bernoulli": lambda z: Independent(Bernoulli(logits=z), 1),
    "gaussian": lambda z: Independent(Normal(z, torch.ones_like(z)), 1),
}
each = pytest.mark.parametrize("name", BY_TORCH)


def logits(seed: int, num_logits: int = V) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(B, W, num_logits, dtype=torch.float64, generator=generator)


def labels(name: str, seed: int) -> Tensor:
    """Labels of B rows of W units; of gaussians, for one logit."""
    generator = torch.Generator().manual_seed(seed)
    if name == "categorical":
        return torch.randint(0, V, (B, W), generator=generator)
    if name == "bernoulli":
        return torch.randint(0, 2, (B, W, V), generator=generator).double()
    return torch.randn(B, W, dtype=torch.float64, generator=generator)


def test_both_halves_have_the_same_names() -> None:
    assert list(with_torch.LIKELIHOODS) == list(without_torch.LIKELIHOODS) == list(BY_TORCH)
    for name, likelihood in without_torch.LIKELIHOODS.items():
        assert likelihood.name == name
        assert likelihood.labels_are_numbers == with_torch.LIKELIHOODS[name].labels_are_numbers


@each
@given(seed=st.integers(0, 10_000), temperature=st.floats(0.2, 5))
def test_the_halves_are_equal_on_random_logits(name: str, seed: int, temperature: float) -> None:
    here, there = without_torch.LIKELIHOODS[name], with_torch.LIKELIHOODS[name]
    p, q = logits(seed), logits(seed + 1)
    # The half without torch sees units, not rows of units.
    flat_p, flat_q = p.numpy().reshape(-1, V), q.numpy().reshape(-1, V)
    np.testing.assert_allclose(
        here.divergence(flat_p, flat_q), there.divergence(p, q).flatten(), atol=1e-12
    )
    np.testing.assert_array_equal(
        here.at_temperature(flat_p, temperature).reshape(p.shape),
        there.at_temperature(p, temperature),
    )
    decisions, other = here.decide(flat_p), here.decide(flat_q)
    np.testing.assert_array_equal(decisions.ravel(), there.decide(p).flatten())
    alike = ~here.differ(decisions, other).reshape(B * W, -1)
    np.testing.assert_allclose(alike.mean(1), there.agreement(p, q).flatten(), rtol=1e-6)

    z = logits(seed, 1 if name == "gaussian" else V)
    y = labels(name, seed)
    y.view(-1)[seed % y.numel()] = math.nan if name == "gaussian" else UNKNOWN
    flat_z = z.numpy().reshape(B * W, -1)
    flat_y = y.numpy().reshape(B * W, *y.shape[2:])
    np.testing.assert_allclose(
        here.log_probability(flat_z, flat_y), there.log_probability(z, y).flatten(), atol=1e-12
    )


@each
def test_log_probabilities_and_entropies_are_those_of_torch(name: str) -> None:
    z, y = logits(0, 1 if name == "gaussian" else V), labels(name, 1)
    likelihood, distribution = with_torch.LIKELIHOODS[name], BY_TORCH[name](z)
    value = y.unsqueeze(-1) if name == "gaussian" else y
    torch.testing.assert_close(likelihood.log_probability(z, y), distribution.log_prob(value))
    # A bernoulli's is of one label, not of all.
    decided = V if name == "bernoulli" else 1
    torch.testing.assert_close(likelihood.entropy(z), distribution.entropy() / decided)


@each
def test_an_unknown_label_has_no_log_probability(name: str) -> None:
    z, y = logits(0, 1 if name == "gaussian" else V), labels(name, 1)
    y[0, 0] = math.nan if name == "gaussian" else UNKNOWN
    found = with_torch.LIKELIHOODS[name].log_probability(z, y)
    assert found[0, 0] == 0
    assert (found[0, 1:] != 0).all()


@each
def test_divergences_are_those_of_torch_and_0_at_identity(name: str) -> None:
    p, q = logits(0), logits(1)
    divergence = with_torch.LIKELIHOODS[name].divergence
    torch.testing.assert_close(
        divergence(p, q), kl_divergence(BY_TORCH[name](p), BY_TORCH[name](q))
    )
    torch.testing.assert_close(divergence(p, p), torch.zeros(B, W, dtype=torch.float64))


@each
def test_the_root_squares_to_the_hessian_of_the_divergence(name: str) -> None:
    """Exactly, over all signs of V labels."""
    z = logits(2)[0, 0]
    likelihood = with_torch.LIKELIHOODS[name]
    hessian = torch.autograd.functional.hessian(lambda other: likelihood.divergence(z, other), z)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * V)
    roots = likelihood.fisher_root(z.expand(1, len(signs), V), signs[None])[0]
    torch.testing.assert_close(roots.T @ roots / len(signs), hessian)


@pytest.mark.parametrize("name", ["categorical", "bernoulli"])
def test_a_high_temperature_makes_answers_less_sure(name: str) -> None:
    likelihood, z = with_torch.LIKELIHOODS[name], logits(3)
    warm, cold = likelihood.at_temperature(z, 2.0), likelihood.at_temperature(z, 0.5)
    assert (likelihood.entropy(warm) > likelihood.entropy(z)).all()
    assert (likelihood.entropy(z) > likelihood.entropy(cold)).all()
    assert (likelihood.decide(warm) == likelihood.decide(z)).all()
