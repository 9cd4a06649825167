"""Graphs of decoders with a cache: torch's logits at every step, from integers that lie in the file once."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_decoder import byte_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from limbeck.artifact.generation.answering import Asked, answer  # noqa: E402
from limbeck.artifact.generation.onnx_decoder import OnnxDecoder  # noqa: E402
from limbeck.artifact.generation.sampling import Sampling  # noqa: E402
from limbeck.exporters.onnx_decoder import export_decoder, read_codes  # noqa: E402
from limbeck.exporters.onnx_decoder_nodes import pack, unpack  # noqa: E402

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 48,
}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 259, "n_positions": 48}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
ENDS = {"bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
CASES = ["llama", "llama-untied", "llama-biased", "qwen2", "gpt2"]


@dataclass(frozen=True)
class GroupCodes:
    codes: np.ndarray
    scales: np.ndarray
    bits: int


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    if name == "gpt2":
        made = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, **ENDS))
    elif name == "qwen2":
        config = transformers.Qwen2Config(**SIZES, **ENDS, tie_word_embeddings=True)
        made = transformers.Qwen2ForCausalLM(config)
    else:
        untied = {"rope_parameters": STRETCHED, "tie_word_embeddings": False}
        biased = {"attention_bias": True, "mlp_bias": True, "head_dim": 32}
        keys = {"llama-untied": untied, "llama-biased": biased}.get(name, {})
        config = transformers.LlamaConfig(**SIZES | ENDS | {"tie_word_embeddings": True} | keys)
        made = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        # Biases and norms begin at 0 and 1, which would hide one that is left out.
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made.eval()


def quantized(model: Any, bits: int) -> dict[str, GroupCodes]:
    """Codes of every weight matrix, which the model then computes with itself."""
    codes = {}
    top = 2 ** (bits - 1) - 1
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2 or "wpe" in name:
            continue
        is_transposed = name.startswith("transformer.h.")
        weight = parameter.detach().numpy()
        weight = weight.T if is_transposed else weight
        groups = weight.reshape(len(weight), -1, 32)
        # Below 0 where the largest is above: then all of [-8, 7] is used.
        largest = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)[..., 0]
        scales = (largest / -(top + (bits == 4))).astype(np.float16)
        rounded = np.round(groups / scales[..., None].astype(np.float32))
        whole = np.clip(rounded, -top - (bits == 4), top).astype(np.int8).reshape(weight.shape)
        codes[name] = GroupCodes(whole, scales, bits)
        values = whole * scales.astype(np.float32).repeat(32, 1)
        with torch.no_grad():
            parameter.copy_(torch.tensor(values.T if is_transposed else values))
    return codes


@cache
def exported(name: str, bits: int, folder: Path) -> tuple[Any, OnnxDecoder, dict[str, GroupCodes]]:
    model = model_of(name)
    codes = quantized(model, bits) if bits else {}
    path = export_decoder(model, folder / f"{name}-{bits}", codes)
    return model, OnnxDecoder(path, positions=48), codes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def logits_of(model: Any, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(ids[None])).logits[0].numpy()


@pytest.mark.parametrize("bits", [0, 8, 4])
@pytest.mark.parametrize("name", CASES)
def test_cached_logits_are_those_of_the_whole_text_in_torch(
    name: str, bits: int, folder: Path
) -> None:
    model, decoder, _ = exported(name, bits, folder)

    @settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(st.integers(0, 2**32), st.lists(st.integers(1, 9), min_size=1, max_size=5))
    def check(seed: int, parts: list[int]) -> None:
        ids = np.random.default_rng(seed).integers(0, 259, sum(parts))
        kept = decoder.cache(48)
        starts = np.cumsum([0, *parts[:-1]])
        steps = zip(starts, parts, strict=True)
        logits = [decoder.logits(ids[start : start + part], kept) for start, part in steps]
        np.testing.assert_allclose(np.concatenate(logits), logits_of(model, ids), atol=5e-6)

    check()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", CASES)
def test_the_integers_of_the_file_are_those_that_were_given(
    name: str, bits: int, folder: Path
) -> None:
    _, _, codes = exported(name, bits, folder)
    read = read_codes(folder / f"{name}-{bits}" / "model.onnx")
    assert read.keys() == codes.keys()
    for weight, (whole, scales, read_bits) in read.items():
        assert read_bits == bits
        np.testing.assert_array_equal(whole, codes[weight].codes)
        np.testing.assert_array_equal(scales.view(np.uint16), codes[weight].scales.view(np.uint16))


def test_no_weight_of_integers_lies_in_the_file_as_floats_or_twice(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    _, _, codes = exported("llama", 4, folder)
    graph = onnx.load(folder / "llama-4" / "model.onnx").graph
    assert max(np.prod(each.dims) for each in graph.initializer if each.data_type == 1) == 48 * 8
    packed = [each.name for each in graph.initializer if each.name.endswith(".codes")]
    assert sorted(packed) == sorted(f"{name}.codes" for name in codes)
    assert "lm_head.weight.codes" not in packed


@given(st.sampled_from([4, 8]), st.integers(0, 2**32))
def test_codes_are_packed_without_loss(bits: int, seed: int) -> None:
    half = 2 ** (bits - 1)
    codes = np.random.default_rng(seed).integers(-half, half, (3, 64)).astype(np.int8)
    np.testing.assert_array_equal(unpack(pack(codes, bits), bits), codes)


@pytest.mark.parametrize("penalty", [1.0, 1.4])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_greedy_answers_are_those_of_generate(name: str, penalty: float, folder: Path) -> None:
    model, decoder, _ = exported(name, 0, folder)
    prompt = [9, 250, 31, 8]
    expected = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, 4, dtype=torch.long),
        do_sample=False,
        max_new_tokens=30,
        repetition_penalty=penalty,
    )[0, 4:].tolist()
    asked = Asked(Sampling(repetition_penalty=penalty), max_tokens=30, end_ids=(256,))
    pieces = answer(decoder, byte_tokenizer(), prompt, asked)
    assert [piece.token for piece in pieces] == expected


def test_two_answers_in_turns_do_not_meet(folder: Path) -> None:
    _, decoder, _ = exported("qwen2", 4, folder)
    asked = Asked(Sampling(0.8, seed=4), max_tokens=12)
    prompts = ([1, 2, 3], [200, 7])
    alone = [list(answer(decoder, byte_tokenizer(), prompt, asked)) for prompt in prompts]
    streams = [answer(decoder, byte_tokenizer(), prompt, asked) for prompt in prompts]
    together = list(zip(*streams, strict=True))
    assert [list(each) for each in zip(*together, strict=True)] == alone


def test_activations_of_int8_are_near(folder: Path, tmp_path: Path) -> None:
    model, _, codes = exported("llama", 4, folder)
    decoder = OnnxDecoder(export_decoder(model, tmp_path, codes, "int8"), positions=48)
    ids = np.arange(20)
    difference = decoder.logits(ids, decoder.cache(20)) - logits_of(model, ids)
    # Rounded activations: not the same, and not another model.
    assert 1e-5 < np.abs(difference).mean() < 0.02 * logits_of(model, ids).std()


def test_genai_is_told_the_names_and_sizes(folder: Path) -> None:
    exported("llama-biased", 0, folder)
    told = json.loads((folder / "llama-biased-0" / "genai_config.json").read_text())["model"]
    decoder = told["decoder"]
    assert (told["context_length"], told["vocab_size"], told["eos_token_id"]) == (48, 259, 256)
    assert (decoder["head_size"], decoder["num_key_value_heads"], decoder["hidden_size"]) == (32, 2, 64)  # fmt: skip
    assert decoder["inputs"]["past_key_names"] == "past_key_values.%d.key"


def test_what_is_not_written_is_refused(tmp_path: Path) -> None:
    model = model_of("llama")
    codes = quantized(model, 4)
    name = "model.layers.0.mlp.up_proj.weight"
    good = codes[name]

    def refused(told: str, given: dict[str, Any] | None = None, activations: str = "float") -> None:
        with pytest.raises(ValueError, match=told):
            export_decoder(model, tmp_path, given, activations)

    refused("activations: 'uint8' is not known", activations="uint8")
    refused("no such weight. Did you mean `model.norm.weight`", {"model.norms.weight": good})
    refused("3 bits are not written", {name: GroupCodes(good.codes, good.scales, 3)})
    refused("codes of 96 x 32 for a weight", {name: GroupCodes(good.codes[:, :32], good.scales, 4)})
    refused("groups of 32", {name: GroupCodes(good.codes, good.scales[:, :1], 4)})
    twice = {each: codes["model.embed_tokens.weight"] for each in ("lm_head.weight", "model.embed_tokens.weight")}  # fmt: skip
    refused("one table", twice)
    model.config.hidden_act = "relu"
    refused("activation `relu` is not written")
    model.config.hidden_act = "silu"
    model.config.sliding_window = 8
    refused("window of 8 tokens")
    model.config.model_type = "bloom"
    refused("the architecture `bloom`")
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_told(folder: Path, tmp_path: Path) -> None:
    _, decoder, _ = exported("llama", 0, folder)
    with pytest.raises(ValueError, match="49 tokens, prompt and answer together"):
        decoder.cache(49)
    kept = decoder.cache(4)
    decoder.logits(np.array([1, 2, 3]), kept)
    with pytest.raises(ValueError, match="2 tokens after 3: the cache holds 4"):
        decoder.logits(np.array([1, 2]), kept)
    for each in (-1, 259):
        with pytest.raises(ValueError, match="not among the model's 259 tokens"):
            decoder.logits(np.array([each]), kept)
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="does not open it"):
        OnnxDecoder(broken, 48)
