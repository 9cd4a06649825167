"""What every network of texts keeps: its shapes, that padding and neighbours say nothing, and an artifact that computes in integers what the fake-quantized model computes."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import logits, stirred, tokens
from torch import nn

from limbeck.artifact.proof.golden import relative_error
from limbeck.artifact.runtimes import open_graph
from limbeck.core import registry
from limbeck.exporters.onnx_graph import to_onnx
from limbeck.exporters.onnx_ops import dynamic_quantize_linear
from limbeck.models import networks
from limbeck.models.anatomy.layers import blocks
from limbeck.models.networks.ngrams import CONTEXT, GAIN, MOST_BUCKETS, MULTIPLIER
from limbeck.models.running import run_model
from limbeck.models.taps import hidden_of
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.conversion import convert_model
from limbeck.quantization.plan import plan_schemes
from limbeck.quantization.prepare import prepare_model
from limbeck.recipe.model import Quantize
from limbeck.tasks import Batch

NAMES = [name for name in registry.names("networks") if networks.reads_texts(name)]
TOY = {"ngrams": {"width": 8, "buckets": 256}}
V = 5
VOCABULARY = 60
contract = pytest.mark.parametrize("name", NAMES)
by_answers = pytest.mark.parametrize("answers_words", [False, True])


@cache
def built(name: str, answers_words: bool) -> nn.Module:
    torch.manual_seed(0)
    shape = {"vocabulary": VOCABULARY, "answers_words": answers_words}
    return stirred(networks.build(name, TOY.get(name, {}), V, shape)).eval()


@contract
@by_answers
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_a_network_takes_texts_of_any_length(name: str, answers_words: bool, length: int) -> None:
    found = logits(built(name, answers_words), tokens(3, length))
    assert found.shape == ((3, length, V) if answers_words else (3, V))
    assert torch.isfinite(found).all()


@contract
@by_answers
def test_padding_and_neighbours_change_nothing(name: str, answers_words: bool) -> None:
    model = built(name, answers_words)
    batch = tokens(4, 24)
    together = logits(model, batch)
    for row in range(4):
        length = int(batch["attention_mask"][row].sum())
        alone = logits(model, {key: value[[row], :length] for key, value in batch.items()})
        seen = together[row, :length] if answers_words else together[row]
        torch.testing.assert_close(seen, alone[0], rtol=1e-5, atol=1e-6)


@contract
@by_answers
def test_a_network_has_layers_that_losses_find(name: str, answers_words: bool) -> None:
    model = built(name, answers_words)
    positions = torch.tensor([[0, 5], [3, 7]]) if answers_words else None
    mask = torch.ones(2, 2 if answers_words else 1, dtype=torch.bool)
    batch = Batch(tokens(2, 12), positions, None, mask, np.arange(2))
    with torch.no_grad():
        outputs = run_model(model, batch, hidden_of(blocks(model)))
    assert outputs.logits.shape == (*mask.shape, V)
    assert all(value.shape[:2] == mask.shape for value in outputs.hidden.values())


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, bool], tuple[Path, nn.Module]]:
    @cache
    def graph(name: str, answers_words: bool) -> tuple[Path, nn.Module]:
        torch.manual_seed(0)
        shape = {"vocabulary": VOCABULARY, "answers_words": answers_words}
        model = stirred(networks.build(name, TOY.get(name, {}), V, shape)).eval()
        inputs = tokens(16, 20)
        prepare_model(
            model, plan_schemes(model, Quantize(), "uint8"), "minmax", lambda m: m(**inputs)
        )
        calibrate(model, [lambda m: m(**inputs)])
        path = tmp_path_factory.mktemp(name) / "model.onnx"
        to_onnx(
            convert_model(model), tokens(4, 9), path, dynamic_translation=dynamic_quantize_linear
        )
        return path, model

    return graph


@contract
@by_answers
@pytest.mark.parametrize("name_of_runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("length", [3, 33])
def test_the_artifact_s_graph_answers_as_the_fake_quantized_model(
    exported: Callable[[str, bool], tuple[Path, nn.Module]],
    name: str,
    answers_words: bool,
    name_of_runtime: str,
    length: int,
) -> None:
    pytest.importorskip(name_of_runtime)
    path, model = exported(name, answers_words)
    inputs = tokens(32, length, seed=9)
    expected = logits(model, inputs).numpy()
    found = open_graph(path, name_of_runtime, 1)(
        {key: value.numpy() for key, value in inputs.items()}
    )
    counted = inputs["attention_mask"].numpy() > 0 if answers_words else slice(None)
    assert relative_error(found[counted], expected[counted]) < 0.02


def hashed(ids: list[int], buckets: int) -> int:
    """The row of a piece in the table of its length."""
    code = 0
    for each in ids:
        code = (code * MULTIPLIER + each) % buckets
    return code


def bag(model: nn.Module, ids: list[int], begin: range, buckets: int, longest: int) -> np.ndarray:
    """Every piece that begins in a range, counted one by one."""
    table = model.blocks[0].embedding.weight.detach().double().numpy()
    rows = [
        hashed(ids[start : start + length], buckets) + (length - 1) * buckets
        for start in begin
        for length in range(1, longest + 1)
        if start + length <= len(ids)
    ]
    total = table[rows].sum(0) if rows else np.zeros(table.shape[1])
    return GAIN * total / max(1, len(rows)) ** 0.5


def test_a_text_is_the_sum_of_its_pieces() -> None:
    model = built("ngrams", False)
    ids = [3, 9, 14, 3, 7, 7, 22]
    hidden = bag(model, ids, range(len(ids)), 256, 5)
    layer = model.classifier
    expected = layer.weight.detach().double().numpy() @ hidden + layer.bias.detach().numpy()
    given = torch.tensor([ids])
    found = logits(model, {"input_ids": given, "attention_mask": torch.ones_like(given)})
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_a_word_is_read_beside_its_neighbours() -> None:
    model = built("ngrams", True)
    ids = [3, 9, 14, 3, 7, 3, 22, 8]  # three words, each with its mark
    words = [range(3), range(3, 5), range(5, 8)]
    given = torch.tensor([ids])
    with torch.no_grad():
        found = model.blocks[0](given, torch.ones_like(given))[0]
    for number, places in enumerate(words):
        beside = [number + distance for distance in CONTEXT]
        expected = np.concatenate(
            [bag(model, ids, words[n] if 0 <= n < 3 else range(0), 256, 5) for n in beside]
        )
        for place in places:
            np.testing.assert_allclose(found[place], expected, rtol=1e-4, atol=1e-5)


def test_codes_fit_in_32_bits() -> None:
    """OpenVINO computes whole numbers of 64 bits in 32."""
    assert (MOST_BUCKETS - 1) * MULTIPLIER + 20_000 < 2**31
