"""A word that is no text is refused wherever it is read: nobody wrote what Python prints of it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call
from server.made import install_products, write_model

import limbeck
from limbeck.artifact.load import load
from limbeck.sources.jsonl import Jsonl
from limbeck.sources.parquet import Parquet
from limbeck.sources.rows import Rows

NO_TEXTS = [1994, 1e-5, float("nan"), None, True, ["York"], {"a": 1}]


def refused(word: Any) -> str:
    return f"word 2, {word!r}, is no text. Write it in quotes"


def refuses(word: Any) -> Any:
    return pytest.raises(ValueError, match=re.escape(refused(word)))


@pytest.mark.parametrize("word", NO_TEXTS, ids=repr)
def test_in_training(word: Any, tmp_path: Path) -> None:
    row = {"words": ["Ada", word], "tags": ["B-PER", "O"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    with refuses(word):
        Jsonl(tmp_path, words="words", tags="tags").read()
    with refuses(word):
        Rows().take({"train": [row]})


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("text", {"text": "a\0b", "label": "x"}),
        ("words: word 2", {"words": ["Ada", "b\0"], "tags": ["O", "O"]}),
        ("messages: message 1", {"messages": [{"role": "user", "content": "a\0"}]}),
    ],
)
def test_a_nul_is_refused_in_every_text(key: str, cells: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(cells) + "\n")
    with pytest.raises(ValueError, match=f"{key}: a NUL character. Remove it"):
        Jsonl(tmp_path).read()


@pytest.mark.parametrize("words", [["Ada", None], [1815, 1852]])
def test_in_a_table(words: list[Any], tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"words": [words], "tags": [["B-PER", "O"]]})
    parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"words: word [12], (None|1815), is no text"):
        Parquet(tmp_path, words="words", tags="tags").read()


@pytest.mark.parametrize("word", ["", " ", "\t\xa0"], ids=repr)
def test_a_blank_word_is_refused_wherever_words_are_read(
    word: str, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "words: word 2 is empty, and has no tag. Leave it out"
    words = ["Ada", word, "York"]
    predictor = load(tagger)
    for raw in (tuple(words), {"words": words}):
        with pytest.raises(ValueError, match=why):
            predictor.predict(raw)
    row = {"words": words, "tags": ["B-PER", "O", "O"]}
    with pytest.raises(ValueError, match=why):
        Rows().take({"train": [row]})
    with pytest.raises(ValueError, match=why):
        limbeck.evaluate(tagger, [row])
    rows = tmp_path / "train.jsonl"
    rows.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=why):
        Jsonl(tmp_path, words="words", tags="tags").read()
    call("predict", tagger, rows)
    assert json.loads(capsys.readouterr().out)["error"].endswith(why)


@pytest.fixture
def tagger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_products(tmp_path / "site", monkeypatch)
    return write_model(tmp_path / "artifact", "token-classification")


@pytest.mark.parametrize("word", NO_TEXTS, ids=repr)
def test_in_an_artifact(
    word: Any, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = load(tagger)
    given: list[Any] = [("Ada", word), {"words": ["Ada", word]}]
    for raw in given:
        with refuses(word):
            predictor.predict(raw)
    rows = tmp_path / "rows.jsonl"
    row = {"words": ["Ada", word], "tags": ["B-PER", "O"]}
    rows.write_text(json.dumps(row) + "\n")
    call("predict", tagger, rows)
    assert refused(word) in json.loads(capsys.readouterr().out)["error"]
    for labelled in ([row], rows):
        with refuses(word):
            limbeck.evaluate(tagger, labelled)


def test_words_of_a_dict_may_be_a_sentence_or_an_array(tagger: Path) -> None:
    predictor = load(tagger)
    words = ["Ada", "lives"]
    expected = predictor.predict(("Ada", "lives"))
    for given in (words, tuple(words), np.array(words)):
        assert predictor.predict({"words": given}) == expected
    # It was tagged letter by letter.
    assert predictor.predict({"words": "Ada lives"})["tags"] == expected["tags"]
    with pytest.raises(ValueError, match="a text or a list of words is needed, not int"):
        predictor.predict({"words": 5})
