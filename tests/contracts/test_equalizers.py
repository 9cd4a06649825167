"""What every rewrite keeps: the float function, a model's saved weights, and integer kernels. A new file in equalizers/ is tested here as it is.

A rewrite that finds nothing to do in a model says so by name; one that finds nothing in any model of this file fails.
"""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import bert, cnn, logits, pixels, stirred, tokens
from torch import nn

from limbeck.artifact.proof.golden import relative_error
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.models.anatomy.dataflow import Flow
from limbeck.models.weights import model_state, restore_state
from limbeck.quantization.after_training import quantize_after_training
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.equalizers import Correction, Equalizer
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize

Inputs = dict[str, torch.Tensor]
NAMES = registry.names("equalizers")


def network(name: str, width: float) -> nn.Module:
    torch.manual_seed(0)
    return stirred(registry.create("networks", name, {"width": width}).build(5, 1))


def vit() -> nn.Module:
    """Layer norms stand before the layers that read them."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=28, patch_size=7, num_channels=1,
        num_labels=5, attn_implementation="eager", initializer_range=0.3,
    )  # fmt: skip
    return stirred(ViTForImageClassification(config))


class Perceptron(nn.Module):
    """Linear layers with ReLUs between, one of them without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 16, bias=False),
            nn.ReLU(),
            nn.Linear(16, 5),
        )

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return self.layers(pixel_values)


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return stirred(Perceptron())


MODELS: dict[str, tuple[Any, Inputs]] = {
    "bert": (bert, tokens(6, 11)),
    "cnn": (cnn, pixels(6)),
    "perceptron": (perceptron, pixels(6)),
    "resnet18": (lambda: network("resnet18", 8), pixels(6, 12)),
    "mobilenet_v2": (lambda: network("mobilenet_v2", 0.25), pixels(6, 12)),
    "vit": (vit, pixels(6, 28)),
}


def calls(inputs: Inputs) -> list[Any]:
    """Two forwards over the rows."""
    halves = [
        {name: value[part] for name, value in inputs.items()}
        for part in (slice(0, 3), slice(3, None))
    ]
    return [lambda model, half=half: model(**half) for half in halves]


def prepared(
    kind: str, equalizers: list[Equalizer], activations: str = "uint8", **keys: Any
) -> tuple[nn.Module, Flow]:
    build, inputs = MODELS[kind]
    model = build()
    schemes = plan_schemes(model, Quantize(**keys), activations)
    return model, prepare_model(model, schemes, "minmax", calls(inputs)[0], equalizers=equalizers)


def rewritten(kind: str, name: str, activations: str = "uint8") -> nn.Module:
    """A model after `name`, its quantizers off."""
    equalizer = registry.create("equalizers", name)
    model, flow = prepared(kind, [equalizer], activations)
    forwards = calls(MODELS[kind][1])
    if isinstance(equalizer, Correction):
        equalizer.observe(model, flow, forwards)
    equalizer.apply(model, flow, forwards)
    return model.eval()


def settled(kind: str, name: str, activations: str = "uint8", **keys: Any) -> nn.Module:
    chosen = [registry.create("equalizers", name)]
    model, flow = prepared(kind, chosen, activations, **keys)
    quantize_after_training(model, flow, calls(MODELS[kind][1]), equalizers=chosen)
    return model.eval()


@cache
def refusal(kind: str, name: str) -> str:
    """What a rewrite says of a model that it has nothing to do for."""
    try:
        prepared(kind, [registry.create("equalizers", name)])
    except ValueError as error:
        return str(error)
    return ""


TAKEN = [(kind, name) for name in NAMES for kind in MODELS if not refusal(kind, name)]
# A correction runs every layer once more, 1 to 3 s a test; smaller networks have it by default.
SLOW = [("mobilenet_v2", "bias_correction"), ("resnet18", "bias_correction")]
taken = pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (case in SLOW)) for case in TAKEN],
)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_a_rewrite_takes_a_model_or_says_why_it_has_nothing_to_do(name: str) -> None:
    assert any(each == name for _, each in TAKEN)
    for said in filter(None, (refusal(kind, name) for kind in MODELS)):
        assert said.startswith(f"quantize.equalize: {name} finds no ")
        assert "Leave it out" in said


@taken
@pytest.mark.parametrize("activations", ["uint8", "float"])
def test_with_quantizers_off_the_function_is_unchanged(
    kind: str, name: str, activations: str
) -> None:
    if activations == "float" and name == "smoothquant":
        with pytest.raises(
            ValueError, match="smoothquant finds no linear layer whose activations are quantized"
        ):
            rewritten(kind, name, activations)
        return
    model = rewritten(kind, name, activations)
    build, inputs = MODELS[kind]
    expected = logits(build(), inputs)
    assert difference(logits(model, inputs), expected) <= 1e-5
    other = {
        key: value.flip(0) + (0.5 if value.is_floating_point() else 0)
        for key, value in inputs.items()
    }  # rows that it did not see
    assert difference(logits(model, other), logits(build(), other)) <= 1e-5


@taken
def test_arranging_alone_changes_nothing(kind: str, name: str) -> None:
    model, _ = prepared(kind, [registry.create("equalizers", name)])
    bare, _ = prepared(kind, [])
    assert (
        difference(logits(model.eval(), MODELS[kind][1]), logits(bare.eval(), MODELS[kind][1]))
        <= 1e-6
    )


@taken
def test_a_rewrite_changes_what_the_integers_stand_for(kind: str, name: str) -> None:
    bare, flow = prepared(kind, [])
    quantize_after_training(bare, flow, calls(MODELS[kind][1]))
    assert (
        difference(
            logits(settled(kind, name), MODELS[kind][1]), logits(bare.eval(), MODELS[kind][1])
        )
        > 1e-5
    )


@taken
def test_the_same_rows_give_the_same_values(kind: str, name: str) -> None:
    first, second = model_state(settled(kind, name)), model_state(settled(kind, name))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


@taken
def test_saved_weights_find_their_place_again(kind: str, name: str) -> None:
    model = settled(kind, name)
    tensors = {key: tensor.clone() for key, tensor in model_state(model).items()}
    fresh, _ = prepared(kind, [registry.create("equalizers", name)])
    restore_state(fresh, tensors)
    assert torch.equal(logits(fresh.eval(), MODELS[kind][1]), logits(model, MODELS[kind][1]))


@taken
def test_a_rewrite_leaves_no_hook_behind_and_keeps_the_mode(kind: str, name: str) -> None:
    chosen = [registry.create("equalizers", name)]
    model, flow = prepared(kind, chosen)
    quantize_after_training(model.train(), flow, calls(MODELS[kind][1]), equalizers=chosen)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


EXPORTED = [(kind, name, "uint8") for kind, name in TAKEN if kind not in ("mobilenet_v2", "vit")]
EXPORTED += [("perceptron", name, "uint8-dynamic") for kind, name in TAKEN if kind == "perceptron"]
# One of each equalizer by default, on the model that is traced fastest; the others in the slow tests.
FASTEST = ("cnn", "perceptron", "resnet18", "bert")
AT_ONCE = {
    each[1]: each
    for each in sorted(EXPORTED, key=lambda each: FASTEST.index(each[0]), reverse=True)
}.values()


@pytest.mark.parametrize(
    ("kind", "name", "activations"),
    [pytest.param(*each, marks=[pytest.mark.slow] * (each not in AT_ONCE)) for each in EXPORTED],
)
def test_the_artifact_s_graph_answers_as_the_model_does(
    kind: str, name: str, activations: str, tmp_path: Path
) -> None:
    """In integer kernels, which the export counts."""
    model = settled(kind, name, activations)
    inputs = MODELS[kind][1]
    converted = convert_model(model)
    expected = logits(model, inputs)
    assert difference(logits(converted, inputs), expected) <= 1e-5
    registry.create("exporters", "onnx").export(converted, inputs, tmp_path)
    found = open_graph(tmp_path / "model.onnx", "onnxruntime", 1)(
        {key: value.numpy() for key, value in inputs.items()}
    )
    assert relative_error(found, expected.numpy()) < 0.02
    assert (found.argmax(-1) != expected.numpy().argmax(-1)).sum() <= 1


@pytest.mark.parametrize("kind", ["bert", "perceptron", "vit"])
def test_rewrites_go_together_in_any_order(kind: str) -> None:
    """All that take the model, forwards and backwards: the float function stays, weights are restored, a copy converts."""
    names = [
        name for name in NAMES if not refusal(kind, name) and name != "cross_layer"
    ]  # which stands first, or is refused
    build, inputs = MODELS[kind]
    first = ["cross_layer"] if not refusal(kind, "cross_layer") else []
    for order in (first + names, first + names[::-1]):
        chosen = [registry.create("equalizers", name) for name in order]
        model, flow = prepared(kind, chosen)
        for equalizer in chosen:
            if not isinstance(equalizer, Correction):
                equalizer.apply(model, flow, calls(inputs))
        assert difference(logits(model.eval(), inputs), logits(build(), inputs)) <= 1e-5
        quantize_after_training(
            model,
            flow,
            calls(inputs),
            equalizers=[each for each in chosen if isinstance(each, Correction)],
        )
        fresh, _ = prepared(kind, [registry.create("equalizers", name) for name in order])
        restore_state(fresh, {key: tensor.clone() for key, tensor in model_state(model).items()})
        assert torch.equal(logits(fresh.eval(), inputs), logits(model.eval(), inputs))
        assert difference(logits(convert_model(model), inputs), logits(model, inputs)) <= 1e-5


def test_cross_layer_after_a_change_of_basis_is_refused() -> None:
    with pytest.raises(ValueError, match="cross_layer scales channels as layers make them"):
        prepared(
            "perceptron",
            [registry.create("equalizers", name) for name in ("hadamard", "cross_layer")],
        )


class Tied(nn.Module):
    """A linear layer that holds the table of the embedding, as language models' heads do, and one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.head = (
            nn.Embedding(60, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 60),
        )
        self.head.weight = self.table.weight

    def forward(self, input_ids: torch.Tensor) -> Any:
        return self.head(self.inner(self.table(input_ids)))


class Again(nn.Module):
    """A layer that runs twice, one whose output is added elsewhere without a module, and ReLUs between that scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.third, self.last = (
            nn.Linear(64, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 5),
        )
        self.relu = nn.ReLU()

    def forward(self, pixel_values: torch.Tensor) -> Any:
        x = self.twice(self.twice(self.first(pixel_values.flatten(1))))
        y = self.third(x)
        return self.last(x + self.relu(y) + torch.cat([y[:, 8:], y[:, :8]], 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("build", "inputs"),
    [(Tied, {"input_ids": tokens(6, 11)["input_ids"]}), (Again, pixels(6))],
    ids=["tied", "again"],
)
def test_what_others_use_too_is_left_alone(
    name: str, build: Any, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built() -> nn.Module:
        torch.manual_seed(0)
        return stirred(build())

    monkeypatch.setitem(MODELS, "other", (built, inputs))
    if name == "cross_layer":
        with pytest.raises(ValueError, match="cross_layer finds no"):
            rewritten("other", name)
        return
    model = rewritten("other", name)
    assert difference(logits(model, inputs), logits(built(), inputs)) <= 1e-5


def test_a_copy_is_rewritten_alone() -> None:
    """Nothing of a rewrite lies outside the model."""
    model, flow = prepared("bert", chosen := [registry.create("equalizers", "smoothquant")])
    other = copy.deepcopy(model)
    quantize_after_training(model, flow, calls(MODELS["bert"][1]), equalizers=chosen)
    assert (
        difference(logits(other.eval(), MODELS["bert"][1]), logits(bert(), MODELS["bert"][1]))
        <= 1e-6
    )
    assert np.isfinite(logits(model.eval(), MODELS["bert"][1]).numpy()).all()
