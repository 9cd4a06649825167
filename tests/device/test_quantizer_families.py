"""Every range, rounding, equalizer and sensitivity on another device, with and without float64: a
CPU's figures, and results that lie there."""

from typing import Any

import numpy as np
import pytest
import torch
from probe_device import Probe, ProbeTensor
from torch import nn

from limbeck.analysis.sensitivities import JudgedModel, Scores
from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.models.torch_batches import to_device
from limbeck.models.weights import model_state
from limbeck.quantization.after_training import quantize_after_training
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.roundings import LayerRounding, Rounding, ScaledRounding, mismatch
from limbeck.recipe.model import Quantize, Scheme
from limbeck.tasks import Batch

CPU = torch.device("cpu")
# A step of Adam divides by roots, and sums are taken in another order; all else is the same bits.
CLOSE = {"rtol": 1e-5, "atol": 1e-7}


@pytest.fixture
def probe(probe_of_any_width: Probe) -> Probe:
    return probe_of_any_width


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def brought_back(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor that lies on the probe."""
    tensor = tensor.detach()
    assert isinstance(tensor, ProbeTensor), "made on, or left on, the CPU"
    return tensor.raw


# Ranges.


@pytest.mark.parametrize("name", registry.names("ranges"))
@pytest.mark.parametrize("grid", ["uint8", "int4", "binary", "fp8-e4m3"])
def test_a_range_is_fitted_where_its_values_lie(name: str, grid: str, probe: Probe) -> None:
    batches = [normal(3, 900), normal(3, 2000, seed=1) - 0.5, 30 * normal(3, 1, seed=2)]
    fits = []
    for device in (CPU, probe.device):
        fitted = registry.load("ranges", name)(GRIDS[grid])
        for batch in batches:
            fitted.observe(batch.to(device))
        fits.append(fitted.fit())
    for expected, found in zip(*fits, strict=True):
        assert torch.equal(brought_back(found), expected)


# Roundings.

ROUNDINGS = {name: registry.create("roundings", name) for name in registry.names("roundings")}
SINGLE = [name for name, rounding in ROUNDINGS.items() if isinstance(rounding, Rounding)]
BY_LAYER = [name for name, rounding in ROUNDINGS.items() if isinstance(rounding, LayerRounding)]
VARIANTS = [(name, {}) for name in BY_LAYER] + [("gptq", {"act_order": False, "block": 5})]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SINGLE)
def test_values_are_rounded_where_they_lie(name: str, training: bool, probe: Probe) -> None:
    rounding = ROUNDINGS[name]
    form = next(form for form in ("int4", "ternary") if mismatch(rounding, form) is None)
    steps = 3 * normal(4, 300)
    levels = []
    for device in (CPU, probe.device):
        given = steps.to(device)
        torch.manual_seed(7)
        before = len(probe.syncs)
        levels.append(rounding.round(given, GRIDS[form], training=training))
        assert probe.syncs[before:] == []
    assert torch.equal(brought_back(levels[1]), levels[0])
    if isinstance(rounding, ScaledRounding):
        found = rounding.scale(steps.to(probe.device))
        assert torch.equal(brought_back(found), rounding.scale(steps))


@pytest.mark.parametrize("group", [12, 4])
@pytest.mark.parametrize(("name", "keys"), VARIANTS)
def test_layers_are_rounded_where_they_lie(
    name: str, keys: dict[str, Any], group: int, probe: Probe
) -> None:
    rounding = registry.create("roundings", name, keys)
    weight = normal(2, 7, 12)
    inputs = normal(2, 40, 3, seed=1) @ normal(2, 3, 12, seed=2) + 0.3 * normal(2, 40, 12, seed=3)
    inputs[:, :, 5] = 0
    scale = weight.unflatten(-1, (-1, group)).abs().amax(-1) / 4
    expected = rounding.solve(weight, scale, GRIDS["int3"], inputs)
    given = [each.to(probe.device) for each in (weight, scale, inputs)]
    found = rounding.solve(given[0], given[1], GRIDS["int3"], given[2])
    torch.testing.assert_close(brought_back(found), expected, **CLOSE)
    assert torch.equal(brought_back(given[0]), weight)


# Equalizers.


class Blocks(nn.Module):
    """Something for every rewrite: pairs, a norm read by two, a tensor that others read too, a layer without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16, bias=False))
        self.norm = nn.LayerNorm(16)
        self.left, self.right = nn.Linear(16, 8), nn.Linear(16, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x + self.inner(x))
        y = self.left(x).tanh() * self.right(x)
        return self.head(y) + y[:, :5]


def pixels() -> nn.Module:
    """Two convolutions with norms and a ReLU between."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.BatchNorm2d(4),
    )


MODELS: dict[str, tuple[Any, torch.Tensor]] = {
    "linear": (Blocks, normal(40, 16) * torch.linspace(0.1, 9, 16)),
    "convolutions": (pixels, normal(6, 2, 9, 9)),
}
OF_CONVOLUTIONS = ("cross_layer", "bias_correction")
EQUALIZED = [("linear", name, {}) for name in registry.names("equalizers")]
EQUALIZED += [("convolutions", name, {}) for name in OF_CONVOLUTIONS]
EQUALIZED += [("convolutions", "cross_layer", {"absorb": True})]


def equalized(
    kind: str, name: str, keys: dict[str, Any], device: torch.device
) -> dict[str, torch.Tensor]:
    """The state of a model after a rewrite, its ranges and its rounding."""
    build, x = MODELS[kind]
    torch.manual_seed(0)
    model = build().eval()
    for index, parameter in enumerate(model.parameters()):
        parameter.data += 0.2 * normal(*parameter.shape, seed=index)
    model = model.to(device)
    chosen = [registry.create("equalizers", name, keys)]
    rows = x.to(device)
    schemes = plan_schemes(model, Quantize(), "uint8")
    flow = prepare_model(model, schemes, "minmax", lambda m: m(rows), equalizers=chosen)
    quantize_after_training(model, flow, [lambda m: m(rows)], equalizers=chosen)
    return model_state(model)


@pytest.mark.parametrize(("kind", "name", "keys"), EQUALIZED)
def test_a_model_is_rewritten_where_it_lies(
    kind: str, name: str, keys: dict[str, Any], probe: Probe
) -> None:
    expected = equalized(kind, name, keys, CPU)
    found = equalized(kind, name, keys, probe.device)
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        torch.testing.assert_close(brought_back(tensor), expected[key], **CLOSE)


# Sensitivities.


class Words(nn.Module):
    """Tokens to a class."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.head = nn.Embedding(20, 8), nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.inner(self.table(x).mean(1))))


def judged(device: torch.device, likelihood: str) -> JudgedModel:
    torch.manual_seed(0)
    model = Words().eval().to(device)
    ids = torch.randint(0, 20, (6, 6), generator=torch.Generator().manual_seed(1))
    units = torch.ones(3, 1)
    batches = []
    for start in range(0, 6, 3):
        rows = np.arange(start, start + 3)
        batch = Batch({"x": ids[rows]}, None, units.long(), units.bool(), rows)
        batches.append(to_device(batch, device))
    scheme = Scheme(weights="int8", activations="float")
    schemes = dict.fromkeys(("table", "inner", "head"), scheme)
    prepare_model(model, schemes, "mse", lambda m: m(**batches[0].inputs))
    return JudgedModel(model.eval(), batches, ("int8", "int3"), likelihood=likelihood)


@pytest.mark.parametrize(
    "likelihood",
    [
        "categorical",
        *(pytest.param(other, marks=pytest.mark.slow) for other in ("bernoulli", "gaussian")),
    ],
)
@pytest.mark.parametrize("name", registry.names("sensitivities"))
def test_a_model_is_judged_where_it_lies(name: str, likelihood: str, probe: Probe) -> None:
    scores: list[Scores] = []
    for device in (CPU, probe.device):
        given = judged(device, likelihood)
        scores.append(registry.create("sensitivities", name)(given))
    expected, found = scores
    assert found.keys() == expected.keys()
    for module, row in found.items():
        assert row == pytest.approx(expected[module], rel=1e-4, abs=1e-12)
