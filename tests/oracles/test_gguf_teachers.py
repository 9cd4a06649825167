"""Models of one GGUF file: the same logits and tokens as the folder that it was written from, and each way in which it cannot be read told in a sentence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from decoders import decoder, logits

from limbeck.models.anatomy.coarse_grid import CoarseGrid, coarse_grid, grid_bits
from limbeck.models.create import require
from limbeck.models.published import gguf_files
from limbeck.models.published.hub import locate
from limbeck.models.published.pretrained import Asked, from_transformers
from limbeck.models.published.tokenizers import read_tokenizer

pytest.importorskip("gguf")

from gguf_toys import CHAT, TEXTS, codes_of_folder, rewrite, toy_folder

from limbeck.artifact.gguf.writing import write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and nothing made before."""
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_files, "_MADE", {})


def written(tmp_path: Path, bits: int | None = None, kind: str = "llama") -> tuple[Path, Path]:
    """A toy model's folder, and the file that it was written to: as floats, or in integers."""
    folder = toy_folder(tmp_path / "folder", kind)
    file = tmp_path / "file.gguf"
    write(folder, codes_of_folder(folder, bits) if bits else {}, file)
    return folder, file


def asked(told: list[str]) -> Asked:
    from limbeck.tasks.text_generation import TextGeneration

    return Asked(TextGeneration([], "{}"), told.append)


@pytest.mark.parametrize("kind", ["llama", pytest.param("qwen2", marks=pytest.mark.slow)])
def test_a_file_is_the_model_that_it_was_written_from(tmp_path: Path, kind: str) -> None:
    import transformers

    folder, file = written(tmp_path, kind=kind)
    told: list[str] = []
    require(str(file))
    model: Any = from_transformers(str(file), asked(told))
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(3, 40)[None]
    torch.testing.assert_close(logits(model, ids), logits(plain, ids), rtol=0, atol=1e-4)
    own, published = read_tokenizer(str(file)), read_tokenizer(str(folder))
    for text in TEXTS:
        assert own(text).input_ids == published(text).input_ids
    assert own.chat_template == CHAT
    assert model.generation_config.eos_token_id == 2
    assert not told
    # It is saved as any other.
    model.save_pretrained(tmp_path / "saved")
    again: Any = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", attn_implementation="eager"
    )
    assert torch.equal(logits(again, ids), logits(model, ids))


def test_a_file_is_read_once_and_a_folder_of_one_is_that_file(tmp_path: Path) -> None:
    _, file = written(tmp_path)
    alone = tmp_path / "alone"
    alone.mkdir()
    first = locate(str(file))
    file.rename(alone / "other.gguf")
    # Neither its name nor its place is a part of it.
    assert locate(str(alone)) == first
    assert str(tmp_path) not in (Path(first) / "config.json").read_text()
    assert str(tmp_path) not in (Path(first) / "tokenizer_config.json").read_text()
    (alone / "second.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"2 GGUF files lie there .*Name one of them"):
        locate(str(alone))
    # A copy beside weights of their own is none of it.
    (alone / "model.safetensors").write_bytes(b"")
    assert locate(str(alone)) == str(alone)


@pytest.mark.parametrize(("bits", "kind"), [(4, "Q4_0"), (8, "Q8_0")])
def test_a_coarse_grid_is_told(tmp_path: Path, bits: int, kind: str) -> None:
    _, file = written(tmp_path, bits)
    told: list[str] = []
    model = from_transformers(str(file), asked(told))
    notes = gguf_files.notes_of(Path(locate(str(file))))
    assert notes is not None and notes["types"] == {kind: 1.0} and notes["architecture"] == "llama"
    assert coarse_grid(model.parameters()) == (CoarseGrid(1.0, 4) if bits == 4 else None)
    assert [("100% of its weights lie on a grid of 4 bits" in line) for line in told] == (
        [True] if bits == 4 else []
    )


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
def test_bits_of_a_grid_are_counted(bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 2**bits, (40, 4, 32), generator=generator).float()
    scales = torch.rand(40, 4, 1, generator=generator) + 0.1
    shifts = torch.rand(40, 4, 1, generator=generator)
    weight = (codes * scales + shifts).reshape(40, 128)
    assert grid_bits(weight) == (bits if bits <= 4 else None)
    assert grid_bits(torch.zeros(4, 32)) is None
    assert grid_bits(weight[:, :40]) is None
    assert grid_bits(torch.randn(40, 128, generator=generator).bfloat16()) is None


def test_models_that_were_trained_are_on_none() -> None:
    assert coarse_grid(decoder("gpt2").parameters()) is None


def test_an_unknown_splitting_is_told(tmp_path: Path) -> None:
    _, file = written(tmp_path)
    other = rewrite(
        file, tmp_path / "other.gguf", lambda metadata, _: metadata.update({"tokenizer.ggml.pre": "mine"})
    )  # fmt: skip
    told: list[str] = []
    from_transformers(str(other), asked(told))
    assert any("parts texts as `mine`" in line for line in told)


def test_a_known_splitting_is_the_files(tmp_path: Path) -> None:
    """One that transformers does not know: numbers digit by digit."""
    _, file = written(tmp_path)
    other = rewrite(
        file, tmp_path / "o.gguf", lambda metadata, _: metadata.update({"tokenizer.ggml.pre": "smollm"})
    )  # fmt: skip
    backend = read_tokenizer(str(other)).backend_tokenizer
    pieces = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str("no 123")]
    assert pieces == ["no", "Ġ", "1", "2", "3"]


def test_a_licence_is_kept(tmp_path: Path) -> None:
    from limbeck.pipeline.origins.licences import licence_of

    _, file = written(tmp_path)
    other = rewrite(
        file, tmp_path / "o.gguf", lambda metadata, _: metadata.update({"general.license": "mit"})
    )  # fmt: skip
    assert licence_of(Path(locate(str(other)))) == "mit"


def lacking(metadata: Any, tensors: Any) -> None:
    del tensors["blk.1.ffn_up.weight"]


def foreign(metadata: Any, tensors: Any) -> None:
    metadata["general.architecture"] = "mystery"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lacking, "it lacks model.layers.1.mlp.up_proj.weight"),
        (foreign, "cannot read this GGUF file .mystery.*Take the folder"),
    ],
)
def test_a_file_that_is_no_whole_model_is_told(tmp_path: Path, change: Any, told: str) -> None:
    _, file = written(tmp_path)
    other = rewrite(file, tmp_path / "other.gguf", change)
    with pytest.raises(ValueError, match=rf"model `.*other.gguf`: .*{told}"):
        require(str(other))


@pytest.mark.parametrize("num_bytes", [3, 30, -100])
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, num_bytes: int) -> None:
    _, file = written(tmp_path)
    file.write_bytes(file.read_bytes()[:num_bytes])
    with pytest.raises(ValueError, match=r"model `.*file.gguf`: "):
        require(str(file))


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = written(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(ValueError, match=r"needs the package gguf: pip install"):
        require(str(file))


def test_a_file_that_is_not_there_is_no_hub_id() -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        require("nowhere.gguf")


def test_the_report_and_the_card_tell_a_coarse_grid(tmp_path: Path) -> None:
    from limbeck.pipeline.origins.telling import model_of
    from limbeck.reports.card.facts import origins

    _, file = written(tmp_path, 4)
    run: Any = SimpleNamespace(own={})
    model = model_of(str(file), run)
    assert model["name"] == "file.gguf" and model["coarse_grid"] == {"share": 1.0, "bits": 4}
    report = {
        "arms": {"teacher": {"parameters": 10, "bytes": 20}},
        "origins": {
            "models": {"teacher": model},
            "data": {"name": "d", "source": "text", "rows": {"train": 1}, "licence": None},
            "formats": {"weights": "int4"},
        },
    }
    assert "100% of its weights lay on a grid of 4 bits already" in origins(report)[0]
