"""`attention_transfer` and `fsp` against slow float64 code written from the papers' formulas, pixel by pixel."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.core import registry
from limbeck.models.taps import MAPS, Outputs, Tap
from limbeck.tasks import Batch

B = 3
OWN, THEIRS = {"a": (2, 4), "b": (3, 2)}, {"c": (4, 8), "d": (2, 4)}  # channels, and pixels a side


def drawn(seed: int, layers: dict[str, tuple[int, int]]) -> Outputs:
    generator = np.random.default_rng(seed)
    inner = {
        Tap(MAPS, name): torch.tensor(generator.normal(0, 1, (B, channels, side, side)))
        for name, (channels, side) in layers.items()
    }
    mask = torch.ones(B, 1, dtype=torch.bool)
    mask[seed] = False
    return Outputs(torch.zeros(B, 1, 2), mask, inner)


STUDENT, TEACHER = drawn(0, OWN), drawn(1, THEIRS)  # row 2 alone counts on both sides
BATCH = Batch({}, None, torch.zeros(B, 1, dtype=torch.long), STUDENT.mask, np.arange(B))
PAIRS = [("a", "c"), ("b", "d")]


def bound(name: str) -> Any:
    torch.manual_seed(0)
    made = registry.create("losses", name)
    made.bind(PAIRS, STUDENT, TEACHER)
    return made.double()


def pooled(maps: np.ndarray, side: int) -> np.ndarray:
    """(C, H, W) averaged block by block."""
    block = maps.shape[1] // side
    out = np.zeros((len(maps), side, side))
    for c, y, x in itertools.product(range(len(maps)), range(side), range(side)):
        out[c, y, x] = (
            sum(maps[c, y * block + i, x * block + j] for i in range(block) for j in range(block))
            / block**2
        )
    return out


def maps_of(outputs: Outputs, name: str) -> np.ndarray:
    return outputs.inner[Tap(MAPS, name)][2].numpy()


def test_attention_transfer() -> None:
    values = []
    for own, theirs in PAIRS:
        side = min(OWN[own][1], THEIRS[theirs][1])
        found = []
        for maps in (maps_of(STUDENT, own), maps_of(TEACHER, theirs)):
            strength = np.zeros((1, *maps.shape[1:]))
            for c in range(len(maps)):
                strength[0] += abs(maps[c]) ** 2
            flat = [float(value) for value in pooled(strength, side).flatten()]
            length = math.sqrt(sum(value**2 for value in flat))
            found.append([value / length for value in flat])
        values.append(sum((a - c) ** 2 for a, c in zip(*found, strict=True)))
    assert bound("attention_transfer")(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(
        np.mean(values), rel=1e-10
    )


def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    side = min(first.shape[1], second.shape[1])
    first, second = pooled(first, side), pooled(second, side)
    out = np.zeros((len(first), len(second)))
    for c, e, y, x in itertools.product(
        range(len(first)), range(len(second)), range(side), range(side)
    ):
        out[c, e] += first[c, y, x] * second[e, y, x] / side**2
    return out


def test_fsp() -> None:
    made = bound("fsp")
    projected = []
    for project, (own, _) in zip(made.projectors, PAIRS, strict=True):
        weight, maps = project.weight.detach().numpy(), maps_of(STUDENT, own)
        projected.append(
            np.array(
                [sum(weight[o, c] * maps[c] for c in range(len(maps))) for o in range(len(weight))]
            )
        )
    target = flow(maps_of(TEACHER, "c"), maps_of(TEACHER, "d"))
    error = float(((flow(*projected) - target) ** 2).sum())
    assert made(STUDENT, TEACHER, BATCH, 0.5).item() == pytest.approx(
        error / float((target**2).sum()), rel=1e-10
    )


def test_fsp_needs_a_layer_behind_another() -> None:
    with pytest.raises(
        ValueError, match="it compares layers that follow one another, and there is one"
    ):
        registry.create("losses", "fsp").bind(PAIRS[:1], STUDENT, TEACHER)
