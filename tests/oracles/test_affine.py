"""The affine quantizer against a float64 loop, ONNX Runtime and the ONNX reference, and its gradients against float64 autograd.

A code is round(x / scale) + zero_point with ties to even, saturated to the grid.
"""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from limbeck.core import registry
from limbeck.core.grids import GRIDS, Grid
from limbeck.quantization.affine import dequantize, quantize, squared_error
from limbeck.quantization.host_copy import HostCopy
from limbeck.quantization.modules.fake import FakeQuantizer, StraightThrough, dynamic

TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}
scales = st.floats(2.0**-20, 1e4, width=32).map(lambda value: torch.tensor(value))
names = pytest.mark.parametrize("name", list(GRIDS))


@st.composite
def quantizers(draw: Any) -> tuple[Grid, torch.Tensor, torch.Tensor]:
    """(grid, scale, zero_point)."""
    grid = draw(st.sampled_from(list(GRIDS.values())))
    zero_point = 0 if grid.symmetric else draw(st.integers(grid.low, grid.high))
    return grid, draw(scales), torch.tensor(float(zero_point))


def half_even(value: float) -> int:
    """Written out: to the nearest integer, a tie to the even one."""
    below = math.floor(value)
    rest = value - below
    if rest == 0.5:
        return below if below % 2 == 0 else below + 1
    return below if rest < 0.5 else below + 1


def gap(steps: float, grid: Grid) -> float:
    """How far apart levels are around a value; in a float8 that depends on its exponent, down to the smallest (Micikevicius et al., 2022)."""
    if not grid.is_floating:
        return grid.step
    mantissa, smallest = {448: (3, -6), 57344: (2, -14)}[grid.high]
    return 2.0 ** (max(smallest, math.frexp(steps)[1] - 1 if steps else smallest) - mantissa)


def nearest(steps: float, grid: Grid) -> float:
    """Odd integers lie around zero, all other levels on multiples of the gap."""
    between = gap(steps, grid)
    return half_even(steps / between) * between if grid.step == 1 else 2 * math.floor(steps / 2) + 1


def slow(x: float, scale: float, zero_point: int, grid: Grid) -> tuple[float, float]:
    code = min(max(nearest(x / scale, grid) + zero_point, grid.low), grid.high)
    return code, (code - zero_point) * scale


def calibrated(
    grid: Grid, scale: torch.Tensor, zero_point: torch.Tensor, groups: int = 1
) -> FakeQuantizer:
    quantizer = FakeQuantizer(grid, registry.load("ranges", "lsq"), groups)
    with torch.no_grad():
        quantizer.log_scale.copy_(scale.log())
        quantizer.zero_point.copy_(zero_point)
        quantizer.calibrated.fill_(True)
    return quantizer


@names
def test_every_half_step_against_a_float64_loop(name: str) -> None:
    """Scale and inputs are exact in binary, so that ties are ties: halves and quarters of a step, far beyond both ends."""
    grid, scale = GRIDS[name], 0.25
    steps = np.arange(-600, 600) / 4
    for zero_point in (0,) if grid.symmetric else (0, 3, 128, 255):
        x = torch.tensor(steps * scale, dtype=torch.float32)
        codes = quantize(x, torch.tensor(scale), torch.tensor(float(zero_point)), grid)
        values = dequantize(codes, torch.tensor(scale), torch.tensor(float(zero_point)))
        expected = [slow(value, scale, zero_point, grid) for value in x.double().tolist()]
        assert codes.tolist() == [code for code, _ in expected]
        assert values.tolist() == [value for _, value in expected]


@given(quantizers(), st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=20))
def test_any_values_against_a_float64_loop(
    quantizer: tuple[Grid, torch.Tensor, torch.Tensor], values: list[float]
) -> None:
    """Float32 division may land a tie on the other side: a code differs by at most 1, and then x is within 1e-4 steps of the tie."""
    grid, scale, zero_point = quantizer
    codes = quantize(torch.tensor(values), scale, zero_point, grid)
    for x, code in zip(torch.tensor(values).double().tolist(), codes.tolist(), strict=True):
        expected, _ = slow(x, scale.item(), int(zero_point.item()), grid)
        if code != expected:
            between = gap(x / scale.item(), grid)
            steps = x / scale.item() / between + (0.5 if grid.step > 1 else 0)
            assert abs(code - expected) == between
            assert abs(abs(steps - math.floor(steps)) - 0.5) < 1e-4


def affine_graph(name: str) -> Any:
    """x, scale, zero_point to codes and values by QuantizeLinear and DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("z", TYPES[name], []),
    ]
    outputs = [
        helper.make_tensor_value_info("q", TYPES[name], [None]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [None]),
    ]
    graph = helper.make_graph(nodes, "affine", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def session(model: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("name", list(TYPES))
@pytest.mark.parametrize("runtime", [ReferenceEvaluator, session], ids=["reference", "onnxruntime"])
def test_onnx_gives_the_same_codes_and_values(name: str, runtime: Any) -> None:
    """int8 is narrow here: ONNX saturates at -128, we at -127."""
    grid, generator = GRIDS[name], np.random.default_rng(0)
    run = runtime(affine_graph(name))
    for scale in (0.25, 0.0137, 3.0, 1e-5):
        for zero_point in (0,) if grid.symmetric else (0, 77, 255):
            ties = (np.arange(-300, 300) + 0.5) * scale
            x = np.concatenate([generator.normal(0, 100 * scale, 2000), ties]).astype(np.float32)
            feed = {"x": x, "s": np.array(scale, np.float32), "z": np.array(zero_point, name)}
            codes, values = run.run(None, feed)
            own_scale, own_zero = (
                torch.tensor(scale, dtype=torch.float32),
                torch.tensor(float(zero_point)),
            )
            own = quantize(torch.tensor(x), own_scale, own_zero, grid)
            kept = codes >= grid.low
            assert np.array_equal(own.numpy(), np.maximum(codes.astype(np.float32), grid.low))
            assert np.array_equal(dequantize(own, own_scale, own_zero).numpy()[kept], values[kept])


@given(quantizers(), st.floats(0, 1))
def test_the_error_is_at_most_half_a_step_inside_the_range(
    quantizer: tuple[Grid, torch.Tensor, torch.Tensor], share: float
) -> None:
    grid, scale, zero_point = quantizer
    low, high = (grid.low - zero_point) * scale, (grid.high - zero_point) * scale
    x = torch.minimum(torch.maximum(low + share * (high - low), low), high)
    found = dequantize(quantize(x, scale, zero_point, grid), scale, zero_point)
    assert abs(found.double() - x.double()) <= gap(float(x / scale), grid) * scale.double() / 2 * (
        1 + 1e-4
    )


@given(quantizers(), st.floats(-1e6, 1e6, width=32))
def test_outside_the_range_the_nearest_end_is_taken(
    quantizer: tuple[Grid, torch.Tensor, torch.Tensor], value: float
) -> None:
    grid, scale, zero_point = quantizer
    code = quantize(torch.tensor(value), scale, zero_point, grid).item()
    assert grid.low <= code <= grid.high
    if value > (grid.high - zero_point + 1) * scale:
        assert code == grid.high
    if value < (grid.low - zero_point - 1) * scale:
        assert code == grid.low


@given(quantizers(), st.floats(-1e6, 1e6, width=32))
def test_quantizing_twice_is_quantizing_once(
    quantizer: tuple[Grid, torch.Tensor, torch.Tensor], value: float
) -> None:
    grid, scale, zero_point = quantizer
    once = quantize(torch.tensor(value), scale, zero_point, grid)
    assert torch.equal(quantize(dequantize(once, scale, zero_point), scale, zero_point, grid), once)


@given(quantizers(), st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32))
def test_a_larger_value_never_gets_a_smaller_code(
    quantizer: tuple[Grid, torch.Tensor, torch.Tensor], first: float, second: float
) -> None:
    grid, scale, zero_point = quantizer
    low, high = sorted((first, second))
    assert quantize(torch.tensor(low), scale, zero_point, grid) <= quantize(
        torch.tensor(high), scale, zero_point, grid
    )


@given(quantizers())
def test_zero_is_exact(quantizer: tuple[Grid, torch.Tensor, torch.Tensor]) -> None:
    """But for the one grid whose levels are two steps apart: zero is the boundary of two of them, and goes to the upper."""
    grid, scale, zero_point = quantizer
    assert dequantize(quantize(torch.zeros(()), scale, zero_point, grid), scale, zero_point) == (
        0 if grid.step == 1 else scale
    )


def test_a_symmetric_grid_is_as_exact_for_minus_x() -> None:
    grid, x = GRIDS["int8"], torch.randn(1000, generator=torch.Generator().manual_seed(0))
    codes = [quantize(value, torch.tensor(0.013), torch.zeros(()), grid) for value in (x, -x)]
    assert torch.equal(codes[0], -codes[1])


@names
def test_squared_error_against_a_loop(name: str) -> None:
    grid, x = GRIDS[name], torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    scale, zero_point = (
        torch.tensor([0.01, 0.5, 0.02]),
        torch.zeros(3) if GRIDS[name].symmetric else torch.tensor([128.0, 3.0, 100.0]),
    )
    found = squared_error(x, scale, zero_point, grid)
    for row in range(3):
        errors = [
            (slow(value, scale[row].item(), int(zero_point[row]), grid)[1] - value) ** 2
            for value in x[row].double().tolist()
        ]
        assert found[row].item() == pytest.approx(np.mean(errors), rel=1e-4)


@settings(max_examples=50)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(6,), (6, 5), (6, 3, 2, 2)]),
    st.booleans(),
    st.sampled_from(list(GRIDS)),
)
def test_fake_quantization_is_dequantize_of_quantize_bit_for_bit(
    seed: int, shape: tuple[int, ...], grouped: bool, name: str
) -> None:
    grid, generator = GRIDS[name], torch.Generator().manual_seed(seed)
    groups = shape[0] if grouped else 1
    x = torch.randn(shape, generator=generator) * 10
    zero_point = (
        torch.zeros(groups)
        if grid.symmetric
        else torch.randint(0, 256, (groups,), generator=generator).float()
    )
    quantizer = calibrated(
        grid, torch.rand(groups, generator=generator) / 10 + 1e-3, zero_point, groups
    )
    view = (-1, *[1] * (len(shape) - 1)) if grouped else (1,)
    expected = dequantize(
        quantizer.codes(x), quantizer.scale.view(view), quantizer.zero_point.view(view)
    )
    found = quantizer(x)
    assert torch.equal(found, expected)
    assert np.array_equal(
        found.detach().numpy().view(np.int32) & 0x7FFFFFFF,
        expected.numpy().view(np.int32) & 0x7FFFFFFF,
    )


def test_fake_quantization_computes_in_float32_whatever_it_reads() -> None:
    quantizer = calibrated(GRIDS["uint8"], torch.tensor([0.02]), torch.tensor([128.0]))
    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = quantizer(x.bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, quantizer(x.bfloat16().float()))


def by_autograd(
    x: torch.Tensor, log_scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """LSQ as its paper's appendix writes it, in plain autograd: rounding passes the gradient on, clamping stops it."""
    scale = log_scale.exp()
    steps = x / scale
    levels = torch.tensor(
        [nearest(value, grid) for value in steps.flatten().tolist()], dtype=steps.dtype
    ).view_as(steps)
    if grid.is_floating:
        levels = torch.where(
            steps.abs() > grid.high, steps, levels
        )  # nothing lies between the largest and saturation
    rounded = levels.detach() + (steps - steps.detach())
    # Not torch's clamp: from 2.14 on it gives nothing to what lies at an end, as the levels there do.
    codes = rounded + zero_point
    codes = torch.where(codes < grid.low, torch.full_like(codes, grid.low), codes)
    codes = torch.where(codes > grid.high, torch.full_like(codes, grid.high), codes)
    return (codes - zero_point) * scale


def rounded_by_log_scale(
    x: torch.Tensor, log_scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """What a quantizer computes of the parameter that it holds, the logarithm of its scale."""
    return StraightThrough.apply(x, log_scale.exp(), zero_point, grid)


@names
@pytest.mark.parametrize(
    "shape", [(1,), (5, 1), (1, 40)], ids=["one scale", "a scale a row", "a scale a column"]
)
def test_gradients_against_float64_autograd(name: str, shape: tuple[int, ...]) -> None:
    """The learned step's gradient is that of autograd times the paper's 1 / sqrt(n Q_P), n the values that share a scale."""
    grid, generator = GRIDS[name], torch.Generator().manual_seed(0)
    x = torch.randn((5, 40), generator=generator, dtype=torch.float64) * 3
    log_scale = (
        torch.rand(shape, generator=generator, dtype=torch.float64) * 0.02 + 0.01
    ).log() + math.log(127 / grid.high)  # some values lie outside
    zero_point = (
        torch.zeros(shape, dtype=torch.float64)
        if grid.symmetric
        else torch.full(shape, 90.0, dtype=torch.float64)
    )
    upstream = torch.randn((5, 40), generator=generator, dtype=torch.float64)
    found, expected = [], []
    for out, function in ((found, rounded_by_log_scale), (expected, by_autograd)):
        leaves = [x.clone().requires_grad_(), log_scale.clone().requires_grad_()]
        value = function(*leaves, zero_point, grid)
        value.backward(upstream)
        out += [value.detach(), *(leaf.grad for leaf in leaves)]
    codes = quantize(x, log_scale.exp(), zero_point, grid)
    assert ((codes == grid.low) | (codes == grid.high)).any()
    assert ((codes > grid.low) & (codes < grid.high)).any() == (grid.step == 1)
    assert 0.01 < (expected[1] == 0).double().mean() < 0.9  # some values lie beyond both ends
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    share = x.numel() // log_scale.numel()
    torch.testing.assert_close(found[2], expected[2] / math.sqrt(share * grid.high))


def test_the_scale_s_gradient_points_to_the_least_error() -> None:
    """From a scale far too large, descent on the error shrinks it; from one far too small, it grows it."""
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    for scale, sign in ((1.0, 1), (0.002, -1)):
        quantizer = calibrated(GRIDS["int8"], torch.tensor([scale]), torch.zeros(1))
        (quantizer(x) - x).square().mean().backward()
        assert quantizer.log_scale.grad is not None
        assert torch.sign(quantizer.log_scale.grad).item() == sign


def test_a_range_that_is_not_learned_gets_no_gradient() -> None:
    quantizer = FakeQuantizer(GRIDS["int8"], registry.load("ranges", "minmax"))
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    quantizer.begin()
    quantizer(x)
    quantizer.finish()
    quantizer(x).sum().backward()
    assert quantizer.log_scale.grad is None
    assert torch.equal(x.grad, torch.ones(50))


def test_a_quantizer_passes_values_until_it_is_calibrated() -> None:
    quantizer = FakeQuantizer(GRIDS["uint8"], registry.load("ranges", "minmax"))
    x = torch.randn(20, generator=torch.Generator().manual_seed(0))
    assert quantizer(x) is x
    quantizer.begin()
    assert quantizer(x) is x
    quantizer.finish()
    found = quantizer(x)
    assert not torch.equal(found, x)
    assert len(found.unique()) <= 256
    torch.testing.assert_close(found, x, atol=quantizer.scale.item() / 2 * 1.001, rtol=0)


def test_a_quantizer_that_saw_nothing_cannot_finish() -> None:
    quantizer = FakeQuantizer(GRIDS["uint8"], registry.load("ranges", "lsq"))
    quantizer.begin()
    with pytest.raises(ValueError, match="before it observed"):
        quantizer.finish()


def dynamic_session() -> Any:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    value = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    outputs = [
        helper.make_tensor_value_info(name, kind, None)
        for name, kind in (("q", TensorProto.UINT8), ("y", TensorProto.FLOAT))
    ]
    graph = helper.make_graph(
        [node, value],
        "dynamic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        outputs,
    )
    return session(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    )


DYNAMIC_INPUTS = {
    "normal": np.random.default_rng(0).normal(0, 1, 500),
    "shifted": np.random.default_rng(1).normal(5, 1, 500),
    "negative": -np.abs(np.random.default_rng(2).normal(0, 1, 500)),
    "zeros": np.zeros(8),
    "tiny": np.random.default_rng(3).normal(0, 1e-20, 100),
    "large": np.random.default_rng(4).normal(0, 1e20, 100),
    "an outlier": np.append(np.random.default_rng(5).normal(0, 1, 100), 1e4),
    "one value": np.array([3.5]),
}


@pytest.mark.parametrize("values", DYNAMIC_INPUTS.values(), ids=list(DYNAMIC_INPUTS))
def test_dynamic_is_onnx_runtime_s_dynamic_quantize_linear(values: np.ndarray) -> None:
    x = values.astype(np.float32)
    _, expected = dynamic_session().run(None, {"x": x})
    np.testing.assert_array_equal(dynamic(torch.tensor(x), GRIDS["uint8"]).numpy(), expected)


def test_dynamic_passes_the_gradient_straight_through() -> None:
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = dynamic(x, GRIDS["uint8"])
    torch.testing.assert_close(found.detach(), dynamic(x.detach(), GRIDS["uint8"]))
    found.sum().backward()
    assert torch.equal(x.grad, torch.ones(50))


def test_what_the_host_keeps_of_a_tensor_follows_every_write() -> None:
    """In place, through a detached view as checkpoints write, replaced, and in a copy."""
    flag, kept = torch.tensor(False), HostCopy()
    assert kept.of(flag) is False
    flag.fill_(True)
    assert kept.of(flag) is True
    flag.detach().copy_(torch.tensor(False))
    assert kept.of(flag) is False
    assert kept.of(torch.tensor(True)) is True
    # A copy of a tensor counts its writes anew: a copied memory of them would be wrong.
    holder: dict[str, Any] = {"flag": torch.tensor(False), "kept": HostCopy()}
    holder["kept"].of(holder["flag"])
    holder["flag"].fill_(True)
    twin = copy.deepcopy(holder)
    assert twin["kept"].of(twin["flag"]) is True


def test_a_number_that_was_not_written_is_not_asked_again() -> None:
    class Counted:
        """Counts how often it is read."""

        _version = 0
        reads = 0

        def item(self) -> int:
            self.reads += 1
            return 7

    tensor: Any = Counted()
    kept = HostCopy()
    assert [kept.of(tensor) for _ in range(3)] == [7, 7, 7]
    assert tensor.reads == 1
