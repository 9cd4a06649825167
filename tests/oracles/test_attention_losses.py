"""`attention` and `relation` against slow float64 code written from the papers' formulas, one place after the other."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.core import registry
from limbeck.models.anatomy.attention import FACTORS, PROBABILITIES
from limbeck.models.taps import Outputs, Tap
from limbeck.tasks import Batch

B, P, D = 3, 4, 6
BATCH = Batch({}, None, torch.zeros(B, 1), torch.ones(B, 1, dtype=torch.bool), np.arange(B))


def drawn(seed: int, name: str, heads: int, width: int = D) -> Outputs:
    generator = np.random.default_rng(seed)
    inner = {Tap(PROBABILITIES, name): torch.tensor(generator.dirichlet(np.ones(P), (B, heads, P)))}
    inner |= {
        Tap(kind, name): torch.tensor(generator.normal(0, 1, (B, heads, P, width)))
        for kind in FACTORS
    }
    places = torch.tensor([[True] * P, [True] * (P - 1) + [False], [True, seed == 0, True, True]])
    return Outputs(torch.zeros(B, 1, 2), torch.ones(B, 1, dtype=torch.bool), inner, places)


STUDENT = drawn(0, "own", 2)
TEACHERS = {2: drawn(1, "theirs", 2), 3: drawn(2, "theirs", 3)}


def loss(name: str, teacher: Outputs, **keys: Any) -> float:
    made = registry.create("losses", name, keys)
    made.bind([("own", "theirs")], STUDENT, teacher)
    return made(STUDENT, teacher, BATCH, 0.5).item()


def counted(teacher: Outputs, b: int) -> list[int]:
    return [i for i in range(P) if STUDENT.place_mask[b, i] and teacher.place_mask[b, i]]


def rows(teacher: Outputs) -> list[tuple[list[float], list[float]]]:
    """(student, teacher) what one counted place looks at, head by head, or the mean over the heads where their numbers differ."""
    found = []
    for b in range(B):
        places = counted(teacher, b)
        own, theirs = (
            outputs.inner[Tap(PROBABILITIES, name)][b].numpy()
            for outputs, name in ((STUDENT, "own"), (teacher, "theirs"))
        )
        if len(own) != len(theirs):
            own, theirs = own.mean(0, keepdims=True), theirs.mean(0, keepdims=True)
        for head in range(len(own)):
            for i in places:
                pair = [[float(maps[head, i, j]) for j in places] for maps in (own, theirs)]
                found.append(tuple([value / sum(row) for value in row] for row in pair))
    return found


@pytest.mark.parametrize("heads", [2, 3])
def test_attention_maps_by_their_squared_error(heads: int) -> None:
    pairs = rows(TEACHERS[heads])
    error = sum((a - c) ** 2 for own, theirs in pairs for a, c in zip(own, theirs, strict=True))
    power = sum(c**2 for _, theirs in pairs for c in theirs)
    assert loss("attention", TEACHERS[heads]) == pytest.approx(error / power, rel=1e-10)


@pytest.mark.parametrize("heads", [2, 3])
def test_attention_maps_by_their_divergence(heads: int) -> None:
    nats = [
        sum(c * math.log(c / a) for a, c in zip(own, theirs, strict=True))
        for own, theirs in rows(TEACHERS[heads])
    ]
    assert loss("attention", TEACHERS[heads], measure="kl") == pytest.approx(
        np.mean(nats), rel=1e-10
    )


def test_probabilities_of_zero_are_no_trouble() -> None:
    sharp = torch.zeros(B, 2, P, P, dtype=torch.float64)
    sharp[..., 0] = 1
    teacher = Outputs(
        STUDENT.logits, STUDENT.mask, {Tap(PROBABILITIES, "theirs"): sharp}, STUDENT.places
    )
    student = Outputs(
        STUDENT.logits,
        STUDENT.mask,
        {Tap(PROBABILITIES, "own"): sharp.clone().requires_grad_()},
        STUDENT.places,
    )
    made = registry.create("losses", "attention", {"measure": "kl"})
    made.bind([("own", "theirs")], student, teacher)
    value = made(student, teacher, BATCH, 0.5)
    value.backward()
    assert value == 0
    assert torch.isfinite(student.inner[Tap(PROBABILITIES, "own")].grad).all()


def relation_rows(values: torch.Tensor, places: list[int], heads: int) -> list[list[float]]:
    """For each relation head and place the distribution over places, of one row's (N, P, D)."""
    joined = [
        [float(values[n, i, d]) for n in range(values.shape[0]) for d in range(values.shape[2])]
        for i in range(P)
    ]
    width = len(joined[0]) // heads
    found = []
    for r in range(heads):
        part = [row[r * width : (r + 1) * width] for row in joined]
        for i in places:
            powers = [
                math.exp(
                    sum(a * c for a, c in zip(part[i], part[j], strict=True)) / math.sqrt(width)
                )
                for j in places
            ]
            found.append([power / sum(powers) for power in powers])
    return found


@pytest.mark.parametrize(
    ("heads", "asked", "found"), [(2, 0, 2), (3, 0, 3), (3, 1, 1), (2, 12, 12)]
)
def test_relations(heads: int, asked: int, found: int) -> None:
    """`asked` relation heads, or as many as the teacher has: both widths, 12 and 6 a head, allow it."""
    teacher, nats = TEACHERS[heads], []
    for kind in FACTORS:
        for b in range(B):
            places = counted(teacher, b)
            own = relation_rows(STUDENT.inner[Tap(kind, "own")][b], places, found)
            theirs = relation_rows(teacher.inner[Tap(kind, "theirs")][b], places, found)
            nats += [
                sum(c * math.log(c / a) for a, c in zip(*pair, strict=True))
                for pair in zip(own, theirs, strict=True)
            ]
    assert loss("relation", teacher, heads=asked) == pytest.approx(np.mean(nats), rel=1e-9)


def test_relation_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"4 relation heads do not divide both widths\. heads is one of 1, 2, 3, 6, or 0",
    ):
        loss("relation", TEACHERS[3], heads=4)
    with pytest.raises(ValueError, match="heads is 1 or more"):
        registry.create("losses", "relation", {"heads": -1})
