"""Folders that people name for a model and that are none by themselves, as public threads of other projects tell them."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from limbeck.models.create import require
from limbeck.models.published.hub import reading

BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LORA = {"peft_type": "LORA", "base_model_name_or_path": "owner/base"}
OLD = [
    {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]  # fmt: skip
NOTHING = r"has config\.json, its weights \(model\.safetensors\) and its tokenizer"

# What lies in the folder, and what is said of it.
FOLDERS: dict[str, tuple[dict[str, Any], str]] = {
    "an adapter": ({"adapter_config.json": LORA}, r"an adapter of `owner/base` .*merge_and_unload"),
    "an adapter beside its base": ({"adapter_config.json": LORA, "config.json": BERT}, "an adapter of"),
    "an adapter of nobody": ({"adapter_config.json": []}, r"it is an adapter \(adapter_config\.json\)"),
    "checkpoints": ({"checkpoint-500/config.json": BERT, "checkpoint-90/config.json": BERT}, r"There is one in checkpoint-500, checkpoint-90: name that folder"),
    "sentence-transformers of old": ({"modules.json": OLD, "0_Transformer/config.json": BERT, "1_Pooling/config.json": {}}, r"encoder lies in 0_Transformer.*Move the files.*beside modules\.json"),
    "four bits": ({"config.json": BERT | {"quantization_config": {"quant_method": "bitsandbytes"}}}, r"quantized already \(bitsandbytes in config\.json\)"),
    "numbers of their own": ({"config.json": BERT | {"quantization_config": 4}}, r"quantized already \(quantization_config in"),
    "a graph alone": ({"onnx/model.json": {}}, NOTHING),
    "a pooling alone": ({"1_Pooling/config.json": {}}, NOTHING),
}  # fmt: skip


def written(folder: Path, files: dict[str, Any]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return str(folder)


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_that_is_no_model_is_told_as_what_it_is(what: str, tmp_path: Path) -> None:
    files, told = FOLDERS[what]
    with pytest.raises(ValueError, match=rf"^model `.*{told}"):
        require(written(tmp_path, files))


def test_a_config_without_such_settings_is_a_model(tmp_path: Path) -> None:
    folder = written(tmp_path, {"config.json": BERT | {"quantization_config": None}})
    with pytest.raises(ValueError, match=r"no weights in .*Copy the folder again"):
        require(folder)
    # Weights are looked for here, and read later.
    (tmp_path / "model.safetensors").write_bytes(b"")
    require(folder)


def loaded(folder: str) -> Any:
    from transformers import AutoModel

    with reading(folder):
        return AutoModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("tf_model.h5", "x", "TensorFlow's or Flax's alone"),
        ("model.safetensors", "{}", "Copy the folder again"),
    ],
)  # fmt: skip
def test_files_that_stand_for_weights_are_told(
    file: str, content: str, told: str, tmp_path: Path
) -> None:
    folder = written(tmp_path, {"config.json": BERT})
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=told):
        loaded(folder)
