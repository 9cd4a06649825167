"""Texts of megabytes are cut before they are tokenized, and their tokens stay those of the whole text."""

from typing import Any

import pytest
from task_examples import tokenizer_text
from tokenizers import Tokenizer, models, pre_tokenizers

from limbeck.tasks.inputs.long_texts import MOST_CHARACTERS, at_space, cut, full_length, parts
from limbeck.tasks.inputs.words import WordsInput
from limbeck.tasks.masked_lm import MaskedLm

WORDS = ["Ada", "lives", "in", "New", "York"]


def opened(kind: str, side: str = "right") -> tuple[Any, Any]:
    """A tokenizer that keeps 24 tokens, and the same without truncation."""
    pair = []
    for _ in range(2):
        if kind == "word pieces":
            tokenizer = Tokenizer.from_str(tokenizer_text())
        else:
            letters = {chr(code): code - 32 for code in range(32, 127)} | {"Ġ": 95, "Ada": 96, "Ad": 97}  # fmt: skip
            tokenizer = Tokenizer(models.BPE(letters, [("A", "d"), ("Ad", "a")]))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.no_padding()
        tokenizer.enable_truncation(24, direction=side)
        pair.append(tokenizer)
    pair[1].no_truncation()
    return pair[0], pair[1]


def text_of(what: str) -> str:
    running = " ".join(WORDS[n * n % 5] for n in range(60_000))
    kinds = {"words": running, "spaces": " " * 70_000 + running, "no spaces": "Ada" * 100_000, "short": "Ada lives", "edge": "Ada " * 16_384 + "York"}  # fmt: skip
    return kinds[what]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["word pieces", "bytes"])
@pytest.mark.parametrize("what", ["words", "spaces", "no spaces", "short", "edge"])
def test_the_tokens_are_those_of_the_whole_text(kind: str, side: str, what: str) -> None:
    truncating, uncut = opened(kind, side)
    text = text_of(what)
    part = cut(text, truncating, uncut)
    assert truncating.encode(part).ids == truncating.encode(text).ids
    if what == "words":
        assert len(part) <= 1 << 16


def test_of_twenty_megabytes_no_more_than_one_is_read() -> None:
    truncating, uncut = opened("word pieces")
    part = cut("a" * 20_000_000, truncating, uncut)
    assert len(part) <= MOST_CHARACTERS
    assert truncating.encode(part).ids == truncating.encode("a" * 200).ids


def test_a_cut_goes_through_no_word() -> None:
    assert at_space("one two three", 11, is_left=False) == "one two thr"
    assert at_space("a" * 80 + " bbb ccc", 86, is_left=False) == "a" * 80 + " bbb"
    assert at_space("ccc bbb " + "a" * 80, 86, is_left=True) == "bbb " + "a" * 80


@pytest.mark.parametrize("what", ["words", "no spaces"])
def test_a_text_of_megabytes_is_read_in_parts(what: str) -> None:
    text = text_of(what) * 8
    found = list(parts(text))
    assert "".join(found) == text
    assert max(map(len, found)) <= 1 << 16
    assert list(parts("Ada lives")) == ["Ada lives"]


def test_masked_words_of_a_text_of_megabytes_are_those_of_its_tokens() -> None:
    """Neighbouring texts are packed together anyway, so that its parts are one text again."""
    task = MaskedLm([], tokenizer_text())
    whole = task.input.uncut.encode(text := "Ada lives in York " * 60_000, add_special_tokens=False)
    read = [token for piece in task.pieces([text]) for token in piece.ids]
    assert read == whole.ids


def test_the_length_of_a_long_text_is_told_by_its_first_part() -> None:
    _, uncut = opened("word pieces")
    text = "Ada lives " * 105_000
    assert full_length(text, uncut) == pytest.approx(len(uncut.encode(text)), rel=0.01)
    assert full_length("Ada lives", uncut) == len(uncut.encode("Ada lives"))


def test_a_text_too_long_to_be_tagged_says_what_to_send() -> None:
    with pytest.raises(ValueError, match=r"1,048,577 characters.*a paragraph at a time"):
        WordsInput(tokenizer_text()).row("a" * (MOST_CHARACTERS + 1))
