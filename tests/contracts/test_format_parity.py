"""Every weight format, a scale a channel or a group of 32, every kind of activations and module, in every runtime: the graph answers as the model that
was trained, and both as a reference in numpy and whole numbers.

The layers of one granularity and one kind of activations are branches of one model, so that a graph is written and opened once for all of them; not
the recurrent ones, beside which OpenVINO's int8 convolutions saturate as on a CPU without VNNI.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import integer_reference as reference
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from test_exporters import EXPORTERS, is_exact, quantized, relative_error
from torch import nn

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.exporters.onnx import Onnx
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import Quantized, QuantizedConvolution, QuantizedOutput
from limbeck.recipe.model import Scheme, WeightFormat


class Recurrent(nn.Module):
    """What an LSTM or GRU makes, without its last state."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.core(x)[0]


RECURRENT = ("lstm", "gru")
FORMATS = [name for name in get_args(WeightFormat) if name != "float"]
BUILD: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(64, 160),
    "embedding": lambda: nn.Embedding(160, 64),
    "lstm": lambda: Recurrent(nn.LSTM(64, 32, batch_first=True)),
    "gru": lambda: Recurrent(nn.GRU(64, 32, batch_first=True)),
    "conv1d": lambda: nn.Conv1d(64, 40, 3),
    "conv2d": lambda: nn.Conv2d(32, 40, 3),
}
INPUTS = {
    "linear": "vectors",
    "embedding": "ids",
    "lstm": "vectors",
    "gru": "vectors",
    "conv1d": "signal",
    "conv2d": "pixels",
}


class Branches(nn.Module):
    """Layers beside each other; what they give, end to end."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [
                layer(inputs[INPUTS[name.split("_")[0]]]).flatten(1)
                for name, layer in self.layers.items()
            ],
            1,
        )


def legal(kind: str, name: str, activations: str, group: int | None) -> bool:
    """What a recipe may ask for: an embedding or a recurrent layer reads no codes."""
    if kind.startswith("conv") and activations == "uint8-dynamic":
        return False
    return (
        kind in ("embedding", "lstm", "gru")
        or activations == "float"
        or not (group or GRIDS[name].is_floating)
    )


MODELS = [("float", None), ("uint8", None), ("uint8-dynamic", None), ("float", 32), ("uint8", 32)]
CASES = [
    (kind, name, *model)
    for model in MODELS
    for name in FORMATS
    for kind in BUILD
    if legal(kind, name, *model)
]
# By default one graph of recurrent layers, and those that compute in integers of the others; test_exporters has float activations.
DEFAULT_MODELS = [("uint8", None), ("uint8-dynamic", None)]


def is_default(kind: str, model: tuple[str, int | None]) -> bool:
    """Whether a case is tested by default; the graphs of the others take 8 s each to trace. Of
    recurrent layers tests/oracles/test_recurrent.py has smaller ones by default."""
    return kind not in RECURRENT and model in DEFAULT_MODELS


cases = pytest.mark.parametrize(
    ("kind", "name", "activations", "group"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] * (not is_default(case[0], case[2:])))
        for case in CASES
    ],
)


def inputs(rows: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "vectors": torch.randn(rows, 2, 64, generator=generator) + 0.3,
        "ids": torch.randint(0, 160, (rows, 2, 1), generator=generator),
        "signal": torch.randn(rows, 64, 6, generator=generator) + 0.1,
        "pixels": torch.randn(rows, 32, 4, 4, generator=generator) - 0.2,
    }


@cache
def model(activations: str, group: int | None, is_recurrent: bool) -> nn.Module:
    """The branches that are legal, calibrated."""
    wanted = [
        case
        for case in CASES
        if case[2:] == (activations, group) and (case[0] in RECURRENT) == is_recurrent
    ]
    torch.manual_seed(0)
    branches = Branches({f"{kind}_{name}": BUILD[kind]() for kind, name, *_ in wanted})
    schemes = {
        f"layers.{kind}_{name}*": Scheme(weights=name, activations=activations, group=group)
        for kind, name, *_ in wanted
    }
    kinds = {kind for kind, *_ in wanted}
    return quantized(branches, given(4, 0, kinds), activations, modules=schemes)


def given(rows: int, seed: int, kinds: set[str]) -> dict[str, torch.Tensor]:
    """The inputs that some kinds of layers read."""
    return {
        name: tensor
        for name, tensor in inputs(rows, seed).items()
        if name in {INPUTS[kind] for kind in kinds}
    }


def read_by(built: nn.Module, rows: int, seed: int) -> dict[str, torch.Tensor]:
    return given(rows, seed, {name.split("_")[0] for name in built.layers})


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    """(activations, group, exporter) to the graph's answers on other rows than it was traced with."""
    folders: dict[Any, Path] = {}

    @cache
    def answer(
        activations: str, group: int | None, is_recurrent: bool, exporter: str
    ) -> np.ndarray:
        built = model(activations, group, is_recurrent)
        folder = folders.setdefault(
            (activations, group, is_recurrent), tmp_path_factory.mktemp("parity")
        )
        files = registry.create("exporters", exporter).export(
            convert_model(built), read_by(built, 3, 1), folder
        )
        runtime, file = next(iter(files.items()))
        return open_graph(folder / file, runtime, threads=1)(
            {name: tensor.numpy() for name, tensor in read_by(built, 5, 2).items()}
        )

    return answer


@cache
def own(activations: str, group: int | None, is_recurrent: bool) -> np.ndarray:
    """What the fake-quantized model answers."""
    with torch.no_grad():
        built = model(activations, group, is_recurrent)
        return built(**read_by(built, 5, 2)).numpy()


def part(
    whole: np.ndarray, kind: str, name: str, activations: str, group: int | None
) -> np.ndarray:
    """One branch of the answers."""
    built, start = model(activations, group, kind in RECURRENT), 0
    sizes = {
        "linear": 2 * 160,
        "embedding": 2 * 64,
        "lstm": 2 * 32,
        "gru": 2 * 32,
        "conv1d": 40 * 4,
        "conv2d": 40 * 2 * 2,
    }
    for each in built.layers:
        end = start + sizes[each.split("_")[0]]
        if each == f"{kind}_{name}":
            return whole[:, start:end]
        start = end
    raise AssertionError(f"no branch {kind}_{name}")


def allowed(exporter: str, kind: str, name: str, activations: str, group: int | None) -> float:
    """Relative error. Where DequantizeLinear alone stands before a matrix product, both runtimes round the float activations to 8 bits, by blocks of 32:
    MatMulNBits in ONNX Runtime, dynamic quantization in OpenVINO, which does so where they are dynamic, too."""
    if kind != "linear" or group or activations == "uint8" or GRIDS[name].is_floating:
        return 0.002
    if activations == "float":
        return 0.01
    return 0.002 if is_exact(exporter) else 0.02


@pytest.mark.parametrize("exporter", EXPORTERS)
@cases
def test_the_graph_answers_as_the_fake_quantized_layer(
    answers: Callable[..., np.ndarray],
    exporter: str,
    kind: str,
    name: str,
    activations: str,
    group: int | None,
) -> None:
    """An embedding bit for bit."""
    case = (kind, name, activations, group)
    found, expected = (
        part(answers(*case[2:], kind in RECURRENT, exporter), *case),
        part(own(*case[2:], kind in RECURRENT), *case),
    )
    if kind == "embedding":
        np.testing.assert_array_equal(found, expected)
    assert relative_error(found, expected) <= allowed(exporter, *case)


def expected_of(kind: str, name: str, activations: str, group: int | None) -> np.ndarray:
    """The reference's answers, (rows, ...) flat; a convolution's still without the quantizer of its output."""
    layer = model(activations, group, kind in RECURRENT).layers[f"{kind}_{name}"]
    layer = layer.module if isinstance(layer, QuantizedOutput) else layer
    x = inputs(5, 2)[INPUTS[kind]].numpy()
    if isinstance(layer, Recurrent):
        pair = (layer.core.weight_ih_l0, layer.core.weight_hh_l0)
        matrices = [
            reference.dequantized(each.weight.detach().numpy(), each.quantizer.scale.numpy(), name)
            for each in pair
        ]
        bias = [each.detach().numpy() for each in (layer.core.bias_ih_l0, layer.core.bias_hh_l0)]
        return reference.recurrence(x, kind, *matrices, bias).reshape(len(x), -1)
    assert isinstance(layer, Quantized)
    weight, scale = layer.weight.detach().numpy(), layer.quantizer.log_scale.detach().exp().numpy()
    if kind == "embedding":
        return reference.dequantized(weight, scale, name)[x].reshape(len(x), -1)
    bias = layer.bias.detach().numpy().astype(np.float64)
    if activations == "float":
        rows = x if kind == "linear" else reference.patches(x, 3)
        y = (
            rows.astype(np.float64)
            @ reference.dequantized(weight, scale, name).reshape(len(weight), -1).T
            + bias
        )
        return (y if kind == "linear" else reference.images(y, x, 3)).reshape(len(x), -1)
    step = reference.own_range(x) if layer.is_dynamic else step_of(layer.input)
    compute = reference.convolution if kind.startswith("conv") else reference.linear
    return compute(x, step, weight, scale, name, bias).reshape(len(x), -1)


def step_of(quantizer: FakeQuantizer | None) -> tuple[np.float32, int]:
    assert quantizer is not None
    return quantizer.scale.numpy()[0], int(quantizer.zero_point.item())


@cases
def test_the_layer_and_its_graph_compute_as_whole_numbers(
    answers: Callable[..., np.ndarray], kind: str, name: str, activations: str, group: int | None
) -> None:
    """To the rounding of float32. What a convolution gives is quantized: one code more or less where a value lies on a tie."""
    case = (kind, name, activations, group)
    key = (activations, group, kind in RECURRENT)
    expected, layer = expected_of(*case), model(*key).layers[f"{kind}_{name}"]
    for whole in (own(*key), answers(*key, "onnx")):
        found = part(whole, *case)
        if isinstance(layer, QuantizedOutput):
            assert isinstance(layer.module, QuantizedConvolution)
            scale, zero = step_of(layer.quantizer)
            off = np.abs(
                reference.input_codes(expected, scale, zero)
                - reference.input_codes(found, scale, zero)
            )
            assert off.max() <= 1
            assert (off > 0).mean() < 0.01
        elif whole is own(*key) or allowed("onnx", *case) == 0.002:
            np.testing.assert_allclose(
                found, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max()
            )
        else:
            assert relative_error(found, expected) <= allowed("onnx", *case)


@cache
def wide(group: int | None) -> nn.Module:
    """A layer of 512 x 512 in every format."""
    torch.manual_seed(0)
    layers = Branches({f"linear_{name}": nn.Linear(512, 512, bias=False) for name in FORMATS})
    schemes = {
        f"layers.linear_{name}": Scheme(weights=name, activations="float", group=group)
        for name in FORMATS
    }
    return quantized(layers, {"vectors": torch.randn(2, 2, 512)}, "float", modules=schemes)


SLOW_GROUPS = [pytest.param(group, marks=pytest.mark.slow) for group in (64, 128)]


@pytest.mark.parametrize("group", [None, 32, *SLOW_GROUPS])
def test_a_layer_takes_its_bits_and_its_scales_in_the_file(
    tmp_path: Path, group: int | None
) -> None:
    """Each layer's codes, and the file as a whole with its scales, tables and nodes; within 2 %."""
    Onnx().export(convert_model(wide(group)), {"vectors": torch.randn(3, 2, 512)}, tmp_path)
    path = tmp_path / Onnx.file
    sizes = {
        each.name: numpy_helper.to_array(each).nbytes
        for each in onnx.load(str(path)).graph.initializer
    }
    codes = {name: 512 * 512 * GRIDS[name].bits / 8 for name in FORMATS}
    for name, budget in codes.items():
        assert budget <= sizes[f"model.layers.linear_{name}.stored"] <= 1.02 * budget
    scales = 4 * 512 * (512 // group if group else 1) * len(FORMATS)
    assert path.stat().st_size <= 1.02 * (sum(codes.values()) + scales)


def test_the_optimized_graph_of_few_bits_is_that_of_int8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unpacking is folded when the graph is loaded, so that integers of any width run as int8 does. A float8 runs in a float product."""
    ops = {}
    for name in FORMATS:
        activations = "float" if GRIDS[name].is_floating else "uint8"
        torch.manual_seed(0)
        layer = Branches({f"linear_{name}": BUILD["linear"]()})
        built = quantized(
            layer,
            given(4, 0, {"linear"}),
            activations,
            modules={"layers.*": Scheme(weights=name, activations=activations)},
        )
        (tmp_path / name).mkdir()
        Onnx().export(convert_model(built), given(3, 1, {"linear"}), tmp_path / name)
        ops[name] = optimized_ops(tmp_path / name / Onnx.file)
    with capsys.disabled():
        print(
            "",
            *(f"{name:9} {dict(sorted(found.items()))}" for name, found in ops.items()),
            sep="\n",
        )
    for name, found in ops.items():
        assert (found == ops["int8"]) == (not GRIDS[name].is_floating), name
        assert found["MatMul"] + found["FusedMatMul"] + found["Gemm"] == GRIDS[name].is_floating, (
            name
        )


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_float_activations_stay_float(name: str, tmp_path: Path) -> None:
    """ONNX Runtime makes one kernel of codes and a product, which rounds what it reads to eight bits unless it is told not to."""
    torch.manual_seed(0)
    layer = Branches({f"linear_{name}": BUILD["linear"]()})
    scheme = Scheme(weights=name, activations="float")
    built = quantized(layer, given(4, 0, {"linear"}), "float", modules={"layers.*": scheme})
    Onnx().export(convert_model(built), given(3, 1, {"linear"}), tmp_path)
    inputs = given(5, 2, {"linear"})
    with torch.no_grad():
        expected = built(**inputs).numpy()
    graph = open_graph(tmp_path / Onnx.file, "onnxruntime", 1)
    found = graph({key: value.numpy() for key, value in inputs.items()})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
