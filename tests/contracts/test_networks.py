"""What every network keeps: its shapes, its layers, and an artifact that computes in integers what the fake-quantized model computes.

A new network is tested with its defaults; `TOY` makes those of ours small.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import logits, stirred
from torch import nn

from limbeck.artifact.proof.golden import relative_error
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.core.grids import GRIDS
from limbeck.exporters.onnx_graph import to_onnx
from limbeck.exporters.onnx_kernels import optimized_ops
from limbeck.exporters.onnx_ops import dynamic_quantize_linear
from limbeck.models import networks
from limbeck.models.anatomy.layers import blocks
from limbeck.models.anatomy.probe import FAULTS
from limbeck.models.running import logits_of, run_model
from limbeck.models.taps import hidden_of
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.swap import QuantizedOutput
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.ranges.lsq import Lsq
from limbeck.recipe.model import Quantize
from limbeck.tasks import Batch

TOY: dict[str, dict[str, Any]] = {
    "mlp": {"width": 32},
    "mobilenet_v2": {"width": 0.25},
    "resnet18": {"width": 8},
    "resnet50": {"width": 4},
    "small_cnn": {"width": 8},
}
NAMES = [name for name in registry.names("networks") if not networks.reads_texts(name)]
contract = pytest.mark.parametrize("name", NAMES)
# The deepest take 8 s each to trace and to compile; resnet18 and small_cnn are exported by default.
DEEP = ("mobilenet_v2", "resnet50")
exported_contract = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEP)) for name in NAMES],
)


def built(name: str, channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return stirred(registry.create("networks", name, TOY.get(name)).build(5, channels))


def pixels(rows: int, channels: int = 1, side: int = 28, seed: int = 0) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.randn(
            rows, channels, side, side, generator=torch.Generator().manual_seed(seed)
        )
    }


@cache
def quantized(name: str) -> nn.Module:
    """Static integers, with learned ranges after three steps of training, so that scales are no round figures."""
    model, inputs = built(name), pixels(16)
    prepare_model(model, plan_schemes(model, Quantize(), "uint8"), "lsq", lambda m: m(**inputs))
    calibrate(model, [lambda m: m(**inputs)])
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-3)
    for _ in range(3):
        model(**inputs).logsumexp(1).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def graph(name: str) -> Path:
        path = tmp_path_factory.mktemp(name) / "model.onnx"
        to_onnx(
            convert_model(quantized(name)),
            pixels(4),
            path,
            dynamic_translation=dynamic_quantize_linear,
        )
        return path

    return graph


@contract
@pytest.mark.parametrize("side", [8, 9, 28])
def test_a_network_takes_images_of_any_size(name: str, side: int) -> None:
    with torch.no_grad():
        try:
            found = built(name).eval()(**pixels(2, side=side))
        except FAULTS as error:
            pytest.fail(
                f"the network `{name}` takes no images of {side} x {side} ({type(error).__name__}: {error}). `build` is not told "
                "their size, so it must take any: pool over all pixels (nn.AdaptiveAvgPool2d(1)) before the last layer",
                pytrace=False,
            )
    assert logits_of(found).shape == (2, 5)


@contract
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 28), (3, 9)])
def test_a_network_gives_logits_and_has_layers(name: str, channels: int, side: int) -> None:
    model = built(name, channels)
    batch = Batch(
        pixels(3, channels, side), None, None, torch.ones(3, 1, dtype=torch.bool), np.arange(3)
    )
    outputs = run_model(model, batch, hidden_of(blocks(model)))
    assert outputs.logits.shape == (3, 1, 5)
    assert all(
        value.shape[:2] == (3, 1) and torch.isfinite(value).all()
        for value in outputs.hidden.values()
    )


@exported_contract
@pytest.mark.parametrize("name_of_runtime", ["onnxruntime", "openvino"])
def test_the_artifact_s_graph_answers_as_the_fake_quantized_model(
    exported: Callable[[str], Path], name: str, name_of_runtime: str
) -> None:
    pytest.importorskip(name_of_runtime)
    inputs = pixels(64, seed=9)
    expected = logits(quantized(name), inputs).numpy()
    found = open_graph(exported(name), name_of_runtime, 1)(
        {key: value.numpy() for key, value in inputs.items()}
    )
    assert relative_error(found, expected) < 0.02
    assert (found.argmax(1) != expected.argmax(1)).sum() <= 1


@exported_contract
def test_every_convolution_and_addition_runs_on_integers(
    exported: Callable[[str], Path], name: str
) -> None:
    ops = optimized_ops(exported(name))
    assert ops["QLinearConv"] == sum(
        isinstance(module, nn.Conv2d) for module in built(name).modules()
    )
    assert not {"Conv", "FusedConv", "Clip", "Relu"} & set(ops)
    num_linear = sum(isinstance(module, nn.Linear) for module in built(name).modules())
    assert ops["Add"] <= num_linear  # their biases
    assert ops["QuantizeLinear"] <= 1 + num_linear  # the pixels, and what those read


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet18", 11_173_962), ("resnet50", 23_520_842), ("mobilenet_v2", 2_236_682)],
)
def test_parameters_are_those_that_are_published(name: str, parameters: int) -> None:
    """Of the same networks for CIFAR-10 (github.com/kuangliu/pytorch-cifar) and, for MobileNetV2, of torchvision's with 10 classes."""
    with torch.device("meta"):
        model = registry.create("networks", name).build(10, 3)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("width", "stem", "last"), [(0.25, 8, 1280), (1.0, 32, 1280), (1.4, 48, 1792)]
)
def test_mobilenet_s_channels_are_multiples_of_eight(width: float, stem: int, last: int) -> None:
    with torch.device("meta"):
        model: Any = registry.create("networks", "mobilenet_v2", {"width": width}).build(10, 3)
    assert (model.stem[0].out_channels, model.classifier.in_features) == (stem, last)


def test_a_block_s_sum_is_quantized_once_for_the_convolution_and_the_shortcut() -> None:
    model: Any = quantized("mobilenet_v2")
    block = model.blocks[1]
    assert isinstance(block, QuantizedOutput)
    assert model.blocks[2].module.branch[0].reads_codes
    assert model.blocks[2].module.branch[0].input is block.quantizer


def test_a_scale_after_relu6_stays_within_its_bound() -> None:
    quantizer = FakeQuantizer(GRIDS["uint8"], Lsq, bound=6)
    quantizer.begin()
    quantizer(torch.linspace(0, 6, 200))
    quantizer.finish()
    with torch.no_grad():
        quantizer.log_scale.add_(0.3)
    loose = quantizer.scale
    values = quantizer(torch.linspace(0, 6, 99))
    assert torch.equal(quantizer.scale, loose)
    assert torch.equal(quantizer.log_scale.exp(), loose)
    assert 5.99 < 255 * float(loose) <= 6
    assert float(values.detach().max()) <= 6
    values.sum().backward()
    assert quantizer.log_scale.grad is not None and float(quantizer.log_scale.grad) != 0
