"""`limbeck audit`: planted faults in GGUF files are found and named; files that lie are refused; and what is right passes."""

import json
import re
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_toys as toys
import numpy as np
import pytest
import torch  # noqa: F401  (makes this a test of the upper floor: the toys are transformers')

from limbeck.artifact.audit.auditing import Audit, Bounds, audit
from limbeck.artifact.audit.tensors import allowed_error
from limbeck.artifact.gguf import writing
from limbeck.artifact.gguf.file import read
from limbeck.artifact.llama_cpp import process
from limbeck.cli.main import exit_status

Change = Callable[[dict[str, Any], dict[str, Any]], None]


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of toys: `llama`, `qwen2` with their files of eight bits, and texts."""
    folder = tmp_path_factory.mktemp("audited")
    for kind in ("llama", "qwen2"):
        toys.toy_folder(folder / kind, kind)
        codes = toys.codes_of_folder(folder / kind, 8)
        writing.write(folder / kind, codes, folder / f"{kind}.gguf")
    lines = [text.replace("\n", " ") for text in toys.TEXTS]
    (folder / "texts.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def without_llama_cpp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(process.VARIABLE, str(tmp_path / "none"))


def audited(below: Path, path: Path, kind: str = "llama") -> Audit:
    return audit(path, below / kind, below / "texts.txt", Bounds())


def unpermuted(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    rows, kind = tensors["blk.1.attn_q.weight"]
    pairs = rows.reshape(4, -1, 2, rows.shape[1]).swapaxes(1, 2)
    tensors["blk.1.attn_q.weight"] = np.ascontiguousarray(pairs).reshape(rows.shape), kind


def swapped_layers(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    one, other = "blk.0.ffn_up.weight", "blk.1.ffn_up.weight"
    tensors[one], tensors[other] = tensors[other], tensors[one]


def transposed(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    values, _ = tensors["blk.0.attn_output.weight"]
    import gguf

    square = gguf.dequantize(values, gguf.GGMLQuantizationType.Q8_0).T
    tensors["blk.0.attn_output.weight"] = np.ascontiguousarray(square), "F32"


def noisy(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    values, kind = tensors["blk.0.ffn_norm.weight"]
    tensors["blk.0.ffn_norm.weight"] = values + 0.5, kind


def setting(key: str, value: Any) -> Change:
    def change(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value

    return change


def without(name: str) -> Change:
    return lambda metadata, tensors: tensors.pop(name)


def other_token(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.tokens"][300] = "another"


def fewer_merges(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.merges"] = metadata["tokenizer.ggml.merges"][:40]


def usual_kinds(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.token_type"] = [1] * toys.VOCABULARY


def output_of_its_own(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
    values, kind = tensors["token_embd.weight"]
    tensors["output.weight"] = np.ascontiguousarray(values[::-1]), kind


FAULTS: dict[str, tuple[str, Change, str]] = {
    "query rows as transformers has them": (
        "llama",
        unpermuted,
        r"blk\.1\.attn_q\.weight \(Q8_0\) is .* off .*: its rows are not permuted",
    ),
    "layers swapped": (
        "llama",
        swapped_layers,
        r"blk\.0\.ffn_up\.weight .*: it holds the values of model\.layers\.1\.mlp\.up_proj\.weight",
    ),
    "a matrix on its side": ("llama", transposed, r"blk\.0\.attn_output\.weight .* transposed"),
    "noise": ("llama", noisy, r"blk\.0\.ffn_norm\.weight .*: .*nothing explains it"),
    "another base of the rotary embedding": (
        "llama",
        setting("llama.rope.freq_base", 500000.0),
        r"llama\.rope\.freq_base is 500000\.0, and rope_theta of the folder 10000\.0",
    ),
    "another epsilon": (
        "llama",
        setting("llama.attention.layer_norm_rms_epsilon", 1e-5),
        r"layer_norm_rms_epsilon is .*, and rms_norm_eps of the folder",
    ),
    "no splitting": (
        "llama",
        setting("tokenizer.ggml.pre", None),
        r"tokenizer\.ggml\.pre is missing: .* the folder as `gpt-2`",
    ),
    "another splitting": (
        "llama",
        setting("tokenizer.ggml.pre", "starcoder"),
        r"tokenizer\.ggml\.pre is `starcoder`, and the folder splits texts as `gpt-2`",
    ),
    "another end": (
        "llama",
        setting("tokenizer.ggml.eos_token_id", 0),
        r"eos_token_id is 0 \(<\|endoftext\|>\), at which no answer ends; .*: 2 \(<\|im_end\|>\)",
    ),
    "no end": ("llama", setting("tokenizer.ggml.eos_token_id", None), "eos_token_id is missing"),
    "another beginning": (
        "llama",
        setting("tokenizer.ggml.bos_token_id", 7),
        r"bos_token_id is 7 \(.*\), in the folder 1 \(<\|im_start\|>\)",
    ),
    "a beginning where there is none": (
        "llama",
        setting("tokenizer.ggml.add_bos_token", True),
        "add_bos_token is true, and should be false",
    ),
    "no template": ("llama", setting("tokenizer.chat_template", None), "chat_template is missing"),
    "another template": (
        "llama",
        setting("tokenizer.chat_template", toys.CHAT.replace("assistant", "model")),
        r"chat_template writes the turns user as '.*model.*', the folder as '.*assistant",
    ),
    "another token": ("llama", other_token, "1 tokens are others, the first is number 300"),
    "merges left out": ("llama", fewer_merges, "the merges differ: 40 for"),
    "special tokens as usual ones": ("llama", usual_kinds, "3 tokens are of another kind"),
    "a bias left out": (
        "qwen2",
        without("blk.1.attn_k.bias"),
        r"blk\.1\.attn_k\.bias \(model\.layers\.1\.self_attn\.k_proj\.bias of the folder\) is miss",
    ),
    "a matrix left out": ("llama", without("blk.0.ffn_gate.weight"), "ffn_gate.weight .*missing"),
    "an output of its own": ("llama", output_of_its_own, r"output\.weight .* to which it is tied"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(name: str, below: Path, tmp_path: Path) -> None:
    kind, change, told = FAULTS[name]
    path = toys.rewrite(below / f"{kind}.gguf", tmp_path / "faulty.gguf", change)
    found = audited(below, path, kind)
    assert any(re.search(told, fault) for fault in found.faults), found.faults
    assert found.verdict.startswith("verdict: ") and "wrong" in found.verdict


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_what_is_right_passes(kind: str, below: Path, tmp_path: Path) -> None:
    found = audited(below, below / f"{kind}.gguf", kind)
    assert not found.faults
    assert found.likelihood is not None and abs(found.likelihood.drop) < 0.05
    again = toys.rewrite(below / f"{kind}.gguf", tmp_path / "same.gguf", lambda *given: None)
    assert not audited(below, again, kind).faults
    assert [line for line in found.lines() if "Q8_0: 0.5" in line]


def test_perplexity_beyond_the_bound_is_a_fault(below: Path) -> None:
    codes = {
        name: replace(weight, codes=np.where(weight.codes > 60, 60, weight.codes).astype(np.int8))
        for name, weight in toys.codes_of_folder(below / "llama", 8).items()
    }
    writing.write(below / "llama", codes, below / "clipped.gguf")
    found = audit(
        below / "clipped.gguf", below / "llama", below / "texts.txt", Bounds(max_drop=-0.9)
    )
    assert any("perplexity is" in fault for fault in found.faults)


def test_the_command_tells_and_exits_by_what_it_found(
    below: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(below / "llama"), str(below / "texts.txt")]
    assert exit_status(["audit", str(below / "llama.gguf"), *words, "--max-drop", "0.5"]) == 0
    told = capsys.readouterr().out
    assert "tensors: 15 Q8_0, 5 F32" in told and "without llama.cpp itself" in told
    faulty = toys.rewrite(below / "llama.gguf", tmp_path / "faulty.gguf", swapped_layers)
    assert exit_status(["audit", str(faulty), *words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"] and len(report["tensors"]) == 20
    assert exit_status(["audit", str(faulty), *words, "--llama-cpp", str(tmp_path)]) == 2
    assert "npm install --ignore-scripts" in capsys.readouterr().err


def test_without_the_package_the_extra_is_named(
    below: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    words = [str(below / name) for name in ("llama.gguf", "llama", "texts.txt")]
    assert exit_status(["audit", *words]) == 2
    assert 'needs the package gguf, which is not installed. pip install "limbeck[generate]"' in (
        capsys.readouterr().err
    )


def test_dialogues_are_read_through_the_template(below: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows: list[dict[str, Any]] = [
        {"text": "hello there"},
        {"messages": [{"role": "user", "content": "hello"}]},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = audit(below / "llama.gguf", below / "llama", path, Bounds(most_texts=1))
    both = audit(below / "llama.gguf", below / "llama", path, Bounds())
    assert found.likelihood is not None and both.likelihood is not None
    assert both.likelihood.tokens > found.likelihood.tokens
    path.write_text('{"text": "a"}\n{"words": "a"}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: a row needs `text` or `messages`"):
        audit(below / "llama.gguf", below / "llama", path, Bounds())


def test_errors_that_types_leave_are_allowed() -> None:
    assert allowed_error("Q8_0") < allowed_error("Q5_1") < allowed_error("IQ4_XS")
    assert allowed_error("Q2_K") < 1


# Files that lie, or are none.


def header(num_tensors: int = 0, num_pairs: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_pairs)


def text(words: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(words) if length is None else length) + words


def tensor(name: bytes, shape: list[int], kind: int, offset: int) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


HUGE = 2**62
LIES = {
    "no GGUF file": b"ELF",
    "version 0": header(version=0) + b"0" * 64,
    "of version 50331648": b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + b"0" * 64,
    "tensors follow, which it has no room for": header(num_tensors=HUGE),
    "metadata follow, which it has no room for": header(num_pairs=HUGE),
    "bytes of a text follow": header(num_pairs=1) + text(b"key", HUGE) + b"0" * 64,
    "values follow, which": header(num_pairs=1)
    + text(b"key")
    + struct.pack("<IIQ", 9, 4, HUGE)
    + b"0" * 64,
    "texts follow, which": header(num_pairs=1)
    + text(b"key")
    + struct.pack("<IIQ", 9, 8, HUGE)
    + b"0" * 64,
    "metadata of the unknown type 77": header(num_pairs=1) + text(b"key") + struct.pack("<I", 77),
    "a list of the type 9": header(num_pairs=1)
    + text(b"key")
    + struct.pack("<IIQ", 9, 9, 1)
    + b"0" * 64,
    "not UTF-8": header(num_pairs=1) + text(b"\xff\xfe") + b"0" * 64,
    "the key a is there twice": header(num_pairs=2) + (text(b"a") + b"\x04\0\0\0\0\0\0\0") * 2,
    "has 9 dimensions": header(1) + tensor(b"a", [1] * 9, 0, 0) + b"0" * 64,
    "unknown type 999": header(1) + tensor(b"a", [32], 999, 0) + b"0" * 64,
    "rows of 33, and Q4_0 takes 32": header(1) + tensor(b"a", [33], 2, 0) + b"0" * 64,
    "it is cut off, download or copy": header(1) + tensor(b"a", [HUGE, HUGE], 0, 0) + b"0" * 64,
    "stands for two tensors": header(2) + tensor(b"a", [1], 0, 0) * 2 + b"0" * 64,
    "general.alignment is 0": header(num_pairs=1)
    + text(b"general.alignment")
    + struct.pack("<II", 4, 0)
    + b"0" * 64,
}


@pytest.mark.parametrize("told", LIES)
def test_a_file_that_lies_is_refused_with_its_place(told: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(LIES[told])
    with pytest.raises(ValueError, match=told) as error:
        read(path)
    assert str(path) in str(error.value)


def test_a_file_cut_off_anywhere_is_refused(below: Path, tmp_path: Path) -> None:
    content = (below / "llama.gguf").read_bytes()
    path = tmp_path / "model.gguf"
    for length in (0, 3, 4, 12, 23, 100, 1000, 5000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.gguf"):
            read(path)


def test_folders_that_are_none_are_refused(below: Path, tmp_path: Path) -> None:
    file, texts = below / "llama.gguf", below / "texts.txt"
    with pytest.raises(ValueError, match=r"no config.json"):
        audit(file, tmp_path, texts, Bounds())
    folder = tmp_path / "copy"
    shutil.copytree(below / "llama", folder)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    for broken in (content[:5], struct.pack("<Q", HUGE) + content[8:], content[:2000]):
        weights.write_bytes(broken)
        with pytest.raises(ValueError, match=r"model\.safetensors: .*whole|behind the file"):
            audit(file, folder, texts, Bounds())
    weights.unlink()
    with pytest.raises(ValueError, match=r"no \*\.safetensors. Write them"):
        audit(file, folder, texts, Bounds())
    shutil.copy(below / "llama" / "model.safetensors", weights)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"save_pretrained"):
        audit(file, folder, texts, Bounds())
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"no text in it"):
        audit(file, below / "llama", tmp_path / "empty.txt", Bounds())


def test_another_architecture_is_refused_by_name(below: Path, tmp_path: Path) -> None:
    def change(metadata: dict[str, Any], tensors: dict[str, Any]) -> None:
        metadata["general.architecture"] = "mamba"

    path = toys.rewrite(below / "llama.gguf", tmp_path / "other.gguf", change)
    with pytest.raises(ValueError, match=r"the architecture `mamba` is not known here"):
        audited(below, path)
