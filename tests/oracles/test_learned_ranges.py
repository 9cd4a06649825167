"""What `lsq_plus` and `pact` learn, against the papers' equations in float64, and that the integers trained with are those that are exported."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts import tiny_models
from torch import nn

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.core.grids import GRIDS, Grid
from limbeck.exporters.onnx_kernels import check_kernels
from limbeck.quantization.affine import dequantize
from limbeck.quantization.affine import quantize as to_codes
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.fake import FakeQuantizer, squared_bounds
from limbeck.quantization.modules.integer import ActivationQuantizer
from limbeck.quantization.modules.swap import Quantized, activation_quantizers
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize

LEARNED = [name for name in registry.names("ranges") if registry.load("ranges", name).learned]
learned = pytest.mark.parametrize("name", LEARNED)
UINT8 = GRIDS["uint8"]


def quantizer(name: str, scale: float, zero_point: float, grid: Grid = UINT8) -> FakeQuantizer:
    made = FakeQuantizer(grid, registry.load("ranges", name))
    made.observer = Fixed(scale, zero_point)
    made.finish()
    return made


class Fixed:
    """A range that found what it is told."""

    def __init__(self, scale: float, zero_point: float) -> None:
        self.found = torch.tensor([scale]), torch.tensor([zero_point])

    def fit(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.found


def draw(count: int = 3000, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def test_the_list_of_ranges_is_complete() -> None:
    assert {
        "minmax",
        "moving_average",
        "percentile",
        "mse",
        "entropy",
        "lsq",
        "lsq_plus",
        "pact",
    } <= set(registry.names("ranges"))
    assert LEARNED == ["lsq", "lsq_plus", "pact"]


# LSQ+.


def through(rounded: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`rounded` with the gradient of x."""
    return rounded.detach() + x - x.detach()


def lsq_plus(x: torch.Tensor, step: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """The paper's asymmetric quantizer: the offset beta in units of x, unsigned codes from 0 to 255."""
    steps = ((x - offset) / step).clamp(0, 255)
    return through(torch.round(steps), steps) * step + offset


def test_the_offset_s_gradient_is_the_paper_s() -> None:
    """d x^ / d beta = 1 where clipped; beta = -255 share * step, and the gradient scale of LSQ. Ours rounds first: half a step is inside."""
    scale, zero_point, x = 0.01, 120.0, draw()
    x = x[((x + 1.2).abs() > 0.005) & ((x - 1.35).abs() > 0.005)]
    upstream = draw(seed=1)[: len(x)]
    own = quantizer("lsq_plus", scale, zero_point)
    own(x).mul(upstream).sum().backward()
    step = own.scale.double().requires_grad_()
    offset = (-zero_point * step.detach()).requires_grad_()
    expected = lsq_plus(x.double(), step, offset)
    torch.testing.assert_close(own(x).double(), expected.detach(), atol=1e-6, rtol=0)
    expected.mul(upstream.double()).sum().backward()
    assert 0.1 < ((x < -1.2) | (x > 1.35)).double().mean() < 0.4
    torch.testing.assert_close(
        own.offset.grad.double(),
        offset.grad * -255 * step.detach() / math.sqrt(len(x) * 255),
        rtol=1e-4,
        atol=0,
    )


def test_the_step_s_gradient_at_a_held_zero_point_is_that_of_lsq() -> None:
    found = []
    for name in ("lsq", "lsq_plus"):
        own = quantizer(name, 0.01, 120.0)
        own(draw()).square().sum().backward()
        found.append(own.log_scale.grad)
    torch.testing.assert_close(found[0], found[1])


def test_the_offset_follows_a_shifted_tensor() -> None:
    """Descent on the error moves the interval over the values; the scale alone has to stretch it."""
    errors, x = {}, draw() * 0.2 + 1.0
    for name in ("lsq", "lsq_plus"):
        own = quantizer(name, 2 / 255, 128.0)
        optimizer = torch.optim.Adam(own.parameters(), lr=0.01)
        for _ in range(300):
            optimizer.zero_grad()
            (own(x) - x).square().mean().backward()
            optimizer.step()
        errors[name] = (own(x) - x).square().mean().item()
        assert (own.zero_point < 100).item() == (name == "lsq_plus")
    assert errors["lsq_plus"] < 0.6 * errors["lsq"]


def test_a_tensor_that_was_never_negative_keeps_its_zero_point() -> None:
    """Else the ReLU before it could not run in the integer kernel."""
    own, x = quantizer("lsq_plus", 0.01, 0.0), draw()
    optimizer = torch.optim.Adam(own.parameters(), lr=0.1)
    (own(x) - x).square().mean().backward()
    optimizer.step()
    assert own.offset.grad is None
    assert own.zero_point == 0
    assert torch.equal(own(x), dequantize(own.codes(x), own.scale, own.zero_point))


@pytest.mark.parametrize("share", [-0.4, 1.7, 0.499])
def test_the_zero_point_is_an_integer_of_the_grid_wherever_its_offset_goes(share: float) -> None:
    own, x = quantizer("lsq_plus", 0.01, 120.0), draw()
    with torch.no_grad():
        own.offset.fill_(share)
    expected = min(255, max(0, round(255 * share)))
    assert own.zero_point.item() == expected
    assert torch.equal(
        own(x), dequantize(to_codes(x, own.scale, own.zero_point, UINT8), own.scale, own.zero_point)
    )
    assert own(torch.zeros(3)).abs().max() == 0
    assert (
        0 <= own.offset.item() <= 1
    )  # projected, or its gradient would have to bring it back first
    assert own.zero_point.item() == expected


def test_every_start_of_the_offset_is_kept() -> None:
    for zero_point in range(256):
        assert quantizer("lsq_plus", 0.01, zero_point).zero_point.item() == zero_point


@pytest.mark.parametrize("name", ["int4", "int3", "int2", "ternary"])
@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_weights_start_three_deviations_from_their_mean(name: str, shift: float) -> None:
    """s = max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(b-1), where it errs less than the extremes; heavy tails see to that."""
    grid, values = GRIDS[name], np.random.default_rng(0).laplace(shift, 1, 4000)
    made = registry.load("ranges", "lsq_plus")(grid)
    made.observe(torch.tensor(values, dtype=torch.float32)[None])
    mean, deviation = values.mean(), values.std()
    assert made.fit()[0].item() == pytest.approx(
        max(abs(mean - 3 * deviation), abs(mean + 3 * deviation)) / -grid.low, rel=1e-5
    )


def test_weights_of_eight_bits_start_from_their_extremes_where_these_err_less() -> None:
    values, found = draw(500)[None], {}
    for name in ("lsq_plus", "minmax"):
        made = registry.load("ranges", name)(GRIDS["int8"])
        made.observe(values)
        found[name] = made.fit()[0]
    assert torch.equal(found["lsq_plus"], found["minmax"])


def test_signs_start_at_their_least_squared_error() -> None:
    made = registry.load("ranges", "lsq_plus")(GRIDS["binary"])
    made.observe(draw()[None])
    assert made.fit()[0].item() == pytest.approx(draw().abs().mean().item(), rel=1e-5)


def test_weights_have_no_offset() -> None:
    assert FakeQuantizer(GRIDS["int4"], registry.load("ranges", "lsq_plus"), 8).offset is None
    assert FakeQuantizer(UINT8, registry.load("ranges", "lsq")).offset is None


# PACT.


def pact(x: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
    """Equations 1 and 2 of the paper."""
    y = 0.5 * (x.abs() - (x - bound).abs() + bound)
    return through(torch.round(y * 255 / bound) * bound / 255, y)


@pytest.mark.parametrize("negative", [False, True], ids=["after a ReLU", "with negative values"])
def test_the_bound_s_gradient_is_the_paper_s(negative: bool) -> None:
    """d y / d alpha = 1 above alpha (equation 3), and alpha = 255 s; with z = 0 negative values are cut off and tell the bound nothing."""
    x = (draw() if negative else draw().relu()).requires_grad_()
    own = quantizer("pact", 1.3 / 255, 0.0)
    own(x).mul(draw(seed=1)).sum().backward()
    exact = x.detach().double().requires_grad_()
    bound = (255 * own.scale.double()).requires_grad_()
    expected = pact(exact, bound)
    torch.testing.assert_close(own(x).double(), expected.detach(), atol=1e-6, rtol=0)
    expected.mul(draw(seed=1).double()).sum().backward()
    torch.testing.assert_close(
        own.log_scale.grad.double(), bound.grad * bound.detach(), rtol=1e-4, atol=0
    )
    away = x.detach() != 0  # |x| has no gradient there; a ReLU before stops it
    torch.testing.assert_close(x.grad[away].double(), exact.grad[away])


def test_with_a_zero_point_both_ends_clip_and_move() -> None:
    x = draw().requires_grad_()
    own = quantizer("pact", 0.01, 120.0)
    own(x).mul(draw(seed=1)).sum().backward()
    low, high = -120 * 0.01, 135 * 0.01
    upstream, outside = draw(seed=1).double(), (x < low) | (x > high)
    ends = torch.where(
        x < low, low, torch.where(x > high, high, 0)
    ).double()  # d clip / d log s is the end itself
    torch.testing.assert_close(
        own.log_scale.grad.double(), (upstream * ends).sum().view(1), rtol=1e-4, atol=0
    )
    assert torch.equal(x.grad, torch.where(outside, 0, draw(seed=1)))


@pytest.mark.parametrize("zero_point", [0, 1, 77, 254, 255])
@pytest.mark.parametrize("scale", [1e-6, 0.0137, 0.3, 41.7])
def test_clipping_first_changes_no_code(scale: float, zero_point: int) -> None:
    own = quantizer("pact", scale, zero_point)
    x = torch.cat([draw(), torch.arange(-300, 300) + 0.5, torch.arange(-300.0, 300)]) * torch.cat(
        [torch.tensor([100.0]).expand(3000), torch.ones(1200)]
    )
    x = x * own.scale
    expected = dequantize(own.codes(x), own.scale, own.zero_point)
    assert torch.equal(own(x), expected)
    assert torch.equal(
        own(x), dequantize(to_codes(x, own.scale, own.zero_point, UINT8), own.scale, own.zero_point)
    )


def test_weights_learn_their_step_as_lsq_does() -> None:
    found = []
    for name in ("lsq", "pact"):
        own = quantizer(name, 0.2, 0.0, GRIDS["int4"])
        own(draw()).square().sum().backward()
        found.append(own.log_scale.grad)
    assert torch.equal(*found)


def test_the_regularizer_is_the_sum_of_squared_bounds() -> None:
    """alpha^2 after a ReLU, alpha^2 + beta^2 where both ends clip; d alpha^2 / d log s = 2 alpha^2. Weights and other ranges have none."""
    model = nn.ModuleList(
        [
            quantizer("pact", 0.02, 0.0),
            quantizer("pact", 0.01, 55.0),
            quantizer("pact", 0.1, 0.0, GRIDS["int8"]),
            quantizer("lsq", 0.02, 0.0),
        ]
    )
    total = squared_bounds(model)
    assert total.item() == pytest.approx(5.1**2 + 2.0**2 + 0.55**2, rel=1e-5)
    total.backward()
    assert [
        part.log_scale.grad and pytest.approx(part.log_scale.grad.item(), rel=1e-5)
        for part in model
    ] == [
        2 * 5.1**2,
        2 * (2.0**2 + 0.55**2),
        None,
        None,
    ]
    assert squared_bounds(nn.Sequential(nn.Linear(2, 2))) == 0


def test_the_regularizer_lets_a_bound_shrink_that_nothing_else_moves() -> None:
    own = quantizer("pact", 1.0, 0.0)  # 255: nothing is clipped
    optimizer = torch.optim.Adam(own.parameters(), lr=0.05)
    for _ in range(50):
        optimizer.zero_grad()
        (own(draw().relu()).sum() + 2e-4 * squared_bounds(own)).backward()
        optimizer.step()
    assert own.scale.item() < 0.3


# Trained, then exported.


@cache
def trained(name: str, kind: str) -> nn.Module:
    """A few steps of Adam, large enough to move every zero point that can."""
    inputs = INPUTS[kind]
    model = getattr(tiny_models, kind)()
    prepare_model(
        model, plan_schemes(model, Quantize(range=name), "uint8"), name, lambda m: m(**inputs)
    )
    calibrate(model, [lambda m: m(**inputs)])
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(6):
        optimizer.zero_grad()
        result = model(**inputs)
        (result if isinstance(result, torch.Tensor) else result.logits).logsumexp(
            -1
        ).mean().backward()
        optimizer.step()
    return model.eval()


INPUTS = {"cnn": tiny_models.pixels(8), "bert": tiny_models.tokens(3, 11)}


# Encoders take 5 s each; test_attention exports one in the default suite.
EXPORTED = [
    pytest.param(name, kind, marks=[pytest.mark.slow] * (kind == "bert"))
    for name in LEARNED
    for kind in INPUTS
]


@pytest.mark.parametrize(("name", "kind"), EXPORTED)
def test_the_trained_integers_are_the_exported_ones(name: str, kind: str, tmp_path: Path) -> None:
    """Straight after an optimizer's step, with no forward between: codes, zero points and scales bit for bit, the logits by rounding of sums only."""
    model, inputs = trained(name, kind), INPUTS[kind]
    quantizers = activation_quantizers(model)
    before = [(each.scale.clone(), each.zero_point.clone()) for each in quantizers]
    converted = convert_model(model)
    integers = {
        id(module): module
        for module in converted.modules()
        if isinstance(module, ActivationQuantizer)
    }.values()
    exported = {(module.scale.item(), int(module.zero_point)) for module in integers}
    assert exported == {(scale.item(), int(zero)) for scale, zero in before}
    wanted = tiny_models.logits(model, inputs)
    torch.testing.assert_close(tiny_models.logits(converted, inputs), wanted, atol=1e-5, rtol=1e-5)
    for each, (scale, zero_point) in zip(quantizers, before, strict=True):
        x = 3 * draw()
        assert torch.equal(
            each(x), dequantize(to_codes(x, scale, zero_point, each.grid), scale, zero_point)
        )
    (file,) = registry.create("exporters", "onnx").export(converted, inputs, tmp_path).values()
    path = tmp_path / file
    run = open_graph(path, "onnxruntime", 1)
    np.testing.assert_allclose(
        run({key: value.numpy() for key, value in inputs.items()}),
        wanted.numpy(),
        atol=2e-3,
        rtol=2e-3,
    )
    check_kernels(converted, path)


@learned
def test_each_learns_what_it_says(name: str) -> None:
    """All scales move; zero points with an offset only."""
    model = trained(name, "bert")
    start = tiny_models.bert()
    inputs = INPUTS["bert"]
    prepare_model(
        start, plan_schemes(start, Quantize(range=name), "uint8"), name, lambda m: m(**inputs)
    )
    calibrate(start, [lambda m: m(**inputs)])
    pairs = list(zip(activation_quantizers(model), activation_quantizers(start), strict=True))
    assert sum(not torch.equal(one.scale, other.scale) for one, other in pairs) > len(pairs) / 2
    assert any(not torch.equal(one.zero_point, other.zero_point) for one, other in pairs) == (
        name == "lsq_plus"
    )
    weights = [module.quantizer for module in model.modules() if isinstance(module, Quantized)]
    assert all(each.offset is None and (each.zero_point == 0).all() for each in weights)


def test_the_parameters_of_a_float_model_do_not_count_the_offsets() -> None:
    from limbeck.studies import candidates

    model: Any = trained("lsq_plus", "cnn")
    probe = type(
        "Probe",
        (),
        {
            "model": model,
            "layers": {n: m for n, m in model.named_modules() if isinstance(m, Quantized)},
        },
    )
    plain = sum(parameter.numel() for parameter in tiny_models.cnn().parameters())
    chosen = sum(module.weight.numel() for module in probe.layers.values())
    assert candidates.float_bytes(probe) == 4 * (plain - chosen)
