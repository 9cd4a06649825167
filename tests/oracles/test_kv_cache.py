"""`quantize.kv_cache: int8`: the model, the graph and slow numpy round keys and values alike."""

from functools import partial
from pathlib import Path
from typing import Any

import gguf_toys as toys
import numpy as np
import pytest
import torch
from generation_artifacts import logits_of, task_of, trained, write_artifact
from test_decoder_graph import CASES, model_of
from test_decoder_graph import quantized as with_codes
from torch import nn

import limbeck
from limbeck.artifact.generation.answering import Asked
from limbeck.artifact.generation.onnx_decoder import OnnxDecoder
from limbeck.artifact.generation.sampling import Sampling
from limbeck.artifact.generation.text_model import text_model_of
from limbeck.artifact.runtimes import open_graph
from limbeck.exporters.onnx_decoder import export_decoder
from limbeck.exporters.requirements import why_other_kv_cache
from limbeck.exporters.writing import read_with, write_graphs
from limbeck.models.generation.batched import Decoding, Prompt, generate
from limbeck.pipeline.preflight.compatibility import check_components, mismatches
from limbeck.quantization.after_training import calibrate
from limbeck.quantization.last_bits import readers
from limbeck.quantization.modules import kv_cache
from limbeck.quantization.modules.kv_cache import KeptInInt8, attach, cache_format
from limbeck.recipe.reading import parse

IDS = torch.tensor([[5, 77, 200, 3, 9, 120, 44, 45, 46, 200, 1, 2]])


def run(model: nn.Module, ids: torch.Tensor = IDS) -> Any:
    return model(input_ids=ids, use_cache=False)


def values(model: nn.Module, ids: torch.Tensor = IDS) -> np.ndarray:
    with torch.no_grad():
        return run(model, ids).logits.numpy()


def rounding(model: nn.Module) -> nn.Module:
    attach(model, run)
    calibrate(model, [run])
    return model


def slow(head: np.ndarray) -> np.ndarray:
    """One head of one token: the nearest of 255 multiples of its largest number's 127th."""
    scale = np.float32(np.abs(head).max()) / np.float32(127)
    codes = np.array([float(np.round(np.float32(x) / scale)) for x in head])
    return codes * float(np.float16(scale))


def test_a_head_of_a_token_has_a_scale_of_its_own() -> None:
    heads = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(3)) * 7
    heads[1, 2, 4] *= 1000
    kept = KeptInInt8()
    assert torch.equal(kept(heads), heads)
    kept.calibrated.fill_(True)
    found = kept(heads).reshape(-1, 8).numpy()
    expected = np.stack([slow(head) for head in heads.reshape(-1, 8).numpy()])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # Its largest number is on the highest level, however large its neighbours are.
    steps = np.abs(found).max(1) / np.abs(heads.reshape(-1, 8).numpy()).max(1)
    np.testing.assert_allclose(steps, 1, atol=1e-3)


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    model = model_of("llama")
    run(model).logits[..., 7].sum().backward()
    exact = model.model.layers[0].self_attn.k_proj.weight.grad.clone()
    model.zero_grad()
    rounding(model)
    run(model).logits[..., 7].sum().backward()
    found = model.model.layers[0].self_attn.k_proj.weight.grad
    similarity = torch.cosine_similarity(found.flatten(), exact.flatten(), 0)
    assert 0.99 < similarity < 1 and not torch.equal(found, exact)


def test_a_model_rounds_from_its_calibration_on_and_its_weights_remember() -> None:
    model = model_of("llama")
    exact = values(model)
    attach(model, run)
    np.testing.assert_allclose(values(model), exact, atol=1e-5)
    calibrate(model, [run])
    rounded = values(model)
    assert 1e-3 < np.abs(rounded - exact).max() < 0.1 * exact.std()
    other = model_of("llama")
    attach(other, run)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(values(other), rounded)
    assert (cache_format(model), cache_format(model_of("llama"))) == ("int8", "float")
    # What is proven of an artifact knows that such roundings may fall the other way.
    assert [type(each) for each in readers(model)] == [KeptInInt8, KeptInInt8]


@pytest.mark.parametrize("name", CASES)
def test_the_graph_keeps_what_the_model_reads(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    codes = with_codes(model, 8)
    in_float = values(model)[0]
    expected = values(rounding(model))[0]
    assert np.abs(expected - in_float).max() > 1e-3
    path = export_decoder(model, tmp_path, codes, kv_cache="int8")
    decoder = OnnxDecoder(path, 48)
    ids = IDS[0].numpy()
    cache = decoder.cache(30)
    steps = [decoder.logits(ids[:5], cache)]
    steps += [decoder.logits(ids[place : place + 1], cache) for place in range(5, len(ids))]
    assert np.abs(np.concatenate(steps) - expected).max() < 1e-5
    # The tokens that were read and nothing behind them.
    assert {len(np.unique(np.nonzero(each.numpy())[2])) for each in cache.buffers} == {len(ids)}
    # Another runtime's call, of two texts at once, of which one is shorter.
    pair = torch.stack([IDS[0], IDS[0].flip(0)])
    mask = np.ones(pair.shape, np.int64)
    mask[1, 8:] = 0
    both = open_graph(path, "onnxruntime", 1)({"input_ids": pair.numpy(), "attention_mask": mask})
    assert np.abs(both[0] - expected).max() < 1e-5
    assert np.abs(both[1, :8] - values(model, pair[1:, :8])[0]).max() < 1e-5


def test_heads_of_zeros_stay_zeros(tmp_path: Path) -> None:
    model = model_of("llama")
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight.zero_()
        model.model.layers[1].self_attn.k_proj.weight.mul_(1e-9)
    expected = values(rounding(model))[0]
    decoder = OnnxDecoder(export_decoder(model, tmp_path, kv_cache="int8"), 48)
    found = decoder.logits(IDS[0].numpy(), decoder.cache(12))
    assert np.isfinite(expected).all() and np.abs(found - expected).max() < 1e-5


def test_a_cache_takes_a_quarter_of_the_bytes(tmp_path: Path) -> None:
    model = model_of("llama-biased")
    sizes = {}
    for kept in ("float", "int8"):
        path = export_decoder(model, tmp_path / kept, kv_cache=kept)
        buffers = OnnxDecoder(path, 48).cache(48).buffers
        sizes[kept] = sum(each.numpy().nbytes for each in buffers)
    # Heads of 32: as many bytes and a scale of two, in place of four bytes for each.
    assert sizes["int8"] / sizes["float"] == 34 / 128
    with pytest.raises(ValueError, match=r"kv_cache: 'int4' is not known"):
        export_decoder(model, tmp_path, kv_cache="int4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.toy_folder(tmp_path_factory.mktemp("toy"), "llama")


def test_an_artifact_writes_what_the_model_writes(folder: Path, tmp_path: Path) -> None:
    model = trained(folder, kv_cache="int8")
    ids = [5, 77, 200, 3, 9, 120, 44]
    assert np.abs(logits_of(model, ids) - logits_of(trained(folder), ids)).max() > 1e-3
    artifact = write_artifact(model, task_of(folder), ["onnx"], tmp_path / "artifact")
    writer = text_model_of(limbeck.load(artifact))
    assert writer is not None
    prompt = writer.prompt_of_messages([{"role": "user", "content": "order number"}])
    pieces = writer.answer(prompt, Asked(max_tokens=12, end_ids=()))
    text = "".join(piece.text for piece in pieces)
    generator = np.random.default_rng(0)
    decoding = Decoding(Sampling(temperature=0), 12, (), 0, 128)
    (tokens,) = generate(model, [Prompt(prompt, generator)], decoding)
    assert len(tokens) == 12 and text == writer.tokenizer.decode(tokens)


def test_other_files_are_refused_before_and_after(folder: Path, tmp_path: Path) -> None:
    text = (
        "task: text-generation\ndata: {source: jsonl, path: x}\nstudent: {model: y}\n"
        "quantize: {kv_cache: int8}\nexport: [onnx, gguf, openvino_genai]\n"
    )
    told = [str(each.message) for each in mismatches(parse(text))]
    assert len(told) == 2
    assert "`--cache-type-k q8_0 --cache-type-v q8_0`" in told[0] and "`gguf` out" in told[0]
    assert "`openvino_genai` writes no model that keeps keys and values in int8" in told[1]
    with pytest.raises(ValueError, match=r"export\.1: `gguf` writes no model that keeps"):
        check_components(parse(text.replace(", openvino_genai", "")))
    check_components(parse(text.replace(", gguf, openvino_genai", "")))
    assert why_other_kv_cache("gguf", "float") is None
    model = trained(folder, kv_cache="int8")
    ids = torch.arange(6).reshape(2, 3)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with pytest.raises(ValueError, match=r"`gguf` writes no model that keeps keys and values"):
        write_graphs(model, ["gguf"], inputs, tmp_path, read_with(task_of(folder)))
    assert not list(tmp_path.iterdir())


def test_tasks_without_a_cache_refuse_the_key() -> None:
    recipe = parse(
        "task: text-classification\ndata: {source: csv, path: x}\nstudent: {model: y}\n"
        "quantize: {kv_cache: int8}\n"
    )
    with pytest.raises(ValueError, match=r"quantize\.kv_cache: .*keeps no keys and values") as told:
        check_components(recipe)
    assert "Leave `kv_cache` out, or take `task: text-generation`" in str(told.value)


def test_attention_in_integers_is_refused_of_models_that_write() -> None:
    text = (
        "task: text-generation\ndata: {source: jsonl, path: x}\nstudent: {model: y}\n"
        "quantize: {attention: uint8}\n"
    )
    with pytest.raises(ValueError, match=r"quantize\.attention: .*no place for products") as told:
        check_components(parse(text))
    assert "`kv_cache: int8`" in str(told.value)
    check_components(parse(text.replace("attention: uint8", "attention: float")))


def test_a_model_whose_attention_lies_elsewhere_is_refused() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Linear(2, 2)

    forward = partial(lambda model: None)
    with pytest.raises(ValueError, match=r"quantize\.kv_cache: the attention of `Plain`.*Llama"):
        kv_cache.attach(Plain(), forward)
