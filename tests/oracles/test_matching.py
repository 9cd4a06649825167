"""Which layers meet: the three ways against lists worked by hand and every choice tried, and CKA against the paper's kernel form."""

import itertools

import numpy as np
import pytest
import torch

from limbeck.distillation.cka import Side, likeness, linear_cka
from limbeck.losses._matching import Matching, most_alike
from limbeck.tasks import Batch

OWN, THEIRS = [f"s.{i}" for i in range(3)], [f"t.{i}" for i in range(6)]


def no_likeness() -> np.ndarray:
    raise AssertionError("nothing has to be measured")


def pairs(matching: Matching) -> list[tuple[int, int]]:
    return [
        (OWN.index(own), THEIRS.index(theirs))
        for own, theirs in matching.pairs(OWN, THEIRS, no_likeness)
    ]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(0, [(0, 1), (1, 3), (2, 5)]), (1, [(2, 5)]), (3, [(0, 1), (1, 3), (2, 5)])],
)
def test_layers_are_matched_evenly_the_last_to_the_last(
    asked: int, expected: list[tuple[int, int]]
) -> None:
    assert pairs(Matching(asked)) == expected


def test_the_last_meet_the_last() -> None:
    assert pairs(Matching(0, by="last")) == [(0, 3), (1, 4), (2, 5)]
    assert pairs(Matching(2, by="last")) == [(1, 4), (2, 5)]


def test_a_map_of_the_recipe_stays() -> None:
    assert Matching(0, {"s.0": "t.4", "head": "t.5"}, "similarity").pairs([], [], no_likeness) == [
        ("s.0", "t.4"),
        ("head", "t.5"),
    ]


def test_the_most_alike_meet_in_their_order() -> None:
    measured = np.array(
        [
            [0.1, 0.9, 0.2, 0.3, 0.1, 0.0],
            [0.2, 0.8, 0.7, 0.1, 0.1, 0.1],
            [0.1, 0.9, 0.1, 0.2, 0.6, 0.5],
        ]
    )
    assert Matching(by="similarity").pairs(OWN, THEIRS, lambda: measured) == [
        ("s.0", "t.1"),
        ("s.1", "t.2"),
        ("s.2", "t.4"),
    ]
    assert Matching(2, by="similarity").pairs(OWN, THEIRS, lambda: measured) == [
        ("s.1", "t.1"),
        ("s.2", "t.4"),
    ]


@pytest.mark.parametrize("seed", range(8))
def test_no_choice_in_order_is_more_alike(seed: int) -> None:
    measured = np.random.default_rng(seed).random((3, 6))
    best = max(
        itertools.combinations(range(6), 3), key=lambda columns: sum(measured[range(3), columns])
    )
    assert most_alike(measured) == list(best)


def test_more_layers_than_there_are_cannot_be_matched() -> None:
    with pytest.raises(ValueError, match="cannot keep 4 of 3 layers"):
        Matching(4).pairs(OWN, THEIRS, no_likeness)


def test_a_model_without_layers_needs_a_map() -> None:
    with pytest.raises(
        ValueError,
        match=r"the teacher has no ModuleList of layers\. Name modules: \{map: \{a: b\}\}",
    ):
        Matching().pairs(OWN, [], no_likeness)


def by_kernels(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al., equation 3: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = X X^T, L = Y Y^T, centred by H."""
    n = len(x)
    center = np.eye(n) - 1 / n

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ center @ b @ center)) / (n - 1) ** 2

    own, their = x @ x.T, y @ y.T
    return hsic(own, their) / np.sqrt(hsic(own, own) * hsic(their, their))


def test_cka_is_the_papers() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(20, 4)) + 3, generator.normal(size=(20, 7))
    y[:, :2] += x[:, :2]
    assert linear_cka(torch.tensor(x), torch.tensor(y)) == pytest.approx(
        by_kernels(x, y), rel=1e-10
    )
    turned = x @ np.linalg.qr(generator.normal(size=(4, 4)))[0] * 5 - 2
    assert linear_cka(torch.tensor(x), torch.tensor(turned)) == pytest.approx(1.0)
    assert linear_cka(torch.tensor(x), torch.ones(20, 3)) == 0.0


def test_a_cut_student_is_most_like_the_layers_that_it_was_cut_from() -> None:
    torch.manual_seed(0)
    layers = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh()) for _ in range(4)
    )

    class Stack(torch.nn.Module):
        def __init__(self, kept: list[int]) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(layers[i] for i in kept)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                pixel_values = layer(pixel_values)
            return pixel_values

    pixels, mask = torch.randn(40, 8), torch.ones(40, 1, dtype=torch.bool)
    batch = Batch(
        {"pixel_values": pixels}, None, torch.zeros(40, 1, dtype=torch.long), mask, np.arange(40)
    )
    measured = likeness(
        Side(Stack([0, 1]), ["layers.0", "layers.1"], [batch]),
        Side(Stack([0, 1, 2, 3]), [f"layers.{i}" for i in range(4)], [batch]),
    )
    assert measured.shape == (2, 4)
    np.testing.assert_allclose(np.diag(measured), 1.0)
    assert most_alike(measured) == [0, 1]
