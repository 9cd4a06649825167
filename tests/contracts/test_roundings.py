"""What every rounding keeps. A new file in roundings/ is tested here without a line of this file changing."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from limbeck.core import registry
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.affine import dequantize
from limbeck.quantization.affine import quantize as to_codes
from limbeck.quantization.after_training import quantize_after_training
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.integer import Integer
from limbeck.quantization.modules.swap import (
    Quantized,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
)
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.ranges.mse import Mse
from limbeck.quantization.roundings import LayerRounding, Rounding, ScaledRounding, mismatch
from limbeck.recipe.model import Quantize

MADE = {name: registry.create("roundings", name) for name in registry.names("roundings")}
SINGLE = [name for name, made in MADE.items() if isinstance(made, Rounding)]
BY_LAYER = [name for name, made in MADE.items() if isinstance(made, LayerRounding)]
WEIGHTS = [
    (name, weights)
    for name in BY_LAYER
    for weights, grid in GRIDS.items()
    if grid.symmetric and mismatch(MADE[name], weights) is None
]
FAST = {"adaround": {"steps": 60}}  # of the keys that a test need not wait for
single = pytest.mark.parametrize("name", SINGLE)
by_layer = pytest.mark.parametrize("name", BY_LAYER)
ZERO = torch.zeros(())


def made(name: str) -> Any:
    return registry.create("roundings", name, FAST.get(name, {}))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated(count: int, width: int, seed: int) -> torch.Tensor:
    """Inputs of few directions and some noise, of sizes far apart."""
    mixed = normal(count, 3, seed=seed) @ normal(3, width, seed=seed + 1) + 0.3 * normal(
        count, width, seed=seed + 2
    )
    return mixed * normal(width, seed=seed + 3).exp()


def scales(weight: torch.Tensor, grid: Grid, group: int | None = None) -> torch.Tensor:
    """(O, groups) of least squared error."""
    found = Mse(grid)
    found.observe(weight.reshape(-1, group or weight.shape[1]))
    return found.fit()[0].view(len(weight), -1)


def on_nearest(weight: torch.Tensor, scale: torch.Tensor, grid: Grid) -> torch.Tensor:
    columns = scale.repeat_interleave(weight.shape[-1] // scale.shape[-1], -1)
    return dequantize(to_codes(weight, columns, ZERO, grid), columns, ZERO)


def errors(found: torch.Tensor, weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """(O) squared error of the outputs, as float64 computes it from the inputs themselves."""
    return (inputs.double() @ (found - weight).double().mT).square().sum(-2)


def test_a_rounding_acts_on_single_values_or_by_layer() -> None:
    assert sorted(SINGLE + BY_LAYER) == sorted(MADE)
    assert len(SINGLE) > 1
    assert len(BY_LAYER) > 1


# On single values.


@single
@pytest.mark.parametrize("training", [False, True])
def test_steps_become_one_of_the_two_integers_beside_them(name: str, training: bool) -> None:
    """One that is made for some formats may choose others; on the grid it is all the same."""
    steps = 5 * normal(4, 300)
    found = made(name).round(steps, GRIDS["int8"], training=training)
    assert found.shape == steps.shape
    assert found.dtype == torch.float32
    assert torch.equal(found, found.round())
    assert (found * steps >= 0).all()
    if not isinstance(MADE[name], ScaledRounding):
        assert ((found - steps).abs() < 1).all()
        assert ((found - steps).abs() <= 0.5).all() or training


@single
@pytest.mark.parametrize("training", [False, True])
def test_values_on_the_grid_stay(name: str, training: bool) -> None:
    low, high = (-1, 1) if isinstance(MADE[name], ScaledRounding) else (-8, 7)
    steps = torch.arange(low, high + 1).float().repeat(2, 50)
    assert torch.equal(made(name).round(steps, GRIDS["int8"], training=training), steps)


@single
def test_a_larger_value_never_takes_a_lower_level(name: str) -> None:
    steps = (4 * normal(3, 500)).sort(-1).values
    assert (made(name).round(steps, GRIDS["int8"], training=False).diff(dim=-1) >= 0).all()


@single
def test_in_eval_mode_nothing_is_drawn_and_a_seed_decides_in_training(name: str) -> None:
    steps, before = 3 * normal(3, 200), torch.get_rng_state()
    first, second = (made(name).round(steps, GRIDS["int8"], training=False) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(made(name).round(steps, GRIDS["int8"], training=True))
    assert torch.equal(*drawn)


@single
@pytest.mark.parametrize("out", [1, 3])
def test_the_quantized_weight_is_its_codes_times_the_scales_in_every_shape(
    name: str, out: int
) -> None:
    """Of a layer with one channel too, whose weight is one group: linear, convolution, embedding."""
    for module, x in (
        (nn.Linear(12, out), normal(5, 12)),
        (nn.Conv2d(2, out, 3), normal(2, 2, 6, 6)),
        (nn.Embedding(out, 12), torch.arange(out)),
    ):
        model = nn.Sequential(module).eval()
        keys = Quantize(weights="ternary", rounding=name, when="after")
        flow = prepare_model(
            model,
            plan_schemes(model, keys, "float"),
            "mse",
            lambda m, x=x: m(x),
            rounding=made(name),
        )
        quantize_after_training(model, flow, [lambda m, x=x: m(x)], rounding=made(name))
        (layer,) = (each for each in model.modules() if isinstance(each, Quantized))
        weight, scale = (
            layer.float_weight().detach(),
            layer.quantizer.scale.view(out, *[1] * (layer.weight.ndim - 1)),
        )
        assert torch.equal(layer.quantizer(weight), layer.quantizer.codes(weight) * scale)
        expected = (
            made(name)
            .round(weight.flatten(1) / scale.flatten(1), GRIDS["ternary"], training=False)
            .clamp(-1, 1)
        )
        assert torch.equal(layer.quantizer.codes(weight).flatten(1), expected)
        torch.testing.assert_close(convert_model(model)(x), model(x))


# By layer.


@pytest.mark.parametrize(("name", "weights"), WEIGHTS)
@pytest.mark.parametrize("group", [None, 4])
def test_solved_weights_lie_on_the_grid_and_are_found_again(
    name: str, weights: str, group: int | None
) -> None:
    grid, weight = GRIDS[weights], normal(5, 12)
    scale = scales(weight, grid, group)
    found = made(name).solve(weight, scale, grid, correlated(40, 12, 1))
    assert found.shape == weight.shape
    assert found.dtype == torch.float32
    assert torch.equal(on_nearest(found, scale, grid), found)


@by_layer
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 40)),
    weights=st.sampled_from(["int4", "int3", "int2", "ternary"]),
    seed=st.integers(0, 999),
    dead=st.booleans(),
)
def test_no_row_errs_more_than_at_the_nearest_levels(
    name: str, shape: tuple[int, int, int], weights: str, seed: int, dead: bool
) -> None:
    """With fewer inputs than columns, with a column that nothing is read from, with one row."""
    rows, groups, count = shape
    grid, weight, inputs = (
        GRIDS[weights],
        normal(rows, 4 * groups, seed=seed),
        correlated(count, 4 * groups, seed),
    )
    inputs[:, 1] *= not dead
    scale = scales(weight, grid, 4)
    found, plain = made(name).solve(weight, scale, grid, inputs), on_nearest(weight, scale, grid)
    assert torch.isfinite(found).all()
    assert (
        errors(found, weight, inputs) <= errors(plain, weight, inputs) * (1 + 1e-9) + 1e-12
    ).all()


@by_layer
@pytest.mark.parametrize("weights", ["int4", "int3"])
def test_outputs_err_less_than_at_the_nearest_levels(name: str, weights: str) -> None:
    grid, weight, inputs = GRIDS[weights], normal(20, 24), correlated(400, 24, 5)
    scale = scales(weight, grid)
    found = errors(
        registry.create("roundings", name).solve(weight, scale, grid, inputs), weight, inputs
    )
    assert found.sum() < 0.75 * errors(on_nearest(weight, scale, grid), weight, inputs).sum()


@by_layer
@pytest.mark.parametrize(
    "inputs",
    [torch.zeros(7, 8), torch.eye(8).repeat(3, 1)],
    ids=["nothing is read", "columns without correlation"],
)
def test_where_nothing_can_be_gained_levels_are_the_nearest(
    name: str, inputs: torch.Tensor
) -> None:
    weight = normal(4, 8)
    scale = scales(weight, GRIDS["int3"])
    assert torch.equal(
        made(name).solve(weight, scale, GRIDS["int3"], inputs),
        on_nearest(weight, scale, GRIDS["int3"]),
    )


@by_layer
def test_zero_weights_stay(name: str) -> None:
    weight = torch.stack([torch.zeros(8), normal(8)])
    scale = scales(weight, GRIDS["int4"])
    assert (made(name).solve(weight, scale, GRIDS["int4"], correlated(30, 8, 2))[0] == 0).all()


@by_layer
def test_rows_do_not_see_each_other_and_a_batch_of_layers_is_each_alone(name: str) -> None:
    grid, weight, inputs = (
        GRIDS["int3"],
        normal(3, 4, 8),
        torch.stack([correlated(30, 8, seed) for seed in (0, 10, 20)]),
    )
    scale = torch.stack([scales(each, grid) for each in weight])
    together = made(name).solve(weight, scale, grid, inputs)
    for i in range(3):
        assert torch.equal(made(name).solve(weight[i], scale[i], grid, inputs[i]), together[i])
        assert torch.equal(
            made(name).solve(weight[i, 1:2], scale[i, 1:2], grid, inputs[i]), together[i, 1:2]
        )


@by_layer
def test_the_order_of_positions_does_not_matter(name: str) -> None:
    grid, weight, inputs = GRIDS["int3"], normal(6, 8), correlated(50, 8, 3)
    scale = scales(weight, grid)
    found, turned = (
        made(name).solve(weight, scale, grid, each) for each in (inputs, inputs.flip(0))
    )
    assert torch.equal(found, turned)


@by_layer
def test_what_is_given_stays_as_it_was(name: str) -> None:
    given = normal(4, 8), scales(normal(4, 8), GRIDS["int3"]), correlated(20, 8, 4)
    kept = [each.clone() for each in given]
    made(name).solve(given[0], given[1], GRIDS["int3"], given[2])
    assert all(torch.equal(*pair) for pair in zip(given, kept, strict=True))


# In a model.


class Grouped(nn.Module):
    """Grouped and depthwise convolutions, norms folded in, one alone and one read by two; a linear layer, and an embedding added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.second, self.skip = nn.Conv2d(8, 4, 1, groups=2), nn.Conv2d(8, 4, 1, bias=False)
        self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.first(x))
        x = (self.second(x) + self.skip(x)).mean((2, 3))
        return self.head(x + self.table(torch.arange(len(x)) % 5))


def settled(name: str, activations: str, **keys: Any) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """A model in float and quantized after training, and what both read."""
    torch.manual_seed(0)
    model, x = Grouped(), normal(16, 2, 8, 8)
    model.train()(x)
    with torch.no_grad():
        model.first[1].weight[1], model.depthwise[1].weight[0] = -0.5, 3.0
    model.eval()
    swapped, call = copy.deepcopy(model), lambda m: m(x)
    found = Quantize(when="after", rounding=name, **keys)
    flow = prepare_model(
        swapped, plan_schemes(swapped, found, activations), "mse", call, rounding=made(name)
    )
    quantize_after_training(swapped, flow, [call, call], rounding=made(name))
    return model, swapped, x


CASES = {
    "static": ("uint8", {}),
    "weights alone": ("float", {}),
    "in groups": ("float", {"group": 2}),
}


@by_layer
@pytest.mark.parametrize(("activations", "keys"), CASES.values(), ids=list(CASES))
def test_a_model_of_every_kind_of_layer_is_rounded_for_what_its_layers_read(
    name: str, activations: str, keys: dict[str, Any]
) -> None:
    if keys:  # of 3 x 3 windows only whole groups of the 2 channels before them
        keys = keys | {"keep_float": ["depthwise.0"]}
    model, swapped, x = settled(name, activations, weights="int3", **keys)
    layers = {
        each: module for each, module in swapped.named_modules() if isinstance(module, Quantized)
    }
    assert {type(module) for module in layers.values()} == {
        QuantizedLinear,
        QuantizedConv2d,
        QuantizedEmbedding,
    }
    changed = 0
    for path, module in layers.items():
        own = model.get_submodule(path.replace(".module", ""))
        if isinstance(module, QuantizedEmbedding):
            assert torch.equal(module.weight, own.weight)
            continue
        codes, scale = module.codes(), module.scale().unsqueeze(1)
        on_grid = (codes.view(len(scale), -1) * scale).view_as(codes)
        torch.testing.assert_close(module.rounded_weight(), on_grid, rtol=1e-6, atol=0)
        torch.testing.assert_close(module.float_weight(), on_grid, rtol=1e-6, atol=0)
        norm = {"first.0": model.first[1], "depthwise.0": model.depthwise[1]}.get(
            path.replace(".module", "")
        )
        factor = (
            1
            if norm is None
            else (norm.weight / (norm.running_var + norm.eps).sqrt()).view(-1, 1, 1, 1)
        )
        signed = own.weight * torch.as_tensor(factor).sign()
        changed += not torch.equal(module.quantizer.codes(signed.detach()), codes)
        assert (on_grid - own.weight * factor).abs().max() < 4 * scale.max()
    assert changed >= 2
    converted = convert_model(swapped)
    assert sum(isinstance(module, Integer) for module in converted.modules()) == len(layers)
    torch.testing.assert_close(converted(x), swapped(x), atol=1e-5, rtol=1e-5)


@by_layer
def test_outputs_of_a_whole_model_err_less_than_at_the_nearest_levels(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 8)
    ).eval()
    x, found = correlated(400, 24, 5), {}
    for each in ("nearest", name):
        swapped, rounding = copy.deepcopy(model), made(each)
        plan = plan_schemes(swapped, Quantize(weights="int3", rounding=each, when="after"), "float")
        flow = prepare_model(swapped, plan, "mse", lambda m: m(x), rounding=rounding)
        quantize_after_training(swapped, flow, [lambda m: m(x)], rounding=rounding)
        found[each] = (swapped(x) - model(x)).square().mean().item()
    assert found[name] < 0.8 * found["nearest"]
    assert math.isfinite(found[name])


def test_a_rounding_by_whole_steps_is_refused_for_levels_that_are_none() -> None:
    for name in ("adaround", "stochastic"):
        with pytest.raises(
            ValueError,
            match=f"quantize: `0`: `{name}` rounds weights to int8 or int7 or int4 or int3 or int2 or ternary alone, not to binary",
        ):
            plan_schemes(
                nn.Sequential(nn.Linear(4, 4)),
                Quantize(weights="binary", rounding=name, when="after"),
                "float",
            )
