"""Several teachers, against loops over units."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from limbeck.distillation.ensemble import Ensemble
from limbeck.models.taps import Outputs, Tap
from limbeck.tasks import UNKNOWN, Batch

B, W, V = 3, 4, 5
WEIGHTS = [1.0, 3.0, 0.5]


def outputs(seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(B, W, generator=generator) < 0.8
    return Outputs(
        3 * torch.randn(B, W, V, generator=generator, dtype=torch.float64),
        mask,
        {Tap("hidden", "own"): torch.full((B, W, 2), float(seed))},
    )


TEACHERS = [outputs(seed) for seed in range(3)]
LABELS = torch.randint(0, V, (B, W), generator=torch.Generator().manual_seed(9))
LABELS[0] = UNKNOWN
BATCH = Batch({}, None, LABELS, torch.ones(B, W, dtype=torch.bool), np.arange(B))


def answered(combine: str, weights: list[float] = WEIGHTS) -> Outputs:
    return Ensemble([lambda batch, each=each: each for each in TEACHERS], weights, combine)(BATCH)


def probabilities(logits: torch.Tensor) -> list[float]:
    powers = [math.exp(float(logit)) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_the_mean_is_that_of_the_distributions() -> None:
    found = answered("mean")
    for b, w in product(range(B), range(W)):
        each = [probabilities(teacher.logits[b, w]) for teacher in TEACHERS]
        expected = [
            sum(weight * p[v] for weight, p in zip(WEIGHTS, each, strict=True)) / sum(WEIGHTS)
            for v in range(V)
        ]
        assert probabilities(found.logits[b, w]) == pytest.approx(expected, rel=1e-6)


def test_the_best_teacher_of_a_unit_is_the_one_with_the_smallest_loss_there() -> None:
    found, means = answered("best"), answered("mean")
    assert torch.equal(found.logits[0], means.logits[0]), "without a label there is no best"
    chosen = set()
    for b, w in product(range(1, B), range(W)):
        losses = [
            -math.log(probabilities(teacher.logits[b, w])[int(LABELS[b, w])])
            for teacher in TEACHERS
        ]
        least = int(np.argmin(losses))
        chosen.add(least)
        assert torch.equal(found.logits[b, w], TEACHERS[least].logits[b, w])
    assert len(chosen) > 1


@pytest.mark.parametrize("combine", ["mean", "best"])
def test_a_unit_counts_where_all_teachers_do_and_maps_are_the_first_one_s(combine: str) -> None:
    found = answered(combine)
    assert torch.equal(found.mask, TEACHERS[0].mask & TEACHERS[1].mask & TEACHERS[2].mask)
    assert torch.equal(found.hidden["own"], TEACHERS[0].hidden["own"])


def test_one_teacher_alone_is_itself() -> None:
    found = Ensemble([lambda batch: TEACHERS[0]], [2.0], "mean")(BATCH)
    torch.testing.assert_close(found.logits.softmax(-1), TEACHERS[0].logits.softmax(-1))
