"""Each rewrite against float64 written out, and what it is for: outliers shrink, ranges meet, errors fall."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from limbeck.core import registry
from limbeck.exporters.onnx_graph import to_onnx
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.exporters.onnx_ops import dynamic_quantize_linear
from limbeck.models.anatomy.dataflow import Flow, watch
from limbeck.quantization.after_training import quantize_after_training
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.equalizers import Equalizer
from limbeck.quantization.equalizers._basis import Rotation, Scale
from limbeck.quantization.equalizers.awq import output_error, rounded, scale_of
from limbeck.quantization.equalizers.hadamard import orthogonal
from limbeck.quantization.modules.swap import QuantizedConv2d, find
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def outlying(rows: int = 64, width: int = 16) -> torch.Tensor:
    """Activations with one channel a hundred times larger than the rest."""
    x = normal(rows, width)
    x[:, 3] *= 100
    return x


def sequence(*modules: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(*modules).eval()
    for index, parameter in enumerate(model.parameters()):
        parameter.data = 0.3 * normal(*parameter.shape, seed=index + 1) + (
            1 if parameter.ndim == 1 else 0
        )
    return model


def prepared(
    model: nn.Module,
    x: torch.Tensor,
    chosen: list[Equalizer],
    activations: str = "uint8",
    **keys: Any,
) -> tuple[nn.Module, Flow]:
    swapped = copy.deepcopy(model)
    schemes = plan_schemes(swapped, Quantize(**keys), activations)
    return swapped, prepare_model(swapped, schemes, "minmax", lambda m: m(x), equalizers=chosen)


def settled(
    model: nn.Module, x: torch.Tensor, *names: str, activations: str = "uint8", **keys: Any
) -> nn.Module:
    chosen = [registry.create("equalizers", name) for name in names]
    swapped, flow = prepared(model, x, chosen, activations, **keys)
    quantize_after_training(swapped, flow, [lambda m: m(x)], equalizers=chosen)
    return swapped.eval()


def applied(
    model: nn.Module, x: torch.Tensor, name: str, activations: str = "uint8", **keys: Any
) -> nn.Module:
    """Rewritten, nothing quantized."""
    equalizer = registry.create("equalizers", name, keys)
    swapped, flow = prepared(model, x, [equalizer], activations)
    equalizer.apply(swapped, flow, [lambda m: m(x)])
    return swapped


def loss(found: nn.Module, model: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((found(x) - model(x)).square().mean())


# smoothquant


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_smoothquant_is_equation_4(alpha: float) -> None:
    x, model = outlying(), sequence(nn.Linear(16, 5))
    swapped = applied(model, x, "smoothquant", alpha=alpha)
    expected = []
    for j in range(16):
        most_x = max(abs(float(row[j])) for row in x.double())
        most_w = max(abs(float(row[j])) for row in model[0].weight.detach().double())
        expected.append(most_x**alpha / most_w ** (1 - alpha))
    s = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(
        swapped[0].basis.smoothquant.factor.double(), 1 / s, rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        swapped[0].weight.double(), model[0].weight.double() * s, rtol=1e-5, atol=1e-7
    )


def test_smoothquant_shrinks_outliers_and_doing_it_twice_is_doing_it_once() -> None:
    x, model = outlying(), sequence(nn.Linear(16, 5))
    equalizer = registry.create("equalizers", "smoothquant")
    swapped, flow = prepared(model, x, [equalizer])
    equalizer.apply(swapped, flow, [lambda m: m(x)])
    peaks = swapped[0].basis(x).abs().amax(0)
    assert peaks.max() / peaks.median() < 0.2 * x.abs().amax(0).max() / x.abs().amax(0).median()
    once = swapped[0].weight.clone()
    equalizer.apply(swapped, flow, [lambda m: m(x)])
    torch.testing.assert_close(swapped[0].weight, once, rtol=1e-5, atol=1e-6)


def test_a_dead_channel_keeps_its_scale() -> None:
    x, model = normal(8, 6), sequence(nn.Linear(6, 4))
    x[:, 1] = 0
    model[0].weight.data[:, 2] = 0
    factor = applied(model, x, "smoothquant")[0].basis.smoothquant.factor
    assert factor[1] == factor[2] == 1
    assert torch.isfinite(factor).all()


@pytest.mark.parametrize("name", ["smoothquant", "hadamard"])
def test_the_error_of_integers_with_an_outlier_falls(name: str) -> None:
    x, model = outlying(), sequence(nn.Linear(16, 8))
    assert loss(settled(model, x, name), model, x) < 0.2 * loss(settled(model, x), model, x)


class Attention(nn.Module):
    """Three layers read what a norm makes; `rest`: a residual reads it too."""

    def __init__(self, rest: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.rest = rest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        y = torch.softmax(self.query(x) @ self.key(x).mT, -1) @ self.value(x)
        return x + y if self.rest else y


@pytest.mark.parametrize("rest", [False, True])
def test_a_norm_read_by_the_layers_alone_holds_the_division(rest: bool, tmp_path: Any) -> None:
    """Elsewhere it is one multiplication and one quantizer for the three."""
    torch.manual_seed(0)
    model, x = Attention(rest).eval(), normal(2, 7, 16)
    chosen = [registry.create("equalizers", "smoothquant")]
    swapped, flow = prepared(model, x, chosen)
    quantize_after_training(swapped, flow, [lambda m: m(x)], equalizers=chosen)
    assert sum(isinstance(module, Scale) for module in swapped.modules()) == int(rest)
    assert torch.equal(swapped.norm.weight, model.norm.weight) == rest
    found = {}
    for label, each in (("bare", settled(model, x)), ("smooth", swapped.eval())):
        to_onnx(
            convert_model(each),
            {"x": x},
            tmp_path / "m.onnx",
            dynamic_translation=dynamic_quantize_linear,
        )
        found[label] = optimized_ops(tmp_path / "m.onnx")
    assert found["smooth"]["Mul"] == found["bare"]["Mul"] + int(rest)
    assert found["smooth"]["QuantizeLinear"] == found["bare"]["QuantizeLinear"] == 1
    assert found["smooth"]["MatMulIntegerToFloat"] == 3


# awq


@pytest.mark.parametrize("weights", ["int4", "int2", "ternary"])
@pytest.mark.parametrize("group", [None, 8])
def test_awq_is_the_best_of_its_grid_and_never_worse_than_none(
    weights: str, group: int | None
) -> None:
    x, model = outlying(), sequence(nn.Linear(16, 8))
    equalizer = registry.create("equalizers", "awq")
    swapped, flow = prepared(model, x, [equalizer], "float", weights=weights, group=group)
    quantizer, weight = swapped[0].quantizer, model[0].weight.detach()
    x64, mean = x.double(), x.abs().mean(0)
    errors = []
    for step in range(21):
        s = scale_of(mean, step / 20)
        made = (x64 / s) @ rounded(
            quantizer, weight * s
        ).double().t()  # Q(W s) (X / s), by the inputs themselves
        errors.append(float((made - x64 @ weight.double().t()).square().sum()))
        assert output_error(swapped[0], s, x.t() @ x) == pytest.approx(
            errors[-1], rel=1e-3, abs=1e-4
        )
    equalizer.apply(swapped, flow, [lambda m: m(x)])
    s = 1 / swapped[0].basis.awq.factor
    made = (x64 / s) @ rounded(quantizer, weight * s).double().t()
    least = float((made - x64 @ weight.double().t()).square().sum())
    assert least == pytest.approx(min(errors), rel=1e-3)
    assert least <= errors[0] * (1 + 1e-6)
    if weights == "int4":
        assert least < 0.5 * errors[0]


def test_awq_s_scale_is_that_of_the_paper_s_code() -> None:
    s = scale_of(torch.tensor([4.0, 1.0, 0.25]), 0.5)
    torch.testing.assert_close(s, torch.tensor([2.0, 1.0, 0.5]))
    assert float(s.max() * s.min()) == pytest.approx(1)


# hadamard


@pytest.mark.parametrize("size", [2, 8, 64])
def test_the_rotation_is_orthogonal_and_of_one_size(size: int) -> None:
    matrix = orthogonal(size)
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(size, dtype=torch.float64))
    torch.testing.assert_close(matrix.abs(), torch.full_like(matrix, size**-0.5))


@pytest.mark.parametrize(
    ("width", "block", "used"),
    [(16, None, 16), (24, None, 8), (192, None, 64), (24, 4, 4), (5, None, 0)],
)
def test_blocks_are_rotated_each_by_itself(width: int, block: int | None, used: int) -> None:
    model, x = sequence(nn.Linear(width, 12), nn.ReLU(), nn.Linear(12, 3)), normal(9, width)
    swapped = applied(model, x, "hadamard", **({} if block is None else {"block": block}))
    if not used:
        assert swapped[0].basis is None
        return
    whole = torch.block_diag(*[orthogonal(used)] * (width // used))
    torch.testing.assert_close(
        swapped[0].basis(x).double(), x.double() @ whole, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        swapped[0].weight.double(), model[0].weight.double() @ whole, rtol=1e-4, atol=1e-5
    )


def test_a_rotation_of_one_size_lies_in_the_model_once() -> None:
    model = sequence(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    swapped = applied(model, normal(4, 16), "hadamard")
    assert sum(isinstance(module, Rotation) for module in swapped.modules()) == 1


@pytest.mark.parametrize(
    ("name", "keys", "told"),
    [
        (
            "smoothquant",
            {"alpha": 1.5},
            r"`alpha` of `smoothquant` is 1\.5; expected a number from 0 to 1",
        ),
        ("smoothquant", {"alpha": -0.1}, r"`alpha` of `smoothquant` is -0\.1"),
        ("awq", {"steps": 0}, "`steps` of `awq` is 0; expected a whole number from 1 up"),
        (
            "hadamard",
            {"block": 48},
            "`block` of `hadamard` is 48; expected a power of two, such as 32",
        ),
        (
            "hadamard",
            {"block": 1},
            "`block` of `hadamard` is 1; expected a power of two, such as 2",
        ),
    ],
)
def test_a_key_out_of_range_is_refused(name: str, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        registry.create("equalizers", name, keys)


def test_a_block_that_does_not_fit_names_the_layer_and_what_does() -> None:
    with pytest.raises(
        ValueError,
        match=r"hadamard: `2` reads 12 channels, which are not whole blocks of 8\. Fitting: 2, 4$",
    ):
        applied(
            sequence(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)),
            normal(4, 16),
            "hadamard",
            block=8,
        )


# cross_layer


def conv(inside: int, outside: int, groups: int = 1, norm: bool = True) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, 3, padding=1, groups=groups),
        *([nn.BatchNorm2d(outside)] if norm else []),
    ]


def made(layer: Any) -> torch.Tensor:
    return layer.float_weight().flatten(1).abs().amax(1).detach()


def read(layer: Any) -> torch.Tensor:
    """The largest weight by input channel, by a loop over groups."""
    weight, groups = (
        layer.float_weight().detach(),
        layer.geometry["groups"] if "geometry" in vars(layer) else 1,
    )
    each = len(weight) // groups
    return torch.cat(
        [
            weight[i * each : (i + 1) * each].transpose(0, 1).flatten(1).abs().amax(1)
            for i in range(groups)
        ]
    )


CHAINS = {
    "convolutions": ([*conv(1, 4), nn.ReLU(), *conv(4, 6)], normal(2, 1, 6, 6), [0, 3]),
    "no norms, no relu": (
        [*conv(1, 4, norm=False), *conv(4, 6, norm=False)],
        normal(2, 1, 6, 6),
        [0, 1],
    ),
    "depthwise": (
        [*conv(1, 8), nn.ReLU(), *conv(8, 8, groups=8), nn.ReLU(), *conv(8, 5)],
        normal(2, 1, 6, 6),
        [0, 3, 6],
    ),
    "grouped": (
        [*conv(1, 8), nn.ReLU(inplace=True), *conv(8, 4, groups=2)],
        normal(2, 1, 6, 6),
        [0, 3],
    ),
    "linear": (
        [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)],
        normal(5, 6),
        [0, 2, 4],
    ),
}


@pytest.mark.parametrize(("modules", "x", "places"), CHAINS.values(), ids=list(CHAINS))
def test_cross_layer_makes_the_ranges_of_neighbours_equal(
    modules: list[nn.Module], x: torch.Tensor, places: list[int]
) -> None:
    model = sequence(*modules)
    swapped, flow = prepared(model, x, [])
    before = [find(swapped, str(place)) for place in places]
    products = made(before[0]).double() * read(before[1]).double()
    registry.create("equalizers", "cross_layer").apply(swapped, flow, [])
    layers = [find(swapped, str(place)) for place in places]
    for one, other in itertools.pairwise(layers):
        torch.testing.assert_close(made(one), read(other), rtol=1e-3, atol=1e-6)
    if len(places) == 2:
        torch.testing.assert_close(made(layers[0]).double(), products.sqrt(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(swapped.eval()(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("between", [nn.ReLU6(), nn.GELU()])
def test_nothing_is_moved_across_an_activation_that_does_not_scale(between: nn.Module) -> None:
    with pytest.raises(ValueError, match="ReLU6 and GELU do not scale"):
        prepared(
            sequence(nn.Linear(6, 8), between, nn.Linear(8, 3)),
            normal(5, 6),
            [registry.create("equalizers", "cross_layer")],
        )


class Shifted(nn.ReLU):
    """max(x, -1), which does not scale with x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + 1) - 1


def test_nothing_is_moved_across_a_subclass_that_computes_otherwise() -> None:
    model = sequence(nn.Linear(6, 8), Shifted(), nn.Linear(8, 3))
    with pytest.raises(ValueError, match="cross_layer"):
        prepared(model, normal(5, 6), [registry.create("equalizers", "cross_layer")])


class Halved(nn.LayerNorm):
    """Does not scale with its weight alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).clamp(-0.5, 0.5)


def test_a_norm_that_computes_otherwise_holds_no_division() -> None:
    torch.manual_seed(0)
    model, given = Attention(rest=False).eval(), normal(2, 7, 16)
    model.norm = Halved(16).eval()
    chosen = [registry.create("equalizers", "smoothquant")]
    swapped, flow = prepared(model, given, chosen)
    quantize_after_training(swapped, flow, [lambda m: m(given)], equalizers=chosen)
    assert torch.equal(swapped.norm.weight, model.norm.weight)
    assert loss(swapped.eval(), model, given) < 0.05


@pytest.mark.parametrize("padding", [0, 1])
def test_absorbing_moves_what_a_relu_always_passes(padding: int) -> None:
    """c = max(0, beta - 3 |gamma|): the function stays where activations exceed c; with padding nothing is moved."""
    model = sequence(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=padding)
    )
    norm = model[1]
    norm.weight.data.fill_(0.1)
    norm.bias.data.copy_(torch.tensor([2.0, 0.1, 5.0, -1.0]))
    x = normal(64, 1, 5, 5).clamp(-2, 2)
    norm.train().momentum = 1.0
    model(x)
    model.eval()
    alike, moved = applied(model, x, "cross_layer"), applied(model, x, "cross_layer", absorb=True)
    c = (alike[0].norm.bias - 3 * alike[0].norm.weight.abs()).clamp_min(0)
    assert (c > 0).tolist() == [True, False, True, False]
    torch.testing.assert_close(
        alike[0].norm.bias - moved[0].norm.bias, torch.zeros(4) if padding else c.detach()
    )
    torch.testing.assert_close(moved(x), model(x), rtol=1e-4, atol=1e-4)


# bias_correction


@pytest.mark.parametrize(
    ("modules", "x"),
    [
        ([nn.Linear(16, 8, bias=False), nn.ReLU(), nn.Linear(8, 5)], normal(64, 16) + 0.7),
        ([*conv(1, 4), nn.ReLU(), *conv(4, 3, norm=False)], normal(16, 1, 6, 6) + 0.7),
    ],
    ids=["linear", "convolutions"],
)
@pytest.mark.parametrize("rounding", [None, "put on the grid"])
def test_bias_correction_leaves_no_mean_error(
    modules: list[nn.Module], x: torch.Tensor, rounding: str | None
) -> None:
    """Also where a rounding by layer has replaced the float weights, which the mean was taken of before. A convolution's bias is an integer."""
    model = sequence(*modules)

    def mean_error(names: list[str]) -> tuple[float, float]:
        """(the largest of a channel, a step of the bias: it is rounded before the correction and after it)."""
        chosen = [registry.create("equalizers", name) for name in names]
        swapped, flow = prepared(model, x, chosen, weights="int2")
        quantize_after_training(
            swapped,
            flow,
            [lambda m: m(x)],
            equalizers=chosen,
            rounding=Floor() if rounding else None,
        )
        last = find(swapped.eval(), str(len(model) - 1))
        with torch.no_grad():
            seen: list[torch.Tensor] = []
            handle = last.register_forward_hook(lambda module, inputs, output: seen.append(output))
            swapped(x)
            handle.remove()
            error = (seen[0] - model(x)).double().transpose(0, 1).flatten(1).mean(1).abs().max()
            return float(error), float(last.bias_scale().max()) if isinstance(
                last, QuantizedConv2d
            ) else 0.0

    error, step = mean_error(["bias_correction"])
    assert error < step + 1e-5
    assert error < 0.2 * mean_error([])[0]


class Floor:
    """A rounding by layer: downwards."""

    def solve(
        self, weight: torch.Tensor, scale: torch.Tensor, grid: Any, inputs: torch.Tensor
    ) -> torch.Tensor:
        return (weight / scale).floor().clamp(grid.low, grid.high) * scale


# Who reads what.


def test_operations_count_what_modules_do_not_show() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.drop, self.relu = (
                nn.Linear(4, 4),
                nn.Linear(4, 4),
                nn.Dropout(),
                nn.ReLU(inplace=True),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            z = self.relu(self.second(self.drop(y)))
            return torch.cat([y, z.reshape(z.shape)])

    model = Model()
    flow = watch(model, lambda m: m(normal(3, 4)))
    assert (
        flow.uses[flow.makes["first"]] == 2
    )  # the layer and the concatenation; neither the dropout nor a shape
    assert flow.uses[flow.makes["second"]] == 1  # written in place
    assert flow.calls["relu"] == 1
