"""Losses that compare the units of a batch with one another, against slow float64 code from the papers' formulas."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.core import registry
from limbeck.losses.relational import chosen_units
from limbeck.models.anatomy.layers import evenly
from limbeck.models.taps import HIDDEN, Outputs, Tap
from limbeck.models.weights import model_state, restore_state
from limbeck.tasks import Batch

B, W = 3, 3
Units = list[list[float]]


def drawn(seed: int, width: int, name: str) -> Outputs:
    generator = np.random.default_rng(seed)
    mask = torch.ones(B, W, dtype=torch.bool)
    mask[seed, -1] = False
    return Outputs(
        torch.tensor(generator.normal(size=(B, W, 2))),
        mask,
        {Tap(HIDDEN, name): torch.tensor(generator.normal(0, 2, (B, W, width)))},
    )


STUDENT, TEACHER = drawn(0, 3, "own"), drawn(1, 5, "theirs")
BATCH = Batch({}, None, torch.zeros(B, W, dtype=torch.long), STUDENT.mask, np.arange(B))


def units(outputs: Outputs) -> Units:
    """Those that count on both sides."""
    (values,) = outputs.inner.values()
    return [
        values[b, w].tolist()
        for b in range(B)
        for w in range(W)
        if STUDENT.mask[b, w] and TEACHER.mask[b, w]
    ]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def loss(name: str, **keys: Any) -> float:
    made = registry.create("losses", name, keys)
    made.bind([("own", "theirs")], STUDENT, TEACHER)
    return made.double()(STUDENT, TEACHER, BATCH, 0.5).item()


def test_similarity() -> None:
    def similarities(given: Units) -> Units:
        rows = [[dot(a, b) for b in given] for a in given]
        return [[value / math.sqrt(dot(row, row)) for value in row] for row in rows]

    own, theirs = similarities(units(STUDENT)), similarities(units(TEACHER))
    distance = sum(
        (a - c) ** 2
        for row, other in zip(own, theirs, strict=True)
        for a, c in zip(row, other, strict=True)
    )
    assert loss("similarity") == pytest.approx(distance / len(own), rel=1e-10)


def huber(a: float, b: float) -> float:
    difference = abs(a - b)
    return difference**2 / 2 if difference <= 1 else difference - 0.5


def distances(given: Units) -> dict[tuple[int, ...], float]:
    found = {
        (i, j): math.dist(given[i], given[j])
        for i, j in itertools.permutations(range(len(given)), 2)
    }
    mean = sum(found.values()) / len(found)
    return {pair: value / mean for pair, value in found.items()}


def angles(given: Units) -> dict[tuple[int, ...], float]:
    found = {}
    for i, j, k in itertools.permutations(range(len(given)), 3):
        first, second = (
            [a - b for a, b in zip(given[end], given[j], strict=True)] for end in (i, k)
        )
        found[i, j, k] = (
            dot(first, second) / math.dist(given[i], given[j]) / math.dist(given[k], given[j])
        )
    return found


def mean_huber(own: dict[tuple[int, ...], float], theirs: dict[tuple[int, ...], float]) -> float:
    return float(np.mean([huber(own[key], theirs[key]) for key in own]))


@pytest.mark.parametrize("most", [64, 5])
def test_relational(most: int) -> None:
    """`most` 5 of 7 units: 0, 2, 3, 5, 6, evenly spaced with the last kept."""
    own, theirs = (
        [given[i] for i in ([0, 2, 3, 5, 6] if most == 5 else range(7))]
        for given in (units(STUDENT), units(TEACHER))
    )
    expected = 3 * mean_huber(distances(own), distances(theirs)) + 0.5 * mean_huber(
        angles(own), angles(theirs)
    )
    assert loss("relational", distance=3, angle=0.5, units=most) == pytest.approx(
        expected, rel=1e-10
    )


@pytest.mark.parametrize("most", [3, 4, 8, 64])
def test_units_are_chosen_as_layers_are_evenly(most: int) -> None:
    """For every number of counted units, halves included, which both round to the even one."""
    generator = np.random.default_rng(0)
    for length in (1, 7, 40, 200):
        for counted in range(length + 1):
            mask = torch.zeros(length, dtype=torch.bool)
            mask[generator.permutation(length)[:counted]] = True
            positions = mask.nonzero().flatten().tolist()
            chosen = range(counted) if counted <= most else evenly(most, counted)
            indices, is_unit = chosen_units(mask, most)
            assert indices.shape == is_unit.shape == (min(most, length),)
            assert indices[is_unit].tolist() == [positions[number] for number in chosen]


def embedded(weight: torch.Tensor, given: list[float]) -> list[float]:
    found = [dot(row, given) for row in weight.tolist()]
    return [value / math.sqrt(dot(found, found)) for value in found]


def bound_contrastive(**keys: Any) -> Any:
    torch.manual_seed(0)
    made = registry.create("losses", "contrastive", {"width": 4, "temperature": 0.5, **keys})
    made.bind([("own", "theirs")], STUDENT, TEACHER)
    return made.double()


def classes() -> list[int]:
    """What the teacher decides for each unit."""
    values = TEACHER.logits.tolist()
    return [
        int(values[b][w][1] > values[b][w][0])
        for b in range(B)
        for w in range(W)
        if STUDENT.mask[b, w] and TEACHER.mask[b, w]
    ]


def expected_nats(made: Any, past: Units, past_classes: list[int]) -> tuple[float, Units]:
    """(the loss, the teacher's embeddings)."""
    own = [embedded(made.student_projectors[0].weight, given) for given in units(STUDENT)]
    theirs = [embedded(made.teacher_projectors[0].weight, given) for given in units(TEACHER)]
    nats = []
    for i, each in enumerate(own):
        others = [
            t
            for t, decided in zip([*theirs, *past], [*classes(), *past_classes], strict=True)
            if decided != classes()[i]
        ]
        positive = math.exp(dot(each, theirs[i]) / 0.5)
        nats.append(
            -math.log(
                positive / (positive + sum(math.exp(dot(each, other) / 0.5) for other in others))
            )
        )
    return float(np.mean(nats)), theirs


def test_contrastive_remembers_the_teacher_s_last_units() -> None:
    """Of 10 places the 7 units of a batch fill 7, and after the second batch 7 are the newest and 3 older ones."""
    made, decided = bound_contrastive(memory=10), classes()
    assert len(decided) == 7
    assert set(decided) == {0, 1}
    first, theirs = expected_nats(made, [], [])
    assert made(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(first, rel=1e-10)
    second, _ = expected_nats(made, theirs, decided)
    assert made(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(second, rel=1e-10)
    third, _ = expected_nats(made, theirs + theirs[:3], decided + decided[:3])
    assert made.eval()(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(third, rel=1e-10)
    assert made(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(
        third, rel=1e-10
    )  # outside of training nothing is remembered


def test_contrastive_without_a_memory_compares_the_batch() -> None:
    made = bound_contrastive(memory=0)
    for _ in range(2):
        assert made(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(
            expected_nats(made, [], [])[0], rel=1e-10
        )


def test_the_memory_is_in_the_checkpoint() -> None:
    made, fresh = bound_contrastive(), bound_contrastive()
    made(STUDENT, TEACHER, BATCH, 0.5)
    restore_state(fresh, model_state(made))
    assert int(fresh.filled) == 7
    assert fresh(STUDENT, TEACHER, BATCH, 0.5) == made(STUDENT, TEACHER, BATCH, 0.5)


def test_contrastive_compares_one_layer() -> None:
    made = registry.create("losses", "contrastive", {"map": {"own": "theirs", "a": "b"}})
    with pytest.raises(ValueError, match="it compares one layer of each, and map names 2"):
        made.bind(made.matching.pairs([], [], lambda: np.zeros(0)), STUDENT, TEACHER)


def test_relational_refuses_what_makes_no_triplets() -> None:
    with pytest.raises(ValueError, match="units is 3 or more"):
        registry.create("losses", "relational", {"units": 2})
