"""LSTM and GRU with quantized matrices: torch's own layer with the dequantized ones, in every form, in training, converted and in ONNX Runtime."""

import copy
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from limbeck.analysis.sensitivities import JudgedModel
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.exporters.onnx_kernels import check_kernels, optimized_ops
from limbeck.models.weights import model_state, restore_state
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.modules.integer import Integer
from limbeck.quantization.modules.recurrent import QuantizedMatrix, QuantizedRecurrence
from limbeck.quantization.modules.swap import squared_error
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize, Scheme

B, T, V, D, H = 3, 6, 20, 10, 16
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers, both ways": {"num_layers": 2, "bidirectional": True},
    "time first, no bias": {"batch_first": False, "bias": False},
}
forms = pytest.mark.parametrize("keys", FORMS.values(), ids=list(FORMS))
kinds = pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])


class Tagger(nn.Module):
    """A table, a recurrent layer that reads its rows, and a head that reads what this makes."""

    def __init__(self, kind: Any, keys: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(V, D)
        self.core = kind(D, H, **{"batch_first": True, **keys})
        self.head = nn.Linear(H * (2 if self.core.bidirectional else 1), 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.core(self.table(x))[0])


def x(rows: int = B, length: int = T, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def vectors() -> torch.Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(0))


def prepared(
    kind: Any,
    keys: dict[str, Any],
    activations: str = "uint8",
    range_name: str = "lsq",
    **settings: Any,
) -> nn.Module:
    model = Tagger(kind, keys).eval()
    prepare_model(
        model,
        plan_schemes(model, Quantize(**settings), activations),
        range_name,
        lambda m: m(x=x()),
    )
    return model


def calibrated(*args: Any, **settings: Any) -> nn.Module:
    model = prepared(*args, **settings)
    calibrate(model, [lambda m: m(x=x())])
    return model.eval()


@kinds
@forms
def test_before_calibration_it_is_torch_s_own(kind: Any, keys: dict[str, Any]) -> None:
    model = prepared(kind, keys)
    torch.testing.assert_close(model(x()), Tagger(kind, keys)(x()))
    core, source = model.core, Tagger(kind, keys).core
    assert isinstance(core, QuantizedRecurrence)
    layers = source.num_layers * (1 + source.bidirectional)
    state = torch.randn(
        layers, B if source.batch_first else T, H, generator=torch.Generator().manual_seed(1)
    )
    given = (state, 0.5 * state) if kind is nn.LSTM else state
    for found, expected in zip(core(vectors(), given), source(vectors(), given), strict=True):
        torch.testing.assert_close(found, expected)


@kinds
@forms
def test_it_is_torch_s_own_with_matrices_that_are_codes_times_scales(
    kind: Any, keys: dict[str, Any]
) -> None:
    model, plain = (
        calibrated(kind, keys, "float", "mse", keep_float=["head", "table"]),
        Tagger(kind, keys).eval(),
    )
    for name, parameter in plain.core.named_parameters():
        if name.startswith("weight"):
            scale = getattr(model.core, name).quantizer.scale.unsqueeze(1)
            assert len(scale) == len(parameter)
            with torch.no_grad():
                parameter.copy_((parameter / scale).round().clamp(-127, 127) * scale)
    for found in (model(x()), convert_model(model)(x())):
        torch.testing.assert_close(found, plain(x()), atol=1e-5, rtol=1e-4)
    assert (model(x()) - Tagger(kind, keys)(x())).abs().max() > 1e-4


EXPORTED = [
    (form, *weights) for form in FORMS for weights in (("int8", None), ("int4", None), ("int4", 2))
]
AT_ONCE = [
    ("plain", "int4", 2),
    ("two layers, both ways", "int4", None),
    ("time first, no bias", "int8", None),
]  # the others in the slow tests


@kinds
@pytest.mark.parametrize(
    ("keys", "weights", "group"),
    [
        pytest.param(FORMS[form], *rest, marks=[pytest.mark.slow] * ((form, *rest) not in AT_ONCE))
        for form, *rest in EXPORTED
    ],
)
def test_the_graph_answers_as_the_model_and_holds_codes_alone(
    tmp_path: Path, kind: Any, keys: dict[str, Any], weights: str, group: int | None
) -> None:
    """Codes become matrices when the graph is loaded: what runs is one node a layer."""
    model = calibrated(kind, keys, modules={"core": Scheme(weights=weights, group=group)})
    converted = convert_model(model)
    exporter = registry.create("exporters", "onnx")
    path = tmp_path / exporter.export(converted, {"x": x()}, tmp_path)["onnxruntime"]
    for rows, length in ((B, T), (1, 9), (5, 1)):
        wanted = model(x(rows, length, 5))
        found = torch.from_numpy(
            open_graph(path, "onnxruntime", 1)({"x": x(rows, length, 5).numpy()})
        )
        assert (found - wanted).square().mean().sqrt() <= 0.005 * wanted.square().mean().sqrt()
        torch.testing.assert_close(converted(x(rows, length, 5)), wanted, atol=1e-4, rtol=1e-4)
    check_kernels(converted, path)
    constants = [numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]
    stored = sum(array.size for array in constants if array.dtype.itemsize == 1 and array.ndim)
    assert stored == sum(
        module.stored.numel() for module in converted.modules() if isinstance(module, Integer)
    )
    assert not any(
        array.dtype.kind == "f"
        and array.ndim > 1
        and array.shape[-1] in (D, H, 2 * H)
        and len(array) > H
        for array in constants
    )
    ops = optimized_ops(path)
    assert ops[kind.__name__] == model.core.num_layers
    assert ops["Cast"] <= 1  # of the table's rows
    assert not {"DequantizeLinear", "Floor", "Div"} & set(ops)


@kinds
def test_a_training_step_reaches_every_matrix_and_its_scales(kind: Any) -> None:
    model = calibrated(kind, FORMS["two layers, both ways"] | {"dropout": 0.2}).train()
    (model(x()).square().sum() + squared_error(model)).backward()
    found = [module for module in model.modules() if isinstance(module, QuantizedMatrix)]
    assert len(found) == 8
    for matrix in found:
        assert matrix.weight.grad.abs().sum() > 0
        assert matrix.quantizer.log_scale.grad.abs().sum() > 0
    convert_model(model)


@kinds
def test_state_and_restore_make_the_same_model(kind: Any) -> None:
    model = calibrated(kind, {})
    tensors = {name: tensor.clone() for name, tensor in model_state(model).items()}
    assert "core.weight_ih_l0.weight" in tensors
    fresh = prepared(kind, {})
    restore_state(fresh, tensors)
    assert torch.equal(fresh.eval()(x()), model(x()))
    assert torch.equal(copy.deepcopy(model)(x()), model(x()))


def test_a_pattern_names_a_layer_or_one_of_its_matrices() -> None:
    model = Tagger(nn.LSTM, {})
    assert list(plan_schemes(model, Quantize(), "uint8")) == [
        "table",
        "core.weight_ih_l0",
        "core.weight_hh_l0",
        "head",
    ]
    assert list(plan_schemes(model, Quantize(keep_float=["core"]), "uint8")) == ["table", "head"]
    plan = plan_schemes(
        model,
        Quantize(modules={"core": Scheme(weights="int4"), "*_hh_*": Scheme(weights="float")}),
        "uint8",
    )
    assert {name: scheme.weights for name, scheme in plan.items()} == {
        "table": "int8",
        "core.weight_ih_l0": "int4",
        "head": "int8",
    }
    partly = calibrated(nn.LSTM, {}, keep_float=["*_hh_*"])
    assert isinstance(partly.core.weight_hh_l0, nn.Parameter)
    torch.testing.assert_close(convert_model(partly)(x()), partly(x()), atol=1e-5, rtol=1e-4)


@kinds
@pytest.mark.parametrize("name", registry.names("sensitivities"))
def test_a_search_looks_at_each_matrix(kind: Any, name: str) -> None:
    import numpy as np

    from limbeck.tasks import Batch

    model = prepared(kind, {}, "float")
    units = torch.ones(B, T)
    probe = JudgedModel(
        model, [Batch({"x": x()}, None, units.long(), units.bool(), np.arange(B))], ("int8", "int2")
    )
    found = registry.create("sensitivities", name)(probe)
    assert list(found) == ["table", "core.weight_ih_l0", "core.weight_hh_l0", "head"]
    assert all(0 <= row["int8"] < row["int2"] for row in found.values())


def test_what_no_graph_holds_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"`core` is an LSTM with a projection \(proj_size\), which no graph holds\. Name it in `keep_float`",
    ):
        plan_schemes(Tagger(nn.LSTM, {"proj_size": 4}), Quantize(), "uint8")
    packed = nn.utils.rnn.pack_padded_sequence(vectors(), torch.tensor([6, 4, 2]), batch_first=True)
    with pytest.raises(ValueError, match="reads a packed sequence, or one without rows"):
        prepared(nn.GRU, {}).core(packed)


def test_a_plain_recurrent_network_is_no_choice() -> None:
    with pytest.raises(
        ValueError,
        match=r"asks for `core`, of the type RNN, whose weights cannot be quantized.*LSTM, GRU",
    ):
        plan_schemes(Tagger(nn.RNN, {}), Quantize(modules={"core": Scheme()}), "uint8")
