"""Pruned channels against the same network with those channels silenced; every network of ours narrower, through its folder, and in integers.

The tests need torch-pruning, which the extra `dev` installs.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.tiny_models import bert, cnn, logits, pixels, stirred
from surgical import IMAGES, cut
from torch import nn

from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.models.folders import load_model, save_model
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize

pytest.importorskip(
    "torch_pruning", reason="torch-pruning is not installed: pip install 'limbeck[prune]'"
)

NETWORKS: dict[str, dict[str, Any]] = {
    "small_cnn": {"width": 8, "depth": 2}, "resnet18": {"width": 8}, "resnet50": {"width": 4}, "mobilenet_v2": {"width": 0.25},
}  # fmt: skip


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return stirred(registry.create("networks", name, NETWORKS[name]).build(5, 1))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("importance", ["magnitude", "gradient"])
def test_a_narrower_network_answers_as_the_same_one_with_channels_silenced(importance: str) -> None:
    """A channel whose norm gives 0 is 0 behind the ReLU, and so of no weight to the next layer."""
    whole = cnn(8)
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    student = cut("prune_channels", {"share": 0.5, "importance": importance}, whole, IMAGES).student
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())
    assert all(
        parameter.grad is None for model in (whole, student) for parameter in model.parameters()
    )
    for block, width in enumerate((4, 8, 16)):
        own: Any = student.get_submodule(f"blocks.{block}.1")
        norm: Any = whole.get_submodule(f"blocks.{block}.1")
        assert own.num_features == len(own.weight) == width
        lost = ~torch.isin(norm.weight, own.weight)
        assert int(lost.sum()) == width
        with torch.no_grad():
            norm.weight[lost], norm.bias[lost] = 0, 0
    torch.testing.assert_close(
        logits(student, pixels(3)), logits(whole, pixels(3)), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(logits(student, pixels(3)), logits(cnn(8), pixels(3)))


@pytest.mark.parametrize("importance", ["magnitude", "gradient"])
def test_channels_that_hardly_count_go(importance: str) -> None:
    whole = cnn(8)
    faint = torch.tensor([0, 3, 4, 7])
    with torch.no_grad():
        for name, axis in (
            ("blocks.0.0.weight", 0),
            ("blocks.0.1.weight", 0),
            ("blocks.0.1.bias", 0),
            ("blocks.1.0.weight", 1),
        ):
            whole.get_parameter(name).index_copy_(
                axis, faint, 1e-3 * whole.get_parameter(name).index_select(axis, faint)
            )
    student = cut("prune_channels", {"share": 0.5, "importance": importance}, whole, IMAGES).student
    kept = torch.tensor([1, 2, 5, 6])
    assert torch.equal(
        student.get_parameter("blocks.0.1.weight"), whole.get_parameter("blocks.0.1.weight")[kept]
    )


# The deepest networks take 5 to 8 s each to trace.
DEEP = ("mobilenet_v2", "resnet50")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEP)) for name in NETWORKS],
)
def test_a_network_survives_its_folder_and_is_exported(name: str, tmp_path: Path) -> None:
    whole = network(name)
    student = cut("prune_channels", {"share": 0.5}, whole, IMAGES).student
    assert count(student) < 0.4 * count(whole)
    header = {"name": name, "options": NETWORKS[name], "labels": 5, "channels": 1}
    save_model(
        student,
        tmp_path,
        network=header,
        preprocess_file="preprocess.json",
        text=IMAGES.task.preprocess,
    )
    loaded = load_model(tmp_path, IMAGES.task).eval()
    assert torch.equal(logits(loaded, pixels(3)), logits(student, pixels(3)))
    forward = partial(lambda model, **given: model(**given), **pixels(6))
    prepare_model(loaded, plan_schemes(loaded, Quantize(), "uint8"), "minmax", forward)
    calibrate(loaded, [forward])
    loaded.train()
    forward(loaded).sum().backward()
    loaded.eval()
    exporter = registry.create("exporters", "onnx")
    (file,) = exporter.export(convert_model(loaded), pixels(4), tmp_path).values()
    run = open_graph(tmp_path / file, "onnxruntime", 1)
    expected, answer = (
        logits(loaded, pixels(3, seed=9)).numpy(),
        run({"pixel_values": pixels(3, seed=9)["pixel_values"].numpy()}),
    )
    assert np.sqrt(np.mean((answer - expected) ** 2) / np.mean(expected**2)) < 0.02


def test_a_model_of_transformers_survives_its_folder(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_channels=1,
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate("abcde")),
    )
    student: Any = cut(
        "prune_channels", {"share": 0.5}, stirred(ResNetForImageClassification(config)), IMAGES
    ).student
    save_model(
        student,
        tmp_path,
        network=None,
        preprocess_file="preprocess.json",
        text=IMAGES.task.preprocess,
    )
    assert torch.equal(
        logits(load_model(tmp_path, IMAGES.task).eval(), pixels(3, 16)),
        logits(student, pixels(3, 16)),
    )


def test_channels_stay_in_multiples() -> None:
    student = cut(
        "prune_channels", {"share": 0.6, "multiple": 4}, network("small_cnn"), IMAGES
    ).student
    assert {
        module.out_channels % 4 for module in student.modules() if isinstance(module, nn.Conv2d)
    } == {0}


def test_the_whole_share_is_the_identity() -> None:
    student = cut("prune_channels", {"share": 1.0}, cnn(), IMAGES).student
    assert torch.equal(logits(student, pixels(3)), logits(cnn(), pixels(3)))


def test_what_cannot_be_pruned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="BertForTokenClassification has no convolution"):
        cut("prune_channels", {"share": 0.5}, bert())
    for keys, message in (
        ({"share": 0.0}, "share is 0.0"),
        ({"share": 1.5}, "share is 1.5"),
        ({"share": 0.5, "multiple": 0}, "multiple is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            registry.create("surgeries", "prune_channels", keys)
    monkeypatch.delitem(sys.modules, "torch_pruning")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"needs the package torch-pruning: pip install 'limbeck\[prune\]'"
    ):
        registry.create("surgeries", "prune_channels", {"share": 0.5})
