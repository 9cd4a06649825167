"""The sensitivities where the exact answer is known: one linear layer and a softmax, whose Fisher information has a closed form."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from limbeck.analysis.sensitivities import JudgedModel, fitted, gradient, rounding_error
from limbeck.core import registry
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Scheme
from limbeck.tasks import Batch


class Against(nn.Module):
    """Logits (w . x, 0): with rows of one input each, the curvature of the weights is diagonal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.layer(x), torch.zeros(len(x), 1)], 1)


class Softmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def probe(
    model: nn.Module, x: torch.Tensor, formats: tuple[str, ...] = ("int8", "int4")
) -> JudgedModel:
    prepare_model(
        model,
        {"layer": Scheme(weights="int8", activations="float")},
        "minmax",
        lambda model: model(x=x[:2]),
    )
    one = torch.ones(1, 1)
    batches = [
        Batch({"x": row[None]}, None, one.long(), one.bool(), np.array([index]))
        for index, row in enumerate(x)
    ]
    return JudgedModel(model.eval(), batches, formats)


def against() -> tuple[JudgedModel, np.ndarray, dict[str, np.ndarray]]:
    """The toy, its diagonal curvature a unit, and the error of each format."""
    torch.manual_seed(0)
    x = torch.diag(torch.linspace(0.5, 2, 8))
    given = probe(Against(8), x)
    layer = given.layers["layer"]
    p = 1 / (1 + np.exp(-(x @ layer.weight.detach()[0]).double().numpy()))
    curvature = p * (1 - p) * x.diagonal().double().numpy() ** 2 / len(x)
    return (
        given,
        curvature,
        {
            form: rounding_error(layer, fitted(layer, form))[0].double().numpy()
            for form in given.formats
        },
    )


def test_the_divergence_is_that_of_a_loop_in_float64() -> None:
    given, _, errors = against()
    weight = given.layers["layer"].weight.detach()[0].double().numpy()
    found = registry.create("sensitivities", "kl")(given)["layer"]
    for form, wrong in errors.items():
        expected = 0.0
        for d, scale in enumerate(np.linspace(0.5, 2, 8)):
            p, q = (1 / (1 + np.exp(-scale * w)) for w in (weight[d], weight[d] + wrong[d]))
            expected += (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))) / 8
        assert found[form] == pytest.approx(expected, rel=2e-2)


def test_the_average_curvature_is_exact_where_it_is_diagonal() -> None:
    given, curvature, errors = against()
    found = registry.create("sensitivities", "hessian")(given)["layer"]
    for form, wrong in errors.items():
        assert found[form] == pytest.approx(0.5 * curvature.mean() * (wrong**2).sum(), rel=1e-4)


def test_over_all_signs_the_squared_gradient_is_the_fisher_information(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(1)
    x = torch.randn(4, 3)
    given = probe(Softmax(), x)
    totals = torch.zeros(3, 3)
    for signs in product((-1.0, 1.0), repeat=3):
        monkeypatch.setattr(
            gradient,
            "signs",
            lambda rows, *shape, signs=signs: torch.tensor(signs).expand(len(rows), *shape),
        )
        totals += gradient.fisher(given.model, given.layers, given.batches)["layer"] / 8
    p = (x @ given.layers["layer"].weight.detach().T).softmax(-1)
    expected = torch.einsum("bv,bd->vd", p * (1 - p), x.square()) / 4
    torch.testing.assert_close(totals, expected)


def test_small_errors_cost_half_their_squares_times_the_curvature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All three ways on the toy where none has anything to neglect but the third order."""
    given, curvature, errors = against()
    exact = {form: 0.5 * float(curvature @ wrong**2) for form, wrong in errors.items()}
    measured = registry.create("sensitivities", "kl")(given)["layer"]
    estimates = []
    for signs in product((-1.0, 1.0), repeat=2):
        monkeypatch.setattr(
            gradient,
            "signs",
            lambda rows, *shape, signs=signs: torch.tensor(signs).expand(len(rows), *shape),
        )
        estimates.append(registry.create("sensitivities", "gradient")(given)["layer"])
    for form, value in exact.items():
        assert np.mean([each[form] for each in estimates]) == pytest.approx(value, rel=1e-4)
        assert measured[form] == pytest.approx(value, rel=0.05)


def test_signs_are_fair_and_a_shorter_rows_are_the_first_of_a_longer_ones() -> None:
    drawn = gradient.signs(np.arange(400), 4, 5)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(drawn.mean())) < 0.05
    assert torch.equal(gradient.signs(np.array([7, 3]), 2, 5), drawn[[7, 3], :2])
