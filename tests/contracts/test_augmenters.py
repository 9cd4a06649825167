"""What every augmenter keeps, against a tiny masked language model; a new one is tested by being there."""

from pathlib import Path

import pytest
import torch
from encoders import save_encoder
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from limbeck.core import registry
from limbeck.data.augmenters import Place, Propose

NAMES = registry.names("augmenters")
WITH_CANDIDATES = [name for name in NAMES if "candidates" in registry.keys("augmenters", name)]
each = pytest.mark.parametrize("name", NAMES)
WORDS = [
    "Ada",
    "Grace",
    "Paris",
    "Berlin",
    "lives",
    "sings",
    "in",
    "near",
    "quietly",
    "today",
    "sinister",
]
SENTENCES = [
    ["Ada", "lives", "in", "Paris", "quietly"],
    ["Grace", "sings", "near", "Berlin", "today"],
    ["sinister", "Ada", "sings"],
]
PLACES: list[Place] = [
    (sentence, place) for sentence in SENTENCES for place in range(len(sentence))
]


def save_masked(folder: Path, *, head: bool = True) -> str:
    """A random masked language model whose vocabulary holds all but the longest words whole."""
    save_encoder(folder, WORDS[:-1], vocabulary=80, width=16, layers=1)
    if head:
        torch.manual_seed(1)
        BertForMaskedLM(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=20)  # as published encoders have it
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_masked(tmp_path_factory.mktemp("masked") / "model")


def opened(name: str, folder: str, candidates: int = 4) -> Propose:
    # What others write need not have this key.
    options = {"candidates": candidates} if name in WITH_CANDIDATES else {}
    found: Propose = registry.create("augmenters", name, options).open(folder)
    return found


@each
def test_every_place_gets_other_whole_words(name: str, folder: str) -> None:
    found = opened(name, folder)(PLACES)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(found) == len(PLACES)
    for (words, place), proposed in zip(PLACES, found, strict=True):
        assert len(proposed) == len(set(proposed))
        assert len(proposed) == 4 or name not in WITH_CANDIDATES
        assert words[place].casefold() not in [word.casefold() for word in proposed]
        assert all(
            word.isalpha() and (word[0].isupper() or not words[place][0].isupper())
            for word in proposed
        )
        pieces = [
            min(len(tokenizer.tokenize(form)) for form in (word, word.lower())) for word in proposed
        ]
        assert set(pieces) == {1}


@each
def test_an_answer_depends_on_sentence_and_place_alone(name: str, folder: str) -> None:
    propose = opened(name, folder)
    together = propose(PLACES)
    assert propose(PLACES[::-1])[::-1] == together
    assert [propose([place])[0] for place in PLACES] == together
    assert opened(name, folder)(PLACES) == together
    assert propose([]) == []


@pytest.mark.parametrize("name", WITH_CANDIDATES)
def test_no_candidates_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="candidates is at least 1"):
        registry.create("augmenters", name, {"candidates": 0})


@each
def test_what_cannot_be_asked_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        registry.create("augmenters", name).open(str(tmp_path / "nowhere"))
