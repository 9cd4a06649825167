"""Likelihoods on another device: a CPU's values there, and nothing that waits for the device."""

import math

import pytest
import torch
from probe_device import Probe, ProbeTensor
from torch import Tensor

from limbeck.models.likelihood import LIKELIHOODS
from limbeck.tasks.likelihood import UNKNOWN

B, W, V = 2, 3, 4


def labels_of(name: str) -> Tensor:
    """Labels of B rows of W units, of which the first is unknown."""
    if name == "gaussian":
        labels = torch.linspace(0, 1, B * W).reshape(B, W)
        labels[0, 0] = math.nan
        return labels
    shape = (B, W) if name == "categorical" else (B, W, V)
    labels = torch.arange(math.prod(shape)).reshape(shape) % 2
    labels[0, 0] = UNKNOWN
    return labels if name == "categorical" else labels.float()


def answers(name: str, p: Tensor, q: Tensor, signs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    likelihood = LIKELIHOODS[name]
    labelled = p[..., :1] if name == "gaussian" else p
    return {
        "log_probability": likelihood.log_probability(labelled, labels),
        "divergence": likelihood.divergence(p, q),
        "at_temperature": likelihood.at_temperature(p, 2.0),
        "decide": likelihood.decide(p),
        "agreement": likelihood.agreement(p, q),
        "entropy": likelihood.entropy(p),
        "fisher_root": likelihood.fisher_root(p, signs),
    }


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_stays_on_its_logits_device(name: str, probe: Probe) -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(B, W, V, generator=generator) for _ in range(2))
    signs = torch.where(torch.randn(B, W, V, generator=generator) > 0, 1.0, -1.0)
    given = (p, q, signs, labels_of(name))
    expected = answers(name, *given)
    moved = [tensor.to(probe.device) for tensor in given]
    probe.syncs.clear()
    found = answers(name, *moved)
    assert probe.syncs == []
    for key, value in found.items():
        assert isinstance(value, ProbeTensor), key
        torch.testing.assert_close(value.raw, expected[key], msg=key)
