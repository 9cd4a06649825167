"""GGUF files against the package `gguf` and transformers: blocks, layouts, tokenizers, and the decoder in numpy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

pytest.importorskip("gguf")
pytest.importorskip("torch")
import gguf
import gguf_toys as toys
import torch
from transformers import AutoModelForCausalLM

from limbeck.artifact import group_codes
from limbeck.artifact.gguf import blocks, decoders, reference, writing
from limbeck.artifact.gguf import pre_tokenizers as splitting
from limbeck.artifact.gguf.file import read
from limbeck.artifact.gguf.file_tokenizer import tokenizer_of
from limbeck.artifact.gguf.folder import read_folder
from limbeck.artifact.gguf.rounding import rounded
from limbeck.artifact.gguf.tokenizer import vocabulary_of
from limbeck.artifact.group_codes import GroupCodes

KINDS = ("llama", "qwen2", "qwen3", "gpt2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    below = tmp_path_factory.mktemp("toys")
    return {kind: toys.toy_folder(below / kind, kind) for kind in KINDS}


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.integers(1, 3), st.integers(1, 3))
def test_blocks_are_read_by_the_package_as_codes_and_scales(
    seed: int, bits: int, rows: int, groups: int
) -> None:
    chance = np.random.default_rng(seed)
    low, high = group_codes.RANGES[bits]
    codes = chance.integers(low, high + 1, (rows, 32 * groups)).astype(np.int8)
    scales = chance.normal(size=(rows, groups)).astype(np.float16)
    weight = GroupCodes(codes, scales, bits)
    packed = blocks.pack(weight)
    kind = gguf.GGMLQuantizationType[blocks.TYPES[bits]]
    assert np.array_equal(gguf.dequantize(packed, kind), weight.values())
    back = blocks.unpack(packed, bits)
    assert np.array_equal(back.codes, codes) and back.codes.dtype == np.int8
    assert back.scales.tobytes() == scales.tobytes()


def test_blocks_are_those_that_ggml_rounds_to() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 96)).astype(np.float32)
    for bits, kind in ((8, gguf.GGMLQuantizationType.Q8_0), (4, gguf.GGMLQuantizationType.Q4_0)):
        theirs = gguf.quantize(weight, kind)
        assert np.array_equal(blocks.pack(blocks.unpack(theirs, bits)), theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_come_back_bit_for_bit(
    kind: str, bits: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    codes = toys.codes_of_folder(folders[kind], bits)
    path = tmp_path / "model.gguf"
    writing.write(folders[kind], codes, path)
    back = writing.codes_of(path)
    assert back.keys() == codes.keys()
    for name, weight in codes.items():
        assert np.array_equal(back[name].codes, weight.codes), name
        assert back[name].scales.tobytes() == weight.scales.tobytes(), name
    # The package reads the same file, and says the same of its tensors.
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    opened = read(path)
    assert theirs.keys() == opened.tensors.keys()
    for name, tensor in opened.tensors.items():
        assert theirs[name].tensor_type.name == tensor.type
        assert np.array_equal(
            gguf.dequantize(theirs[name].data, theirs[name].tensor_type), opened.values(name)
        )


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_transformers_reads_the_file_as_the_model(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    writing.write(folders[kind], {}, path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf").state_dict()
    ours = AutoModelForCausalLM.from_pretrained(folders[kind]).state_dict()
    assert theirs.keys() == ours.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_in_numpy_is_the_model(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders[kind]).eval()
    tokens = np.random.default_rng(3).integers(0, toys.VOCABULARY, 70)
    with torch.no_grad():
        expected = model(torch.tensor(tokens)[None]).logits[0].double()
    own = reference.of_folder(read_folder(folders[kind]))
    assert np.abs(own.logits(tokens) - expected.numpy()).max() < 2e-5
    nats, greedy = own.log_probabilities(tokens)
    theirs = expected.log_softmax(-1)[:-1].gather(1, torch.tensor(tokens[1:, None]))[:, 0]
    assert np.abs(nats - theirs.numpy()).max() < 2e-5
    assert np.array_equal(greedy, expected[:-1].argmax(-1).numpy())
    path = tmp_path / "model.gguf"
    writing.write(folders[kind], {}, path)
    assert np.array_equal(reference.of_file(read(path)).logits(tokens), own.logits(tokens))


def test_the_decoder_refuses_what_it_has_no_place_for(folders: dict[str, Path]) -> None:
    own = reference.of_folder(read_folder(folders["llama"]))
    with pytest.raises(ValueError, match=r"129 tokens up to number 0; the model takes 128 of 384"):
        own.hidden(np.zeros(129, int))
    with pytest.raises(ValueError, match=r"up to number 384"):
        own.hidden(np.array([384]))


def test_an_output_of_its_own_is_written_and_read(tmp_path: Path) -> None:
    folder = toys.toy_folder(tmp_path / "toy", "llama", tie_word_embeddings=False)
    path = tmp_path / "model.gguf"
    writing.write(folder, {}, path, others="float16")
    opened = read(path)
    assert opened.tensors["output.weight"].type == "F16"
    assert opened.tensors["output_norm.weight"].type == "F32"
    expected = read_folder(folder).values("lm_head.weight").astype(np.float16)
    assert np.array_equal(opened.values("output.weight"), expected.astype(np.float32))


def test_activations_are_rounded_as_a_loop_rounds_them() -> None:
    x = np.random.default_rng(5).normal(size=(2, 512)).astype(np.float32) * 3
    x[0, :32] = 0
    found = rounded(x, "Q4_0").reshape(-1, 32)
    for block, values in zip(found, x.reshape(-1, 32), strict=True):
        scale = max(abs(float(value)) for value in values) / 127
        kept = float(np.float16(scale))
        expected = [round(float(value) / scale) * kept if scale else 0.0 for value in values]
        assert block == pytest.approx(expected, rel=1e-6)
    assert np.array_equal(rounded(x, "F16"), x.astype(np.float16).astype(np.float32))
    assert np.array_equal(rounded(x, "F32"), x)
    assert np.array_equal(rounded(x, "BF16"), torch.tensor(x).bfloat16().float().numpy())
    assert np.abs(rounded(x, "Q6_K") - x).max() <= np.abs(x).max() / 254 * 1.001


def test_names_go_both_ways() -> None:
    for architecture, table in decoders.TABLES.items():
        for name in table:
            whole = f"{name.format(11)}.weight"
            own = decoders.gguf_name(whole, architecture)
            assert own is not None
            assert decoders.transformers_name(own, architecture) == whole
    architectures = {"qwen3": gguf.MODEL_ARCH.QWEN3, "gpt2": gguf.MODEL_ARCH.GPT2}
    for architecture, number in architectures.items():
        theirs = gguf.get_tensor_name_map(number, 12)
        for name in decoders.TABLES[architecture]:
            whole = f"{name.format(11)}.weight"
            found = decoders.gguf_name(whole, architecture)
            assert theirs.get_name(whole, (".weight",)) == found
    assert decoders.gguf_name("model.layers.0.other.weight", "llama") is None


# Splittings as published tokenizer.json files write them.
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = GPT4.replace("{1,3}", "")
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
PUBLISHED = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"), BYTES]),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(GPT4), "isolated"), BYTES]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_splitting_is_known_by_what_it_does(name: str) -> None:
    tokenizer = toys.toy_tokenizer(PUBLISHED[name])
    assert splitting.name_of(tokenizer) == name


def test_every_two_splittings_differ_on_the_hard_cases() -> None:
    pieces = [tuple(splitting.pieces(splitting.splitter(name))) for name in splitting.EXPRESSIONS]
    assert len(set(pieces)) == len(pieces)
    assert splitting.known_name("starcoder") == "smollm"
    assert splitting.known_name("no such") is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_file_s_tokenizer_reads_texts_as_the_folder_s(name: str, tmp_path: Path) -> None:
    folder = toys.toy_folder(tmp_path / "toy", pre=PUBLISHED[name])
    path = tmp_path / "model.gguf"
    writing.write(folder, {}, path)
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    of_file = tokenizer_of(read(path).metadata)
    assert read(path).metadata["tokenizer.ggml.pre"] == name
    for text in [*toys.TEXTS, "<|im_start|>user\nhi 12<|im_end|>", splitting.HARD_CASES, ""]:
        expected = own.encode(text, add_special_tokens=False).ids
        assert of_file.encode(text, add_special_tokens=False).ids == expected


def sentencepiece(vocabulary: int = 200) -> Tokenizer:
    """A BPE of characters with single bytes for what it lacks, as Llama 2's."""
    tokenizer = Tokenizer(models.BPE(fuse_unk=True, byte_fallback=True, unk_token="<unk>"))
    steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    in_bytes = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=3 + 256 + vocabulary,
        special_tokens=["<unk>", "<s>", "</s>", *in_bytes],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.replace(" ", " ") for text in toys.TEXTS * 3], trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(content))


def test_a_sentencepiece_tokenizer_is_written_with_scores(tmp_path: Path) -> None:
    folder = toys.toy_folder(tmp_path / "toy", vocab_size=480)
    tokenizer = sentencepiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "bos_token": "<s>"}')
    path = tmp_path / "model.gguf"
    writing.write(folder, {}, path)
    metadata = read(path).metadata
    kinds = metadata["tokenizer.ggml.token_type"]
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert kinds[:4].tolist() == [2, 3, 3, 6] and kinds[-1] == 5
    assert metadata["tokenizer.ggml.add_space_prefix"] is True
    assert metadata["tokenizer.ggml.eos_token_id"] == 2
    of_file = tokenizer_of(metadata)
    for text in toys.TEXTS:
        assert of_file.encode(text).tokens == tokenizer.encode(text).tokens


def test_special_tokens_and_template_are_written(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writing.write(folders["llama"], {}, path)
    metadata = read(path).metadata
    assert metadata["tokenizer.chat_template"] == toys.CHAT
    told = {key: metadata[f"tokenizer.ggml.{key}_token_id"] for key in ("bos", "eos", "unknown")}
    assert told == {"bos": 1, "eos": 2, "unknown": 0}
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["llama.attention.head_count_kv"] == 2
    assert metadata["llama.attention.key_length"] == 16


def changed_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "mamba"}, "the model_type `mamba` is not known here"),
        ({"rope_parameters": {"rope_type": "yarn"}}, r"scaled \(`yarn`\)"),
        ({"sliding_window": 16}, "sliding window"),
        ({"hidden_act": "relu"}, "the activation `relu`"),
        ({"num_hidden_layers": None}, "`num_hidden_layers` .* is None, and no size"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    folder = toys.toy_folder(tmp_path / "toy")
    changed_config(folder, **changes)
    with pytest.raises(ValueError, match=told):
        writing.write(folder, {}, tmp_path / "model.gguf")


def test_integers_that_cannot_be_written_are_refused_by_name(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    good = toys.codes_of_folder(folders["llama"], 4)[name]
    wrong = {
        "is \\(96, 48\\)": GroupCodes(good.codes[:, :48], good.scales, 4),
        "codes of 3 bits": replace(good, bits=3),
        "of float32 for codes": replace(good, scales=good.scales.astype(np.float32)),
        "lies outside -8 to 7": replace(good, codes=good.codes + np.int8(9)),
        "not finite": replace(good, scales=good.scales * np.float16(np.inf)),
    }
    for told, weight in wrong.items():
        with pytest.raises(ValueError, match=f"{name}: .*{told}"):
            writing.write(folders["llama"], {name: weight}, tmp_path / "model.gguf")
    with pytest.raises(ValueError, match=r"has no weight other\.weight"):
        writing.write(folders["llama"], {"other.weight": good}, tmp_path / "model.gguf")


def test_tokenizers_that_llama_cpp_would_not_do_alike_are_refused(tmp_path: Path) -> None:
    folder = toys.toy_folder(tmp_path / "toy")
    path = folder / "tokenizer.json"
    good = json.loads(path.read_text())
    wrong: dict[str, dict[str, Any]] = {
        "changes texts first": good | {"normalizer": {"type": "Lowercase"}},
        "none of llama.cpp's": good | {"pre_tokenizer": {"type": "WhitespaceSplit"}},
    }
    for told, content in wrong.items():
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=told):
            vocabulary_of(read_folder(folder), toys.VOCABULARY)
    path.write_text(json.dumps(good))
    with pytest.raises(ValueError, match=r"3\d\d tokens, and the embeddings have 300 rows"):
        vocabulary_of(read_folder(folder), 300)
