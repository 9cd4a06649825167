"""Quantized modules against slow integer arithmetic, and a whole model through prepare, calibrate and convert.

The reference computes as the kernel does: uint8 codes times int8 codes summed in int64, the bias an integer where the layer is a convolution, then one
scale a channel.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.models.weights import model_state, restore_state
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.integer import Integer, IntegerConvolution, IntegerLinear
from limbeck.quantization.modules.swap import (
    Quantized,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    QuantizedOutput,
    activation_quantizers,
)
from limbeck.quantization.plan import QUANTIZABLE, plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize, Scheme

RANGES = registry.names("ranges")
ids = torch.randint(0, 40, (3, 11), generator=torch.Generator().manual_seed(0))
TOKENS = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
PIXELS = {"pixel_values": torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))}
Inputs = dict[str, torch.Tensor]


def stirred(model: nn.Module) -> nn.Module:
    """Norms and biases off their starting values, in eval mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.ndim == 1 and tensor.is_floating_point():
                noise = 0.3 * torch.randn(tensor.shape, generator=generator)
                tensor.copy_(0.5 + noise.abs() if name.endswith("running_var") else tensor + noise)
    return model.eval()


def bert() -> nn.Module:
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=32,
        num_labels=3, attn_implementation="eager", initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    return stirred(BertForTokenClassification(config))


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return stirred(registry.create("networks", "small_cnn", {"width": 4}).build(3, 1))


def sequence(*modules: nn.Module) -> nn.Module:
    return stirred(nn.Sequential(*modules))


def logits(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    with torch.no_grad():
        result = model(**inputs)
    return result if isinstance(result, torch.Tensor) else result.logits


def prepared(
    model: nn.Module,
    call: Callable[[nn.Module], Any],
    activations: str = "uint8",
    range_name: str = "minmax",
    **keys: Any,
) -> nn.Module:
    """A copy of `model` with its modules swapped."""
    swapped = copy.deepcopy(model)
    schemes = plan_schemes(swapped, Quantize(range=range_name, **keys), activations)
    prepare_model(swapped, schemes, range_name, call)
    return swapped


def calibrated(
    model: nn.Module, call: Callable[[nn.Module], Any], *args: Any, **keys: Any
) -> nn.Module:
    swapped = prepared(model, call, *args, **keys)
    calibrate(swapped, [call])
    return swapped


def on(x: torch.Tensor) -> Callable[[nn.Module], Any]:
    return lambda model: model(x)


def on_inputs(inputs: Inputs) -> Callable[[nn.Module], Any]:
    return lambda model: model(**inputs)


def codes(values: torch.Tensor, scale: Any, zero_point: Any, name: str) -> np.ndarray:
    """int64, by float32 division and ties to even as the kernel does; `scale` broadcasts. Float8 codes by an independent implementation."""
    grid = GRIDS[name]
    if grid.is_floating:
        steps = np.clip(
            values.detach().numpy() / np.asarray(scale, np.float32), grid.low, grid.high
        )
        return steps.astype(getattr(ml_dtypes, grid.storage)).astype(np.float64)
    steps = values.detach().numpy() / np.asarray(scale, np.float32)
    steps = (np.round(steps) if grid.step == 1 else np.where(steps >= 0, 1, -1)).astype(np.int64)
    return np.clip(steps + np.asarray(zero_point).astype(np.int64), grid.low, grid.high)


# Before calibration nothing changes.


@pytest.mark.parametrize("activations", ["uint8", "uint8-dynamic", "float"])
def test_a_prepared_bert_is_the_float_model(activations: str) -> None:
    model = bert()
    assert torch.equal(
        logits(prepared(model, on_inputs(TOKENS), activations), TOKENS), logits(model, TOKENS)
    )


def test_a_prepared_linear_and_embedding_are_the_float_ones_bit_for_bit() -> None:
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    for model, given in (
        (sequence(nn.Linear(5, 4)), x),
        (sequence(nn.Linear(5, 4, bias=False)), x),
        (sequence(nn.Embedding(9, 5)), ids % 9),
    ):
        assert torch.equal(prepared(model, on(given))(given), model(given))


@pytest.mark.parametrize("training", [False, True])
def test_a_prepared_cnn_is_the_float_model_but_for_the_order_of_products(training: bool) -> None:
    """Outputs, running statistics and gradients: the norm is folded while it goes on learning."""
    model = cnn().train(training)
    swapped = prepared(model, on_inputs(PIXELS))
    assert swapped.training is training
    found, expected = swapped(**PIXELS), model(**PIXELS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    for index, block in enumerate(model.blocks):
        conv = next(
            module
            for module in swapped.blocks[index].modules()
            if isinstance(module, QuantizedConv2d)
        )
        torch.testing.assert_close(conv.norm.running_mean, block[1].running_mean)
        torch.testing.assert_close(conv.norm.running_var, block[1].running_var)
        torch.testing.assert_close(conv.weight.grad, block[0].weight.grad, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(
            conv.norm.weight.grad, block[1].weight.grad, atol=1e-4, rtol=1e-3
        )


@pytest.mark.parametrize("gamma", [1.0, -0.5, 0.0])
def test_a_folded_norm_is_exact_whatever_its_gamma(gamma: float) -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    model = sequence(conv, nn.BatchNorm2d(3))
    with torch.no_grad():
        model[1].weight[1] = gamma
    x = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prepared(model, on(x))(x), model(x), atol=1e-5, rtol=1e-5)
    found = calibrated(model, on(x))(x)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, model(x), atol=0.05, rtol=0.05)


# After calibration it is integer arithmetic.


def reference_linear(module: QuantizedLinear, x: torch.Tensor) -> np.ndarray:
    assert module.input is not None
    x_scale, x_zero = module.input.scale.item(), int(module.input.zero_point.item())
    weight_scale = module.scale().numpy()
    x_codes = codes(x, x_scale, x_zero, "uint8")
    weight_codes = codes(module.weight, weight_scale[:, None], 0, "int8")
    out = np.zeros((*x.shape[:-1], len(weight_scale)))
    for place in itertools.product(*map(range, out.shape)):
        accumulator = sum(
            (int(a) - x_zero) * int(b)
            for a, b in zip(x_codes[place[:-1]], weight_codes[place[-1]], strict=True)
        )
        out[place] = accumulator * float(x_scale) * float(weight_scale[place[-1]])
    return out if module.bias is None else out + module.bias.detach().numpy()


@pytest.mark.parametrize("range_name", RANGES)
@pytest.mark.parametrize(("shape", "bias"), [((4, 6), True), ((2, 3, 6), True), ((2, 3, 6), False)])
def test_a_quantized_linear_is_integer_arithmetic(
    range_name: str, shape: tuple[int, ...], bias: bool
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    model = calibrated(sequence(nn.Linear(6, 5, bias=bias)), on(x), "uint8", range_name)
    module = model[0]
    assert isinstance(module, QuantizedLinear)
    for given in (x, 2 * x):  # beyond the range, too
        expected = reference_linear(module, given)
        np.testing.assert_allclose(model(given).detach().numpy(), expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(
            convert_model(model)(given).detach().numpy(), expected, atol=1e-5, rtol=1e-5
        )
    assert not torch.allclose(model(x), functional_linear(module, x), atol=1e-4)


def functional_linear(module: QuantizedLinear, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, module.weight, module.bias)


def test_a_dynamic_linear_takes_its_range_from_the_tensor_it_reads() -> None:
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    model = calibrated(sequence(nn.Linear(6, 5)), on(x), "uint8-dynamic")
    module = model[0]
    weight_scale = module.quantizer.scale.double().numpy()
    weight_codes = codes(module.weight, module.quantizer.scale.numpy()[:, None], 0, "int8")
    for given in (x, 10 * x, x + 3, 0 * x):
        low, high = min(given.min().item(), 0.0), max(given.max().item(), 0.0)
        scale = np.float32(high - low) / np.float32(255) or np.float32(1)
        zero = int(np.round(-np.float32(low) / scale))
        accumulator = (codes(given, scale, zero, "uint8") - zero) @ weight_codes.T
        expected = accumulator * float(scale) * weight_scale + module.bias.detach().numpy()
        np.testing.assert_allclose(model(given).detach().numpy(), expected, atol=2e-5, rtol=1e-4)
        np.testing.assert_allclose(
            convert_model(model)(given).detach().numpy(), expected, atol=2e-5, rtol=1e-4
        )


def test_a_quantized_embedding_is_its_codes_times_the_row_s_scale() -> None:
    model = calibrated(sequence(nn.Embedding(40, 6)), on(ids))
    module = model[0]
    assert isinstance(module, QuantizedEmbedding)
    table = codes(module.weight, module.quantizer.scale.numpy()[:, None], 0, "int8")
    expected = table.astype(np.float32) * module.quantizer.scale.numpy()[:, None]
    assert np.array_equal(convert_model(model)(ids).numpy(), expected[ids.numpy()])
    np.testing.assert_array_equal(model(ids).detach().numpy(), expected[ids.numpy()])


def by_groups(weight: torch.Tensor, scale: np.ndarray, name: str) -> np.ndarray:
    """The weight as its groups' codes times their scales, by a loop."""
    flat, out = weight.detach().numpy().reshape(len(scale), -1), []
    for row, step in zip(flat, scale, strict=True):
        out.append(
            [
                np.float32(code) * np.float32(step)
                for code in codes(torch.tensor(row), step, 0, name)
            ]
        )
    return np.array(out, np.float32).reshape(weight.shape)


@pytest.mark.parametrize(
    "name", ["int8", "int4", "int3", "int2", "ternary", "binary", "fp8-e4m3", "fp8-e5m2"]
)
@pytest.mark.parametrize("group", [None, 4, 12])
def test_weights_in_groups_are_their_codes_times_the_group_s_scale(
    name: str, group: int | None
) -> None:
    x = torch.randn(3, 24, generator=torch.Generator().manual_seed(0))
    for model, given in (
        (sequence(nn.Linear(24, 5)), x),
        (sequence(nn.Embedding(40, 24)), ids),
        (sequence(nn.Conv2d(4, 6, 3)), x.view(1, 4, 3, 6)),
    ):
        swapped = calibrated(model, on(given), "float", "mse", weights=name, group=group)
        scale = swapped[0].scale().numpy()
        assert len(scale) == (model[0].weight.numel() // group if group else len(model[0].weight))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor(by_groups(model[0].weight, scale, name)))
            for found in (swapped(given), convert_model(swapped)(given)):
                torch.testing.assert_close(found, model(given), atol=1e-5, rtol=1e-5)


def test_a_smaller_group_loses_less() -> None:
    x = torch.randn(3, 96, generator=torch.Generator().manual_seed(0))
    model = sequence(nn.Linear(96, 16))
    errors = []
    for group in (None, 48, 16):
        quantizer = calibrated(model, on(x), "float", weights="int4", group=group)[0].quantizer
        errors.append((quantizer(model[0].weight) - model[0].weight).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]


def test_an_embedding_s_gathered_scales_are_those_of_its_table_bit_for_bit() -> None:
    """exp of gathered logarithms and gathered exps must agree, or a trained row would differ from the exported one."""
    model = calibrated(sequence(nn.Embedding(1001, 3)), lambda m: m(torch.arange(1001)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model[0].quantizer.log_scale.copy_(torch.randn(1001, generator=generator) - 3)
    converted = convert_model(model)
    for count in (1, 3, 7, 50, 1001):
        some = torch.randint(0, 1001, (2, count), generator=generator)
        assert torch.equal(model(some), converted(some))


def reference_conv(
    module: QuantizedConv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> np.ndarray:
    """One output at a time, stride and padding written out; padded pixels hold the zero point."""
    assert module.input is not None
    x_scale, x_zero = module.input.scale.item(), int(module.input.zero_point.item())
    weight_scale = module.scale().numpy()
    (stride, _), (padding, _) = module.geometry["stride"], module.geometry["padding"]
    x_codes = np.pad(
        codes(x, x_scale, x_zero, "uint8"),
        [(0, 0), (0, 0), (padding, padding), (padding, padding)],
        constant_values=x_zero,
    )
    weight_codes = codes(weight, weight_scale[:, None, None, None], 0, "int8")
    side = weight.shape[-1]
    size = [(length - side) // stride + 1 for length in x_codes.shape[2:]]
    out = np.zeros((len(x), len(weight), *size))
    for b, o, i, j in itertools.product(*map(range, out.shape)):
        patch = (
            x_codes[b, :, i * stride : i * stride + side, j * stride : j * stride + side] - x_zero
        )
        step = float(x_scale) * float(weight_scale[o])
        out[b, o, i, j] = (
            int((patch * weight_codes[o]).sum()) + round(float(bias[o]) / step)
        ) * step
    return out


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize(("stride", "padding", "bias"), [(1, 1, True), (2, 0, False)])
def test_a_quantized_convolution_is_integer_arithmetic(
    with_norm: bool, stride: int, padding: int, bias: bool
) -> None:
    x = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 3, 3, stride=stride, padding=padding, bias=bias), nn.BatchNorm2d(3)
    model = sequence(conv, *([norm] if with_norm else []))
    weight, offset = conv.weight, torch.zeros(3) if conv.bias is None else conv.bias
    if with_norm:
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight, offset = (
            weight * factor.view(-1, 1, 1, 1),
            (offset - norm.running_mean) * factor + norm.bias,
        )
    swapped = calibrated(model, on(x))
    (module,) = (each for each in swapped.modules() if isinstance(each, QuantizedConv2d))
    (place,) = (each for each in swapped.modules() if isinstance(each, QuantizedOutput))
    raw = reference_conv(module, x, weight, offset.detach())
    np.testing.assert_allclose(module(x).detach().numpy(), raw, atol=1e-5)
    out_scale, out_zero = place.quantizer.scale.item(), int(place.quantizer.zero_point.item())
    expected = (
        codes(torch.tensor(raw, dtype=torch.float32), out_scale, out_zero, "uint8") - out_zero
    ) * out_scale
    for found in (swapped(x), convert_model(swapped)(x)):
        difference = np.abs(found.detach().numpy() - expected)
        assert difference.max() <= out_scale * 1.001  # a tie may fall either way in float32
        assert (difference > 1e-5).mean() < 0.02


@pytest.mark.parametrize("groups", [1, 2])
def test_a_dilated_or_grouped_convolution_stays_near_the_float_one(groups: int) -> None:
    x = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    model = sequence(nn.Conv2d(2, 4, 3, dilation=2, padding=2, groups=groups))
    torch.testing.assert_close(calibrated(model, on(x))(x), model(x), atol=0.05, rtol=0.05)
    torch.testing.assert_close(
        convert_model(calibrated(model, on(x)))(x),
        calibrated(model, on(x))(x),
        atol=1e-5,
        rtol=1e-5,
    )


CONVS_1D = {
    "plain": {},
    "grouped": {"groups": 2},
    "depthwise": {"groups": 4},
    "strided": {"stride": 2, "padding": 1, "dilation": 2},
}


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("keys", CONVS_1D.values(), ids=list(CONVS_1D))
def test_a_convolution_of_a_row_is_that_of_an_image_one_pixel_high(
    keys: dict[str, Any], with_norm: bool
) -> None:
    """Its quantizers and codes, in training and after."""
    torch.manual_seed(0)
    line, image = (
        nn.Conv1d(4, 8, 3, **keys),
        nn.Conv2d(
            4,
            8,
            (1, 3),
            **{
                key: value if key == "groups" else (int(key != "padding"), value)
                for key, value in keys.items()
            },
        ),
    )
    with torch.no_grad():
        image.weight.copy_(line.weight.unsqueeze(2))
        image.bias.copy_(line.bias)
    x = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0))
    one = calibrated(sequence(line, *([nn.BatchNorm1d(8)] if with_norm else [])), on(x))
    other = calibrated(
        sequence(image, *([nn.BatchNorm2d(8)] if with_norm else [])), on(x.unsqueeze(2))
    )
    assert sum(isinstance(module, QuantizedConv1d) for module in one.modules()) == 1
    for training in (False, True):
        torch.testing.assert_close(
            one.train(training)(x),
            other.train(training)(x.unsqueeze(2)).squeeze(2),
            atol=1e-5,
            rtol=1e-5,
        )
    converted, expected = convert_model(one), convert_model(other)
    torch.testing.assert_close(
        converted(x), expected(x.unsqueeze(2)).squeeze(2), atol=1e-5, rtol=1e-5
    )
    codes = [
        next(module for module in model.modules() if isinstance(module, Integer)).codes
        for model in (converted, expected)
    ]
    assert torch.equal(codes[0], codes[1].squeeze(2))


def test_what_a_convolution_of_a_row_reads_is_seen_window_by_window() -> None:
    """A rounding by layer takes its inputs from there."""
    x = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0))
    model = prepared(sequence(nn.Conv1d(4, 5, 3, stride=2, padding=1, dilation=2)), on(x), "float")
    seen = model[0].positions(x) @ model[0].weight.flatten(1).t() + model[0].bias
    torch.testing.assert_close(seen.view(3, -1, 5).transpose(1, 2), model(x))


def test_a_convolution_that_pads_with_other_than_zeros_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"`0` pads with `circular`, and integers know zeros alone"
    ):
        plan_schemes(
            sequence(nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular")), Quantize(), "uint8"
        )


@pytest.mark.parametrize("bias", [False, True])
def test_a_norm_after_a_linear_layer_is_folded_while_it_learns(bias: bool) -> None:
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    model = sequence(nn.Linear(6, 5, bias=bias), nn.BatchNorm1d(5))
    swapped = prepared(model, on(x))
    assert isinstance(swapped[1], nn.Identity)
    for training in (False, True):
        torch.testing.assert_close(
            swapped.train(training)(x), model.train(training)(x), atol=1e-5, rtol=1e-5
        )
    torch.testing.assert_close(swapped[0].norm.running_var, model[1].running_var)
    fitted = calibrated(model.eval(), on(x))
    torch.testing.assert_close(fitted(x), model(x), atol=0.1, rtol=0.1)
    torch.testing.assert_close(convert_model(fitted)(x), fitted(x), atol=1e-5, rtol=1e-5)


def test_a_norm_over_positions_is_not_folded() -> None:
    """BatchNorm1d of (B, T, O) norms T, even where it is as many as O."""
    x = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    assert isinstance(
        prepared(sequence(nn.Linear(6, 5), nn.BatchNorm1d(5)), on(x))[1], nn.BatchNorm1d
    )


# A whole model.

WHOLE = {
    "bert static": (bert, TOKENS, "uint8", {}),
    "bert dynamic": (bert, TOKENS, "uint8-dynamic", {}),
    "bert weights only": (bert, TOKENS, "float", {}),
    "bert partly float": (bert, TOKENS, "uint8", {"keep_float": ["*.query", "classifier"]}),
    "cnn static": (cnn, PIXELS, "uint8", {}),
    "cnn weights only": (cnn, PIXELS, "float", {}),
    "cnn partly float": (cnn, PIXELS, "uint8", {"keep_float": ["blocks.1.*"]}),
    "cnn mixed": (
        cnn,
        PIXELS,
        "uint8",
        {"modules": {"classifier": Scheme(activations="uint8-dynamic")}},
    ),
}
whole = pytest.mark.parametrize(
    ("build", "inputs", "activations", "keys"), WHOLE.values(), ids=list(WHOLE)
)


@whole
def test_a_converted_model_is_the_fake_quantized_one(
    build: Any, inputs: Inputs, activations: str, keys: dict[str, Any]
) -> None:
    model = calibrated(build(), on_inputs(inputs), activations, "mse", **keys)
    found, expected = logits(convert_model(model), inputs), logits(model, inputs)
    assert (found - expected).abs().max() <= 1e-5
    assert (expected - logits(build(), inputs)).abs().max() > 1e-4  # it does quantize


@whole
def test_a_converted_model_holds_int8_codes_and_no_float_weight(
    build: Any, inputs: Inputs, activations: str, keys: dict[str, Any]
) -> None:
    model = calibrated(build(), on_inputs(inputs), activations, "mse", **keys)
    converted = convert_model(model)
    names = {name for name, module in model.named_modules() if isinstance(module, Quantized)}
    assert {
        name for name, module in converted.named_modules() if isinstance(module, Integer)
    } == names
    assert names
    for name in names:
        source, integer = model.get_submodule(name), converted.get_submodule(name)
        assert integer.codes.dtype == torch.int8
        assert integer.codes.abs().max() <= 127
        assert torch.equal(integer.scale, source.scale())
        assert sorted(integer.codes.shape) == sorted(source.weight.shape)
        own = [
            tensor
            for tensor in model_state(integer).values()
            if tensor.is_floating_point() and tensor.ndim > 1
        ]
        assert own == []
    assert not any(isinstance(module, FakeQuantizer | Quantized) for module in converted.modules())
    assert not converted.training


@whole
def test_converting_leaves_the_model_as_it_was(
    build: Any, inputs: Inputs, activations: str, keys: dict[str, Any]
) -> None:
    model = calibrated(build(), on_inputs(inputs), activations, "mse", **keys)
    before = {name: tensor.clone() for name, tensor in model_state(model).items()}
    convert_model(model)
    after = model_state(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@whole
def test_state_and_restore_make_the_same_model(
    build: Any, inputs: Inputs, activations: str, keys: dict[str, Any]
) -> None:
    """Through safetensors' rules: every tensor once, ranges and zero points among them."""
    model = calibrated(build(), on_inputs(inputs), activations, "lsq", **keys)
    tensors = {name: tensor.clone() for name, tensor in model_state(model).items()}
    fresh = prepared(build(), on_inputs(inputs), activations, "lsq", **keys)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(1)
    restore_state(fresh, tensors)
    assert torch.equal(logits(fresh.eval(), inputs), logits(model.eval(), inputs))
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model_state(fresh).items())


def test_other_weights_are_refused_on_restore() -> None:
    tensors = model_state(calibrated(cnn(), on_inputs(PIXELS)))
    with pytest.raises(ValueError, match="of another model; they differ in"):
        restore_state(cnn(), tensors)
    wrong = {
        name: torch.zeros(3, 3) if name == "classifier.bias" else tensor
        for name, tensor in tensors.items()
    }
    with pytest.raises(ValueError, match=r"`classifier.bias` is \(3, 3\) in the file"):
        restore_state(calibrated(cnn(), on_inputs(PIXELS)), wrong)


@pytest.mark.parametrize("build", [bert, cnn])
def test_a_training_step_reaches_weights_and_learned_scales(build: Any) -> None:
    inputs = TOKENS if build is bert else PIXELS
    model = calibrated(build(), on_inputs(inputs), "uint8", "lsq").train()
    result = model(**inputs)
    (result if isinstance(result, torch.Tensor) else result.logits).square().sum().backward()
    for name, module in model.named_modules():
        if isinstance(module, Quantized):
            assert module.weight.grad is not None, name
            assert module.quantizer.log_scale.grad is not None, name
            assert torch.isfinite(module.quantizer.log_scale.grad).all(), name
    for quantizer in activation_quantizers(model):
        assert quantizer.log_scale.grad is not None


@pytest.mark.parametrize("build", [bert, cnn])
def test_a_model_can_be_converted_right_after_a_training_step(build: Any) -> None:
    inputs = TOKENS if build is bert else PIXELS
    model = calibrated(build(), on_inputs(inputs), "uint8", "lsq").train()
    model(**inputs)
    convert_model(model)


@pytest.mark.parametrize("training", [False, True])
def test_calibration_keeps_the_mode(training: bool) -> None:
    model = prepared(cnn(), on_inputs(PIXELS)).train(training)
    calibrate(model, [on_inputs(PIXELS)])
    assert all(module.training is training for module in model.modules())


def test_calibrating_twice_is_calibrating_once() -> None:
    model = prepared(cnn(), on_inputs(PIXELS))
    calibrate(model, [on_inputs(PIXELS)])
    once = {name: tensor.clone() for name, tensor in model_state(model).items()}
    calibrate(model, [on_inputs(PIXELS)])
    for name, tensor in model_state(model).items():
        assert torch.equal(tensor, once[name]), name


def test_calibration_without_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="before it observed"):
        calibrate(prepared(cnn(), on_inputs(PIXELS)), [])


# Where quantizers stand.


def test_query_key_and_value_share_one_quantizer() -> None:
    model = prepared(bert(), on_inputs(TOKENS))
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantizedLinear)
    }
    for layer in range(2):
        readers = [
            found[f"bert.encoder.layer.{layer}.attention.self.{role}"]
            for role in ("query", "key", "value")
        ]
        assert len({id(reader.input) for reader in readers}) == 1
        assert readers[0].input is not None
    linears = 2 * 6 + 1
    assert len(found) == linears
    assert len({id(module.input) for module in found.values()}) == linears - 2 * 2
    assert len(activation_quantizers(model)) == linears - 2 * 2


def test_a_convolution_s_output_is_quantized_after_its_norm_and_relu_and_read_as_codes() -> None:
    model = prepared(cnn(), on_inputs(PIXELS))
    places = [name for name, module in model.named_modules() if isinstance(module, QuantizedOutput)]
    assert places == ["blocks.0.2", "blocks.1.2", "blocks.2.2"]
    convs = [model.blocks[i][0] for i in range(3)]
    assert all(isinstance(conv, QuantizedConv2d) for conv in convs)
    assert all(isinstance(model.blocks[i][1], nn.Identity) for i in range(3))
    assert [conv.reads_codes for conv in convs] == [False, True, True]
    for before, after in itertools.pairwise(range(3)):
        assert convs[after].input is model.blocks[before][2].quantizer
    assert len(activation_quantizers(model)) == 1 + 3 + 1


@pytest.mark.parametrize(
    ("modules", "place"),
    [
        ([nn.Conv2d(1, 2, 3)], "0"),
        ([nn.Conv2d(1, 2, 3), nn.ReLU()], "1"),
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)], "1"),
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU6()], "2"),
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU()], "1"),
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True)], "2"),
    ],
    ids=["alone", "relu", "norm", "norm and relu6", "norm and gelu", "norm and in-place relu"],
)
def test_the_output_quantizer_stands_where_runtimes_fuse(
    modules: list[nn.Module], place: str
) -> None:
    model = sequence(*copy.deepcopy(modules), nn.Conv2d(2, 2, 3))
    swapped = prepared(model, on(PIXELS["pixel_values"]))
    assert (
        next(
            name for name, module in swapped.named_modules() if isinstance(module, QuantizedOutput)
        )
        == place
    )


class Residual(nn.Module):
    """Both branches of an addition, and a tensor that two convolutions read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.relu = nn.ReLU()
        self.second, self.skip = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.first(x)))
        return self.relu(self.second(x) + self.skip(x))


def test_before_a_residual_addition_both_branches_are_quantized() -> None:
    """A ReLU that stands in two places follows neither convolution alone."""
    torch.manual_seed(0)
    model, x = stirred(Residual()), PIXELS["pixel_values"]
    swapped = calibrated(model, on(x))
    assert isinstance(swapped.second, QuantizedOutput)
    assert isinstance(swapped.skip, QuantizedOutput)
    assert swapped.second.module.input is swapped.skip.module.input
    torch.testing.assert_close(swapped(x), model(x), atol=0.1, rtol=0.1)
    torch.testing.assert_close(convert_model(swapped)(x), swapped(x), atol=1e-5, rtol=1e-5)


# Which modules are quantized.


def test_patterns_keep_modules_float() -> None:
    model = bert()
    schemes = plan_schemes(model, Quantize(keep_float=["*.query", "bert.embeddings.*"]), "uint8")
    everything = [name for name, module in model.named_modules() if isinstance(module, QUANTIZABLE)]
    assert set(schemes) == {
        name for name in everything if not name.endswith(".query") and ".embeddings." not in name
    }
    swapped = prepared(model, on_inputs(TOKENS), keep_float=["*.query", "bert.embeddings.*"])
    assert type(swapped.bert.encoder.layer[0].attention.self.query) is nn.Linear
    assert type(swapped.bert.embeddings.word_embeddings) is nn.Embedding
    assert isinstance(swapped.classifier, QuantizedLinear)


def test_the_last_pattern_that_matches_wins_and_keep_float_comes_last() -> None:
    modules = {
        "*": Scheme(activations="uint8-dynamic"),
        "*.key": Scheme(activations="float"),
        "classifier": Scheme(),
    }
    schemes = plan_schemes(bert(), Quantize(modules=modules, keep_float=["*.layer.1.*"]), "uint8")
    layer = "bert.encoder.layer.0.attention.self"
    assert schemes[f"{layer}.query"].activations == "uint8-dynamic"
    assert schemes[f"{layer}.key"].activations == "float"
    assert schemes["classifier"].activations == "uint8"
    assert not any(".layer.1." in name for name in schemes)


@pytest.mark.parametrize(
    "keys",
    [{"keep_float": ["clasifier"]}, {"modules": {"clasifier": Scheme()}}],
    ids=["keep_float", "modules"],
)
def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_name(
    keys: dict[str, Any],
) -> None:
    with pytest.raises(
        ValueError, match=r"`clasifier` matches no module\. Did you mean `classifier`\?"
    ):
        plan_schemes(cnn(), Quantize(**keys), "uint8")


def test_the_nearest_name_is_found_in_a_model_of_many_modules() -> None:
    with pytest.raises(ValueError, match=r"Did you mean `classifier`\?"):
        plan_schemes(bert(), Quantize(keep_float=["clasifier"]), "uint8")


class Upward(nn.Module):
    """What can be quantized beside what cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm, self.up = (
            nn.Conv2d(1, 2, 3),
            nn.BatchNorm2d(2),
            nn.ConvTranspose2d(2, 1, 3),
        )


@pytest.mark.parametrize(
    ("keys", "name", "kind"),
    [
        ({"modules": {"up": Scheme()}}, "up", "ConvTranspose2d"),
        ({"modules": {"*": Scheme()}}, "up", "ConvTranspose2d"),
        ({"modules": {"norm": Scheme()}}, "norm", "BatchNorm2d"),
    ],
    ids=["by name", "among others", "a norm by name"],
)
def test_a_pattern_that_asks_for_what_cannot_be_quantized_is_refused(
    keys: dict[str, Any], name: str, kind: str
) -> None:
    with pytest.raises(
        ValueError,
        match=rf"asks for `{name}`, of the type {kind}, whose weights cannot be quantized\. What can: Linear, Embedding, Conv1d",
    ):
        plan_schemes(Upward(), Quantize(**keys), "uint8")


def test_what_cannot_be_quantized_stays_float_where_nobody_asks_for_it() -> None:
    for keys in (
        {},
        {"keep_float": ["up"]},
        {"modules": {"*": Scheme()}, "keep_float": ["u*"]},
        {"modules": {"up": Scheme(weights="float")}},
    ):
        assert list(plan_schemes(Upward(), Quantize(**keys), "uint8")) == ["down"]


def test_groups_that_do_not_divide_are_refused_with_those_that_do() -> None:
    with pytest.raises(
        ValueError,
        match=r"`blocks.0.0`: 9 weights a channel are not whole groups of 32\. Fitting: none",
    ):
        plan_schemes(cnn(), Quantize(group=32), "float")
    with pytest.raises(
        ValueError, match=r"16 weights a channel are not whole groups of 12\. Fitting: 8, 16"
    ):
        plan_schemes(bert(), Quantize(group=12), "float")


def test_groups_and_integer_products_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"no product of uint8 takes a scale for each group of weights\. Leave `group` out",
    ):
        plan_schemes(bert(), Quantize(group=16), "uint8")
    schemes = plan_schemes(
        bert(), Quantize(modules={"*embeddings*": Scheme(weights="int4", group=16)}), "uint8"
    )
    assert schemes["bert.embeddings.word_embeddings"].group == 16


def test_a_float8_and_integer_products_are_refused() -> None:
    for activations in ("uint8", "uint8-dynamic"):
        with pytest.raises(
            ValueError,
            match=r"attention.self.query`: no integer product takes weights of fp8-e4m3\. Quantize its weights alone",
        ):
            plan_schemes(bert(), Quantize(weights="fp8-e4m3"), activations)
    schemes = plan_schemes(
        bert(), Quantize(modules={"*embeddings*": Scheme(weights="fp8-e5m2")}), "uint8"
    )
    assert schemes["bert.embeddings.word_embeddings"].weights == "fp8-e5m2"


def test_a_convolution_cannot_be_dynamic() -> None:
    with pytest.raises(
        ValueError, match=r"`blocks.0.0` is a convolution; its activations can be uint8 or float"
    ):
        plan_schemes(cnn(), Quantize(), "uint8-dynamic")


def test_dynamic_layers_have_no_static_quantizer() -> None:
    converted = convert_model(calibrated(bert(), on_inputs(TOKENS), "uint8-dynamic"))
    linears = [module for module in converted.modules() if isinstance(module, IntegerLinear)]
    assert all(module.is_dynamic and isinstance(module.input, nn.Identity) for module in linears)
    assert activation_quantizers(prepared(bert(), on_inputs(TOKENS), "uint8-dynamic")) == []


# What a norm has seen, and what an accumulator can hold.


@pytest.mark.parametrize("gamma", [2.0, -0.5])
@pytest.mark.parametrize("weights", ["int8", "int4", "binary"])
def test_training_and_integers_round_the_same_weight(weights: str, gamma: float) -> None:
    """int4 reaches from -8 to 7: a negative gamma turns the weight before it is rounded."""
    model = sequence(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3))
    with torch.no_grad():
        model[1].weight.fill_(gamma)
        # A weight at each end, so that the ends of the grid count.
        model[0].weight[:, 0, 0, 0], model[0].weight[:, 0, 0, 1] = 1.0, -1.0
    x = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    model = calibrated(model, on(x), activations="float", weights=weights)
    (module,) = (each for each in model.modules() if isinstance(each, QuantizedConv2d))
    norm, rounded = module.norm, module.training_weight().detach()
    sigma = torch.sqrt(norm.running_var + norm.eps).view(-1, 1, 1, 1)
    torch.testing.assert_close(module.rounded_weight().detach(), rounded * gamma / sigma)
    steps = module.codes() * module.scale().view(-1, 1, 1, 1)
    torch.testing.assert_close(module.rounded_weight().detach(), steps.detach())
    # In training the norm takes the batch's own moments, of what the rounded weight makes.
    product = nn.functional.conv2d(x, rounded, module.bias, padding=1)
    expected = nn.functional.batch_norm(product, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(model.train()(x), expected)


def test_norms_that_have_seen_nothing_take_the_moments_of_calibration_rows() -> None:
    conv = nn.Conv2d(1, 3, 3)
    x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0)) + 5
    with torch.no_grad():
        made = conv(x)
    layers = [conv, nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.9), nn.BatchNorm2d(3)]
    model = calibrated(nn.Sequential(*layers), on(x)).eval()
    first, last = (each for each in model.modules() if isinstance(each, nn.BatchNorm2d))
    torch.testing.assert_close(first.running_mean, made.mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, made.var((0, 2, 3)))
    assert first.momentum == last.momentum == 0.1
    seen = last.running_mean.clone()
    calibrate(model, [on(x[:2])])
    assert torch.equal(last.running_mean, seen)  # it has seen a batch


@pytest.mark.parametrize("with_norm", [False, True])
def test_a_bias_that_the_accumulator_cannot_hold_widens_the_step(with_norm: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3) if with_norm else nn.ReLU(), nn.Conv2d(3, 2, 1)
    )
    x = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(0)) * 3
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].weight[2] *= 1e-12
        model(x)  # the norm has seen a batch
        model[int(with_norm)].bias.fill_(2.0)
        expected = model.eval()(x)
    found = calibrated(model, on(x))
    torch.testing.assert_close(found(x).detach(), expected, atol=0.1, rtol=0.05)
    integers = convert_model(found)
    torch.testing.assert_close(integers(x), found(x).detach(), atol=1e-4, rtol=1e-4)
    first, _ = (each for each in integers.modules() if isinstance(each, IntegerConvolution))
    counted = first.bias.double().abs() + 255 * first.codes.double().abs().sum((1, 2, 3))
    assert (counted < 2**31).all()
    assert first.bias.double().abs().max() > 2**30  # widened no more than was needed
