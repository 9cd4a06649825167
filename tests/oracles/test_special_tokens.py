"""`add_bos_token` and `add_eos_token` of a tokenizer_config.json, against AutoTokenizer with the same folder: what a model was fed in training, an artifact feeds it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from limbeck.models.preprocessing import preprocess
from limbeck.tasks.text_classification import TextClassification

transformers = pytest.importorskip("transformers")
WORDS = ("<unk>", "<s>", "</s>", "<pad>", *"abcdefghijklmnopqrstuvwxyz", "\u0120", "it", "\u0120it")
VOCABULARY = {word: number for number, word in enumerate(WORDS)}
TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
TEXTS = ("it is", "is it")
KEYS: list[dict[str, bool]] = [
    {},
    {"add_bos_token": True},
    {"add_eos_token": True},
    {"add_bos_token": True, "add_eos_token": True},
    {"add_bos_token": False, "add_eos_token": True},
]


@pytest.mark.parametrize("has_file", [False, True], ids=["vocab.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
@pytest.mark.parametrize("keys", KEYS, ids=str)
def test_ids_are_those_of_transformers(
    keys: dict[str, Any], kind: str, has_file: bool, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "vocab.json").write_text(json.dumps(VOCABULARY))
    (tmp_path / "merges.txt").write_text("#version: 0.2\ni t\n\u0120 it\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(TOKENS | keys))
    expected = transformers.AutoTokenizer.from_pretrained(tmp_path)
    if has_file:
        # Written with its tokens, after which transformers asks the file alone.
        expected.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        expected = transformers.AutoTokenizer.from_pretrained(tmp_path)
    found = Tokenizer.from_str(preprocess(str(tmp_path), TextClassification, [], 32))
    assert found.encode(TEXTS[0]).ids == expected(TEXTS[0])["input_ids"]
    assert found.encode(*TEXTS).ids == expected(*TEXTS)["input_ids"]
    starts = found.encode(TEXTS[0]).ids[0] == VOCABULARY["<s>"]
    assert starts == keys.get("add_bos_token", False)
