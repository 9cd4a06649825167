"""llama.cpp itself: it computes our files as the reference that rounds as it does, reads texts as the folder does, and what is wrong is told.

Needs Node.js and node-llama-cpp, which the first test installs from npm into a cache of the user's where it is not there.
"""

from pathlib import Path

import gguf_toys as toys
import numpy as np
import pytest
import torch
from llama_cpp_install import install_llama_cpp
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM

from limbeck.artifact.audit.auditing import Bounds, audit
from limbeck.artifact.gguf import pre_tokenizers as splitting
from limbeck.artifact.gguf import reference, writing
from limbeck.artifact.gguf.file import read
from limbeck.artifact.llama_cpp import process, proof
from limbeck.artifact.llama_cpp.process import Settings

pytestmark = pytest.mark.services
KINDS = ("llama", "qwen2", "qwen3", "gpt2")


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    install_llama_cpp()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    below = tmp_path_factory.mktemp("toys")
    return {kind: toys.toy_folder(below / kind, kind) for kind in KINDS}


def documents(folder: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [tokenizer.encode(text).ids for text in toys.TEXTS]


@pytest.mark.parametrize("kind", KINDS)
def test_floats_give_the_logits_of_transformers(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    writing.write(folders[kind], {}, path)
    tokens = np.random.default_rng(1).integers(0, toys.VOCABULARY, 80)
    model = AutoModelForCausalLM.from_pretrained(folders[kind]).eval()
    with torch.no_grad():
        expected = model(torch.tensor(tokens)[None]).logits[0].numpy()
    with process.run(path, Settings(cache="F32", context=128)) as runtime:
        found = runtime.logits(tokens.tolist())
    # GPT-2's GELU is a table of fp16 there.
    assert np.abs(found - expected).max() < (2e-3 if kind == "gpt2" else 5e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_are_computed_as_the_reference_says(
    kind: str, bits: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    writing.write(folders[kind], toys.codes_of_folder(folders[kind], bits), path)
    found = proof.prove(path, documents(folders[kind]))
    # Most words are equal to the last bits: those that no integer at an edge has touched.
    assert not found.reasons, found.lines()
    assert found.tokens == sum(map(len, documents(folders[kind]))) - len(toys.TEXTS)


def test_a_reference_that_does_not_round_is_refused(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    writing.write(folders["llama"], toys.codes_of_folder(folders["llama"], 8), path)
    monkeypatch.setattr(reference, "AS_LLAMA_CPP", reference.Rounding(products=False, cache=True))
    found = proof.prove(path, documents(folders["llama"]))
    assert "nats on average, and" in found.reasons[0]


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_texts_are_read_as_the_folder_reads_them(name: str, tmp_path: Path) -> None:
    folder = toys.toy_folder(tmp_path / "toy", pre=splitting.splitter(name))
    path = tmp_path / "model.gguf"
    writing.write(folder, {}, path)
    assert read(path).metadata["tokenizer.ggml.pre"] == name
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with process.run(path, Settings()) as runtime:
        for text in [*toys.TEXTS, splitting.HARD_CASES, "<|im_start|>user\nhi 12<|im_end|>"]:
            expected = own.encode(text, add_special_tokens=False).ids
            assert runtime.tokenize(text, special=True) == expected


def test_an_audit_asks_llama_cpp(folders: dict[str, Path], tmp_path: Path) -> None:
    digits = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    folder = toys.toy_folder(tmp_path / "toy", pre=digits)
    path = tmp_path / "model.gguf"
    writing.write(folder, toys.codes_of_folder(folder, 8), path)
    texts = tmp_path / "texts.txt"
    texts.write_text("call 12345 now\nit's late", encoding="utf-8")
    found = audit(path, folder, texts, Bounds(max_drop=0.5))
    assert not found.faults and not found.notes
    assert found.likelihood is not None and found.likelihood.runtime == "llama.cpp"

    def without(metadata: dict[str, object], tensors: dict[str, object]) -> None:
        del metadata["tokenizer.ggml.pre"]
        del tensors["blk.0.ffn_up.weight"]

    faulty = toys.rewrite(path, tmp_path / "faulty.gguf", without)
    told = " ".join(audit(faulty, folder, texts, Bounds(max_drop=0.5)).faults)
    assert "llama.cpp does not open the file: llama.cpp has ended" in told
    assert "missing tensor 'blk.0.ffn_up.weight'" in told


def test_what_llama_cpp_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(ValueError, match=r"llama\.cpp has ended"), process.run(path, Settings()):
        raise AssertionError("it has opened what is no model")
    lacking = pytest.raises(ValueError, match=r"npm install --ignore-scripts .*node-llama-cpp@")
    with lacking, process.run(path, Settings(), tmp_path):
        raise AssertionError("it runs from an empty folder")
