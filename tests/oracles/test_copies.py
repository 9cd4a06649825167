"""Copies of texts with words replaced: candidates against slow code, the share, what stays in place, what is stored, and which arms see them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.test_augmenters import PLACES, SENTENCES, opened, save_masked
from transformers import AutoTokenizer, BertForMaskedLM

from limbeck.core import registry
from limbeck.core.cache.store import Store
from limbeck.pipeline.context import RunContext
from limbeck.pipeline.preflight import compatibility
from limbeck.pipeline.preflight.check import check
from limbeck.pipeline.runs import run_arms
from limbeck.pipeline.steps import copies
from limbeck.recipe.model import Augment
from limbeck.recipe.reading import parse

TAGGER = registry.load("tasks", "token-classification")
CLASSIFIER = registry.load("tasks", "text-classification")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_masked(tmp_path_factory.mktemp("masked") / "model")


def whole_words(tokenizer: Any) -> list[str]:
    return [token for token in tokenizer.get_vocab() if token.isalpha() and len(token) > 1]


def ranked(scores: dict[str, float], word: str) -> list[str]:
    others = sorted(
        (other for other in scores if other.lower() != word.lower()),
        key=lambda other: -scores[other],
    )
    return list(
        dict.fromkeys(other.capitalize() if word[0].isupper() else other for other in others)
    )[:4]


def by_cosine(folder: str, word: str) -> list[str]:
    """Slow and obvious, in float64."""
    tokenizer, table = (
        AutoTokenizer.from_pretrained(folder),
        BertForMaskedLM.from_pretrained(folder).get_input_embeddings().weight.detach().double(),
    )

    def vector(text: str) -> np.ndarray:
        found = np.mean(
            [table[i].numpy() for i in tokenizer(text, add_special_tokens=False).input_ids], 0
        )
        return np.asarray(found / np.sqrt((found**2).sum()))

    return ranked(
        {other: float(vector(word) @ vector(other)) for other in whole_words(tokenizer)}, word
    )


def test_embeddings_are_ranked_by_cosine(folder: str) -> None:
    words = [words[place] for words, place in PLACES]
    assert opened("replace_by_embedding", folder)(PLACES) == [
        by_cosine(folder, word) for word in words
    ]


def test_a_hidden_word_is_what_the_model_says_and_a_word_of_pieces_the_nearest(folder: str) -> None:
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        BertForMaskedLM.from_pretrained(folder).double().eval(),
    )
    found = opened("replace_by_mask", folder)(PLACES)
    kinds = set()
    for (words, place), proposed in zip(PLACES, found, strict=True):
        one_piece = len(tokenizer.tokenize(words[place])) == 1
        kinds.add(one_piece)
        if not one_piece:
            assert proposed == by_cosine(folder, words[place])
            continue
        text = " ".join([*words[:place], "[MASK]", *words[place + 1 :]])
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(ids).logits[0, ids[0].tolist().index(tokenizer.mask_token_id)]
        assert proposed == ranked(
            {
                other: float(logits[tokenizer.get_vocab()[other]])
                for other in whole_words(tokenizer)
            },
            words[place],
        )
    assert kinds == {True, False}


def test_a_model_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"augment\.model: .* has no trained head to say hidden words with"
    ):
        opened("replace_by_mask", save_masked(tmp_path / "bare", head=False))


def numbered(places: Any) -> list[list[str]]:
    """Three candidates for every word."""
    return [[f"{words[place]}{letter}" for letter in "xyz"] for words, place in places]


def made(
    rows: list[dict[str, Any]], task: Any, first: int = 0, **keys: Any
) -> list[dict[str, Any]]:
    return list(
        copies.copies(rows, first, Augment(method="replace_by_mask", **keys), task, numbered)
    )


def test_the_share_of_words_and_each_candidate_are_drawn_evenly() -> None:
    row = {"words": ["word", "."] * 500, "tags": ["O"] * 1000}
    (found,) = made([row], TAGGER, copies=1, share=0.4)
    counts = {word: found["words"].count(word) for word in ("word", "wordx", "wordy", "wordz", ".")}
    assert counts["."] == 500
    assert 150 < 500 - counts["word"] < 250
    assert all(40 < counts[word] < 95 for word in ("wordx", "wordy", "wordz"))
    assert found["tags"] == [None] * 1000


def test_a_copy_depends_on_seed_row_and_number_alone() -> None:
    rows = [{"words": [f"w{chr(97 + i)}"] * 12, "tags": ["O"] * 12} for i in range(6)]
    together = made(rows, TAGGER, copies=2)
    assert len(together) == 12
    apart = [copy for i, row in enumerate(rows) for copy in made([row], TAGGER, first=i, copies=2)]
    assert apart == together
    assert made(rows, TAGGER, copies=1) == together[::2]
    assert made(rows, TAGGER, copies=2, seed=1) != together


def test_texts_keep_their_marks_and_spaces_and_lose_their_label() -> None:
    row = {"text": "It  rains (hard), 2 days!", "text_b": "so what?", "label": "weather"}
    found = made([row], CLASSIFIER, copies=1, share=1.0)
    assert len(found) == 1
    letters = str.maketrans("", "", "xyz")
    assert found[0].keys() == {"text", "text_b", "label"}
    assert found[0]["label"] is None
    assert found[0]["text"] != row["text"]
    assert (found[0]["text"].translate(letters), found[0]["text_b"].translate(letters)) == (
        row["text"].replace("y", ""),
        row["text_b"],
    )


def test_a_copy_that_changes_nothing_is_dropped() -> None:
    assert made([{"text": "1 2 3 !", "label": "a"}], CLASSIFIER, copies=5, share=1.0) == []
    assert made([{"text": "some words", "label": "a"}], CLASSIFIER, copies=5, share=0.0) == []
    assert len(made([{"text": "word", "label": "a"}], CLASSIFIER, copies=50, share=1.0)) == 3


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    tags = {"Ada": "B-PER", "Grace": "B-PER", "Paris": "B-LOC", "Berlin": "B-LOC"}
    (tmp_path / "corpus").mkdir()
    for split, times in (("train", 130), ("valid", 3), ("test", 4)):
        sentences = [
            "\n".join(f"{word} {tags.get(word, 'O')}" for word in words)
            for words in SENTENCES * times
        ]
        (tmp_path / "corpus" / f"{split}.txt").write_text("\n\n".join(sentences) + "\n")
    return tmp_path / "corpus"


def text_of(corpus: Path, folder: str, method: str = "replace_by_mask") -> str:
    return f"""
task: token-classification
data: {{source: conll, path: {corpus}}}
augment: {{method: {method}, copies: 2, share: 0.5}}
teacher: {{model: {folder}, epochs: 1}}
student: {{from: teacher, surgery: same}}
train: {{epochs: 1, learning_rate: 1.0e-3, threads: 1, dtype: float32}}
distill: {{losses: {{kl: {{}}}}}}
quantize: {{when: train}}
verdict: {{arms: [plain, kd]}}
"""


def test_every_arm_sees_as_many_rows_and_the_teacher_no_copy(corpus: Path, folder: str) -> None:
    recipe, store = parse(text_of(corpus, folder)), Store()
    bench = RunContext(recipe, store)
    assert compatibility.resolved(recipe).augment.options == {"model": None, "candidates": 15}  # type: ignore[union-attr]
    assert len(bench.data.labelled) == 390 < len(bench.data.train)
    assert all(row["tags"] == [None] * len(row["words"]) for row in bench.data.train[390:])
    arms = run_arms(bench)
    steps = {
        name: next(point["steps"] for point in runs[0].history if "steps" in point)
        for name, runs in arms.items()
    }
    # Copies have the teacher's labels alone, so that `plain` reads the rows in their place.
    assert steps["teacher"] < steps["kd"] <= steps["plain"] < 1.5 * steps["kd"]


def test_a_stage_that_was_killed_goes_on_to_the_same_rows(
    corpus: Path, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = parse(text_of(corpus, folder))
    whole = RunContext(recipe, Store(tmp_path / "whole")).data
    asked: list[int] = []
    once = copies.copies

    def killed(rows: Any, first: int, *rest: Any) -> Any:
        asked.append(first)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return once(rows, first, *rest)

    monkeypatch.setattr(copies, "copies", killed)
    with pytest.raises(KeyboardInterrupt):
        _ = RunContext(recipe, Store(tmp_path / "killed")).data
    again = RunContext(recipe, Store(tmp_path / "killed")).data
    assert asked == [0, 200, 200]
    assert again.train == whole.train
    _ = RunContext(recipe, Store(tmp_path / "killed")).data
    assert len(asked) == 3


def test_check_foresees_the_copies(corpus: Path, folder: str) -> None:
    checked = check(parse(text_of(corpus, folder, "replace_by_embedding")))
    assert checked.mistakes == []
    assert any(line.startswith("augment ") for line in checked.lines)


def test_what_no_teacher_labels_is_refused(corpus: Path, folder: str) -> None:
    text = text_of(corpus, folder)
    with pytest.raises(
        ValueError, match="`augment` makes rows that only a teacher labels: it needs `distill`"
    ):
        parse(text.replace("distill: {losses: {kl: {}}}\n", ""))
    images = (
        "task: image-classification\ndata: {source: sklearn}\naugment: {method: replace_by_mask}\n"
    )
    images += "teacher: {model: small_cnn}\nstudent: {model: small_cnn}\ndistill: {}\n"
    with pytest.raises(
        ValueError, match=r"augment: `image-classification` reads no texts, and words are replaced"
    ):
        compatibility.check_components(parse(images))
