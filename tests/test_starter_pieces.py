"""A first recipe for texts that the usual model was not made for, and for rare labels."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from encoders import save_encoder

from limbeck.cli.first_recipe import look as starter
from limbeck.cli.first_recipe.recipe_text import TEXT_MODEL
from limbeck.recipe.reading import read

CYRILLIC = "вам нужна помощь сейчас"
ENGLISH = "want help with login and card"


def table(path: Path, text: str, rows: int = 100) -> Path:
    lines = [f"{text} {number},{'ab'[number % 2]}" for number in range(rows)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


def recipe_of(data: Path, folder: Path, model: str | None = None) -> tuple[dict[str, Any], str]:
    out = folder / "recipe.yaml"
    told = starter.write(data, out, model)
    read(out, [])
    return yaml.safe_load(out.read_text()), "\n".join(told)


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("text", "model"), [(CYRILLIC, "ngrams"), (ENGLISH, TEXT_MODEL), ("12 34 !?", TEXT_MODEL)]
)
def test_texts_of_another_script_are_read_by_a_network_of_ours(
    tmp_path: Path, text: str, model: str
) -> None:
    """MiniLM read Tatar letter by letter, for twenty minutes, and stayed below a linear model."""
    found, told = recipe_of(table(tmp_path / "data.csv", text), tmp_path)
    assert found["teacher"]["model"] == model
    assert ("of a script that" in told) == (model == "ngrams")
    is_ours = model == "ngrams"
    assert found["student"].get("model") == ("ngrams" if is_ours else None)
    assert found["verdict"]["min_speedup"] == (1 if is_ours else 2)
    assert found["train"].get("weight_decay") == (2.0 if is_ours else None)


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_the_usual_model_s_vocabulary_is_asked_where_it_lies_at_hand(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    if variable == "HF_HOME":
        monkeypatch.delenv("HF_HUB_CACHE")
        monkeypatch.setenv("HF_HOME", str(hub.parent))
    words = ["want", "help", *map(str, range(100))]
    model = save_encoder(tmp_path / "model", words, vocabulary=200, width=16, layers=2)
    snapshots = hub / f"models--{TEXT_MODEL.replace('/', '--')}" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / "1a2b").symlink_to(model)
    # Latin letters, so that no rule of thumb tells, and words that the vocabulary has not.
    found, told = recipe_of(table(tmp_path / "data.csv", "bakonzi wana"), tmp_path)
    assert "of the tokens are unknown to the model: a network of ours" in told
    assert found["teacher"]["model"] == "ngrams"
    (tmp_path / "recipe.yaml").unlink()
    found, _ = recipe_of(table(tmp_path / "data.csv", "want help"), tmp_path)
    assert found["teacher"]["model"] == TEXT_MODEL


def test_a_model_that_was_asked_for_is_taken(tmp_path: Path) -> None:
    model = save_encoder(tmp_path / "model", ["want"], vocabulary=200, width=16, layers=2)
    found, told = recipe_of(table(tmp_path / "data.csv", CYRILLIC), tmp_path, str(model))
    assert found["teacher"]["model"] == str(model)
    assert "or leave --model out: a network of ours" in told


def test_pairs_are_not_read_as_pieces(tmp_path: Path) -> None:
    lines = [f"{CYRILLIC},{CYRILLIC},{'ab'[row % 2]}" for row in range(100)]
    (tmp_path / "data.csv").write_text("\n".join(["question1,question2,label", *lines]))
    found, told = recipe_of(tmp_path / "data.csv", tmp_path)
    assert found["data"]["text_b"] == "question2"
    assert found["teacher"]["model"] == TEXT_MODEL
    assert "leave --model out" not in told


@pytest.mark.parametrize(("num_rare", "weights"), [(5, "balanced"), (30, None)])
def test_rare_labels_are_weighed_more(tmp_path: Path, num_rare: int, weights: str | None) -> None:
    """On Tatar emotions four labels of six were hardly ever answered."""
    lines = [f"{ENGLISH} {row},{row % 2},{int(row < num_rare)}" for row in range(100)]
    (tmp_path / "data.csv").write_text("\n".join(["text,joy,fear", *lines]))
    found, told = recipe_of(tmp_path / "data.csv", tmp_path)
    assert found["task"] == "multi-label-classification"
    assert found["data"].get("class_weights") == weights
    assert ("`fear` stands at 5 of 100 rows" in told) == (weights is not None)


def test_steps_are_counted_in_characters(tmp_path: Path) -> None:
    found, _ = recipe_of(table(tmp_path / "data.csv", CYRILLIC, rows=1000), tmp_path)
    characters = 720 * len(f"{CYRILLIC} 500")
    of_epoch = -(-characters // found["train"]["batch_tokens"])
    assert 600 <= of_epoch * found["teacher"]["epochs"] <= 660
    assert found["train"]["epochs"] == math.ceil(1.5 * found["teacher"]["epochs"])
