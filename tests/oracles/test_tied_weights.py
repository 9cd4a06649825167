"""A weight that two modules share is one weight after quantization as well: one scale, one set of codes, one count of its bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from limbeck.analysis import layers as inspected
from limbeck.analysis.sensitivities import JudgedModel
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.exporters.onnx_kernels import check_kernels
from limbeck.models.weights import model_state
from limbeck.quantization.after_training import calibrate, quantize_after_training
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.fake import FakeQuantizer
from limbeck.quantization.modules.integer import Integer
from limbeck.quantization.modules.swap import Quantized
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.quantization.roundings.gptq import Gptq
from limbeck.recipe.model import Quantize, Scheme
from limbeck.studies import candidates
from limbeck.tasks import Batch

VOCABULARY, WIDTH = 300, 16


class Words(nn.Module):
    """Tokens to tokens, its head and its table one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.head.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.inner(self.table(x))))


def ids(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (rows, 7), generator=torch.Generator().manual_seed(seed))


def words() -> nn.Module:
    torch.manual_seed(0)
    return Words().eval()


def prepared(activations: str = "uint8", range_name: str = "lsq", **keys: Any) -> nn.Module:
    model = words()
    prepare_model(
        model, plan_schemes(model, Quantize(**keys), activations), range_name, lambda m: m(x=ids(2))
    )
    return model


def calibrated(*args: Any, **keys: Any) -> nn.Module:
    model = prepared(*args, **keys)
    calibrate(model, [lambda m: m(x=ids(4))])
    return model.eval()


def test_the_two_have_one_weight_and_one_quantizer() -> None:
    model = calibrated()
    assert model.head.weight is model.table.weight
    assert model.head.quantizer is model.table.quantizer
    assert model.inner.quantizer is not model.table.quantizer
    assert sum(name.endswith("quantizer.log_scale") for name in model_state(model)) == 2


def test_a_step_of_training_leaves_them_one() -> None:
    model = calibrated().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model(ids(4)).square().sum().backward()
    optimizer.step()
    model.eval()
    table, head = (each.quantizer.codes(each.float_weight()) for each in (model.table, model.head))
    assert torch.equal(table, head)
    assert not torch.equal(table, calibrated().table.quantizer.codes(calibrated().table.weight))


CASES = {
    "static": ("uint8", {}),
    "dynamic": ("uint8-dynamic", {}),
    "weights only": ("float", {}),
    "4 bits": ("uint8", {"weights": "int4"}),
    "groups": ("float", {"weights": "int4", "group": 8}),
}


@pytest.mark.parametrize(("activations", "keys"), CASES.values(), ids=list(CASES))
def test_the_file_holds_their_codes_once(
    tmp_path: Path, activations: str, keys: dict[str, Any]
) -> None:
    model = calibrated(activations, **keys)
    converted = convert_model(model)
    exporter = registry.create("exporters", "onnx")
    path = tmp_path / exporter.export(converted, {"x": ids(3)}, tmp_path)["onnxruntime"]
    constants = [numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]
    stored = sum(
        array.size for array in constants if array.dtype in (np.int8, np.uint8) and array.ndim
    )
    assert stored == converted.table.stored.numel() + converted.inner.stored.numel()
    if "group" not in keys:
        assert (
            sum(array.tobytes() == converted.table.scale.numpy().tobytes() for array in constants)
            == 1
        )
    check_kernels(converted, path)
    found = torch.from_numpy(open_graph(path, "onnxruntime", 1)({"x": ids(5, 1).numpy()}))
    for other in (found, converted(ids(5, 1))):
        assert (other - model(ids(5, 1))).square().mean().sqrt() <= 0.01 * model(
            ids(5, 1)
        ).square().mean().sqrt()


def test_what_lies_in_the_graph_is_what_the_converted_model_shares() -> None:
    converted = convert_model(calibrated())
    assert converted.table.stored is converted.head.stored
    assert sum(isinstance(module, Integer) for module in converted.modules()) == 3
    torch.testing.assert_close(converted.head.weight, converted.table.weight)


def test_an_own_scheme_for_one_of_them_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"`head` and `table` share one weight, so its `weights`, `group` and `scale` cannot be float, None, float32 for one and int8",
    ):
        prepared(keep_float=["head"])
    with pytest.raises(
        ValueError,
        match=r"cannot be int4, None, float32 for one and int8, None, float32 for the other\. Give both the same scheme",
    ):
        prepared(modules={"head": Scheme(weights="int4")})
    assert prepared(keep_float=["head", "table"]).head.weight is not None


def test_a_rounding_by_layer_leaves_them_at_their_nearest_levels() -> None:
    model, flow = words(), None
    schemes = plan_schemes(model, Quantize(), "uint8")
    flow = prepare_model(model, schemes, "minmax", lambda m: m(x=ids(2)), rounding=Gptq())
    quantize_after_training(model, flow, [lambda m: m(x=ids(4))], rounding=Gptq())
    assert torch.equal(model.table.weight, words().table.weight)
    assert not torch.equal(model.inner.weight, words().inner.weight)


@pytest.mark.parametrize("name", registry.names("sensitivities"))
def test_a_search_looks_at_them_as_one(name: str) -> None:
    model = prepared("float")
    units = torch.ones(4, 7)
    probe = JudgedModel(
        model,
        [Batch({"x": ids(4)}, None, units.long(), units.bool(), np.arange(4))],
        ("int8", "int4"),
    )
    assert list(probe.layers) == ["table", "inner"]
    found = registry.create("sensitivities", name)(probe)
    assert 0 <= found["table"]["int8"] < found["table"]["int4"]
    choices = candidates.gather(probe, found, ["int8", "int4"])
    assert choices.costs["bytes"]["table"]["int8"] == VOCABULARY * WIDTH + 4 * VOCABULARY
    assert choices.rest["bytes"] == 4 * (WIDTH + VOCABULARY)  # the biases
    assert model.table.quantizer is model.head.quantizer
    assert not any(
        module.calibrated for module in model.modules() if isinstance(module, FakeQuantizer)
    )


def test_inspect_counts_their_bytes_once() -> None:
    model = calibrated()
    layers = {
        name: module for name, module in model.named_modules() if isinstance(module, Quantized)
    }
    assert inspected.bytes_of(layers) == {
        "table": VOCABULARY * WIDTH + 4 * VOCABULARY,
        "inner": WIDTH * WIDTH + 4 * WIDTH,
        "head": 0,
    }
