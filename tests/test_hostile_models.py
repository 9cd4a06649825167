"""Folders of models that ask for more than any model is, or hold what is no file: refused by name, before anything is built.

`benchmarks/hostile.py` measures time and memory of the same in processes of their own.
"""

import json
import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from encoders import save_encoder

from limbeck.models.create import create_model, require
from limbeck.models.preprocessing import EXAMPLE, preprocess
from limbeck.models.published import bounds, hub, timm_models
from limbeck.models.published.positions import num_positions
from limbeck.tasks.image_classification import ImageClassification
from limbeck.tasks.text_classification import TextClassification

WORDS = ["sun", "rain", "wind", "snow"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    return Path(save_encoder(folder, WORDS, vocabulary=40, width=16, layers=2))


@pytest.fixture
def encoder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "model")
    return tmp_path / "model"


def create(folder: Path | str, *, images: bool = False) -> None:
    """As a run does: the config, the tokenizer, the model."""
    require(str(folder))
    if images:
        task: Any = ImageClassification(["a", "b"], "{}")
    else:
        task = TextClassification(["a", "b"], preprocess(str(folder), TextClassification, [], 32))
    create_model(str(folder), {}, task, seed=0)


def in_hub_cache(encoder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder as `owner/tiny` in a cache of the hub, as its library lays it out."""
    commit = "0" * 40
    snapshot = cache / "models--owner--tiny" / "snapshots" / commit
    shutil.copytree(encoder, snapshot)
    refs = cache / "models--owner--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    from huggingface_hub import constants
    from transformers.utils import hub

    for module in (constants, hub):
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            if name in vars(module):
                monkeypatch.setattr(module, name, str(cache))
    return "owner/tiny"


def test_what_is_not_altered_is_read(encoder: Path) -> None:
    create(encoder)
    create(Path(os.path.relpath(encoder)))


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"num_hidden_layers": 10**8}, "100,000,000 for num_hidden_layers, and at most 10,000"),
    "many layers": ({"num_hidden_layers": 9_999}, "tensors and"),
    "width": ({"hidden_size": 10**8}, "asks for a model of over"),
    "inner width": ({"intermediate_size": 10**10}, "asks for a model of over"),
    "positions": ({"max_position_embeddings": 10**10}, "asks for a model of over"),
    "vocabulary": ({"vocab_size": 10**13}, "10,000,000,000,000 for vocab_size"),
    "digits": ({"hidden_size": 10**1000}, "over thirty digits for hidden_size"),
    "types of layers": ({"model_type": "modernbert", "layer_types": ["full_attention"] * 20_000}, "a list of 20,000 entries for layer_types"),
    "depths": ({"model_type": "convnext", "depths": [10**8, 1]}, r"100,000,000 for depths\[\]"),
    "hidden sizes": ({"model_type": "resnet", "hidden_sizes": [10**8, 8]}, r"100,000,000 for hidden_sizes\[\]"),
    "widths of blocks": ({"model_type": "mobilenet_v2", "block_out_channels": [8] * 10**5}, "100,000 entries for block_out_channels"),
    "inside": ({"text_config": {"num_layers": 10**8}}, "for text_config.num_layers"),
    "labels": ({"id2label": {str(n): "a" for n in range(1001)}}, "1,001 keys for id2label"),
    "deep": ({"a": json.loads('{"a":' * 100 + "1" + "}" * 100)}, "keys inside each other"),
    "negative": ({"hidden_size": -1}, "model `"),
    "a word": ({"hidden_size": "wide"}, "model `"),
    "an activation": ({"hidden_act": "nothing"}, "model `"),
    "a type": ({"model_type": 5}, "model `"),
}  # fmt: skip


@pytest.mark.parametrize("what", CONFIGS)
def test_a_config_out_of_bounds_is_refused(
    encoder: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small, so that the test is quick; real models have fewer too.
    monkeypatch.setattr(bounds, "MOST_TENSORS", 300)
    monkeypatch.setattr(bounds, "MOST_LABELS", 1000)
    said, told = CONFIGS[what]
    content = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(content | said))
    with pytest.raises(ValueError, match=told):
        create(encoder, images=said.get("model_type") in ("convnext", "resnet"))


@pytest.mark.parametrize("what", ["layers", "many layers", "width", "positions", "deep", "labels"])
def test_a_config_of_the_hub_has_the_same_bounds(
    encoder: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_TENSORS", 300)
    monkeypatch.setattr(bounds, "MOST_LABELS", 1000)
    said, told = CONFIGS[what]
    content = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(content | said))
    name = in_hub_cache(encoder, tmp_path / "hub", monkeypatch)
    with pytest.raises(ValueError, match=told):
        create(name)


def test_a_model_of_the_hub_is_read_within_bounds(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_NUMBERS_BEYOND", 100)
    name = in_hub_cache(encoder, tmp_path / "hub", monkeypatch)
    create(name)
    snapshot = hub.folder_of(name)
    assert snapshot is not None
    # Its weights come after its config: until then only its shapes are asked for.
    (snapshot / "model.safetensors").unlink()
    assert num_positions(name) == 128


class Timm(ModuleType):
    """What limbeck calls of timm, which is not installed here."""

    __version__ = "1"

    def is_model(self, name: str) -> bool:
        return name == "resnet18"

    def list_models(self, pattern: str) -> list[str]:
        return ["resnet18"] if pattern == "*resnet18*" else []

    def list_pretrained(self, pattern: str) -> list[str]:
        return ["resnet18.a1_in1k"] if pattern == "resnet18.*" else []

    def get_pretrained_cfg(self, name: str) -> Any:
        return SimpleNamespace(hf_hub_id="timm/resnet18.a1_in1k")

    def create_model(self, name: str, **_: Any) -> None:
        raise AssertionError(f"{name} was opened")


@pytest.mark.parametrize("name", ["hf-hub:owner/resnet18", "hf_hub:owner/resnet18", "local-dir:/tmp/resnet18", "resnet18:x", "a/b"])  # fmt: skip
def test_timm_reads_no_config_of_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", Timm("timm"))
    with pytest.raises(ValueError, match="timm has no model of this name"):
        require(f"timm:{name}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet18.nope", r"no trained weights of this name\. It has: resnet18\.a1_in1k"),
        ("resnet18", r"does not answer here.*hf download timm/resnet18\.a1_in1k"),
        ("resnet18.a1_in1k", r"does not answer here.*hf download timm/resnet18\.a1_in1k"),
    ],
)
def test_timm_weights_that_cannot_be_had(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", Timm("timm"))
    monkeypatch.setattr(timm_models, "is_within_reach", lambda *_: False)
    with pytest.raises(ValueError, match=told):
        require(f"timm:{name}")


# Images.


def test_a_folder_of_images_without_its_processor_names_the_file(tmp_path: Path) -> None:
    import transformers

    transformers.ResNetConfig(hidden_sizes=[8], depths=[1]).save_pretrained(tmp_path)
    missing = (
        r"no preprocessor_config\.json beside its config\.json.*one as the model was trained: \{"
    )
    with pytest.raises(ValueError, match=missing):
        preprocess(str(tmp_path), ImageClassification, [], 32)
    example = json.loads(EXAMPLE)
    (tmp_path / "preprocessor_config.json").write_text(EXAMPLE)
    settings = json.loads(preprocess(str(tmp_path), ImageClassification, [], 32))
    assert (settings["height"], settings["mean"]) == (224, example["image_mean"])
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match="preprocessor_config"):
        preprocess(str(tmp_path), ImageClassification, [], 32)


@pytest.mark.parametrize("content", ["[]", "[" * 3000 + "]" * 3000, "{", "7"])
def test_a_config_that_is_no_object(encoder: Path, content: str) -> None:
    (encoder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        create(encoder)


STRANGE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "more.bin"])
@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_is_not_waited_for(encoder: Path, kind: str, name: str) -> None:
    (encoder / name).unlink(missing_ok=True)
    STRANGE[kind](encoder / name)
    with pytest.raises(ValueError, match=rf"{name}: this is {kind}, and no file"):
        create(encoder)


def test_a_link_to_weights_that_were_removed_is_in_nobodys_way(encoder: Path) -> None:
    (encoder / "tf_model.h5").symlink_to("removed")
    os.mkfifo(encoder / ".lock")
    create(encoder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_link_that_leads_nowhere_is_no_file_of_the_model(encoder: Path, name: str) -> None:
    (encoder / name).unlink()
    (encoder / name).symlink_to(name)
    with pytest.raises(ValueError, match="model `"):
        create(encoder)


@pytest.mark.parametrize(("name", "size"), [("tokenizer.json", 1 << 40), ("config.json", 1 << 40), ("model.safetensors", 1 << 40)])  # fmt: skip
def test_a_file_of_terabytes_is_not_read(encoder: Path, name: str, size: int) -> None:
    os.truncate(encoder / name, size)
    with pytest.raises(ValueError, match=rf"{name} has {size:,} bytes, and at most"):
        create(encoder)


def of_json(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(change(content)))

    return edit


def of_header(told: bytes, size: int | None = None) -> Callable[[Path], object]:
    head = struct.pack("<Q", len(told) if size is None else size)
    return lambda folder: (folder / "model.safetensors").write_bytes(head + told)


def no_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    ran = folder.parent / "ran"
    code = f"touch {ran}".encode()
    head = b"\x80\x02cos\nsystem\nq\x00X" + struct.pack("<I", len(code))
    (folder / "pytorch_model.bin").write_bytes(head + code + b"q\x01\x85q\x02Rq\x03.")


FILES: dict[str, Callable[[Path], object]] = {
    "weights of 2^60 bytes of header": of_header(b"{}", 1 << 60),
    "weights of a terabyte": of_header(b'{"a":{"dtype":"F32","shape":[274877906944],"data_offsets":[0,1099511627776]}}'),
    "weights that are a pickle": no_pickle,
    "a tokenizer 3,000 deep": lambda folder: (folder / "tokenizer.json").write_text("[" * 3000),
    "a tokenizer of another kind": of_json("tokenizer.json", lambda content: content | {"model": {"type": "Nothing"}}),
    "a tokenizer without its unknown word": of_json("tokenizer.json", lambda content: content | {"model": content["model"] | {"unk_token": "nothing"}}),
    "a tokenizer whose end is no word": of_json("tokenizer.json", lambda content: content | {"post_processor": {"type": "BertProcessing", "sep": ["x", -1], "cls": ["y", 2**40]}}),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_a_file_of_a_model_that_is_broken_is_told(encoder: Path, what: str) -> None:
    FILES[what](encoder)
    with pytest.raises(ValueError, match="model `"):
        create(encoder)
    assert not (encoder.parent / "ran").exists()
