"""A tokenizer made of the characters of training rows."""

import json
from typing import Any

import pytest
from tokenizers import Tokenizer

from limbeck.tasks.inputs.characters import (
    FIRST,
    FIRST_OF_WORD,
    MOST_CHARACTERS,
    are_characters,
    character_tokenizer,
)
from limbeck.tasks.text_classification import TextClassification
from limbeck.tasks.token_classification import TokenClassification

ROWS = [{"text": "Ab  ba"}, {"text": "Ähre\tc"}]


def of(text: str, rows: list[dict[str, Any]] = ROWS, **asked: Any) -> list[str]:
    asked = {"max_tokens": 20, "keeps_case": False} | asked
    found: list[str] = Tokenizer.from_str(character_tokenizer(rows, **asked)).encode(text).tokens
    return found


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", " |a|b"),
        ("  A\n\tb ", " |a| |b"),
        ("\uff41\uff42", " |a|b"),  # the wide letters of Chinese keyboards
        ("A\u0308", " |ä"),
        ("az☃", " |a|[UNK]|[UNK]"),
        ("[PAD]", " |[UNK]|[UNK]|a|[UNK]|[UNK]"),
        ("a" * 30, " |" + "|".join("a" * 19)),
    ],
)
def test_a_text_becomes_its_characters(text: str, tokens: str) -> None:
    assert of(text) == tokens.split("|")


def test_capital_letters_are_others_where_case_counts() -> None:
    rows = [{"words": ["Ab", "ba"]}]
    assert of("Aa", rows, keeps_case=True) == [" ", "A", "a"]
    assert of("AB", rows, keeps_case=True) == [" ", "A", "[UNK]"]


def test_the_order_of_rows_says_nothing() -> None:
    asked: dict[str, Any] = {"max_tokens": 20, "keeps_case": False}
    assert character_tokenizer(ROWS, **asked) == character_tokenizer(ROWS[::-1], **asked)


def test_the_first_tokens_are_the_same_in_every_vocabulary() -> None:
    for rows in ([{"text": "ab"}], [{"text": "字 典"}], [{"text": "  "}]):
        text = character_tokenizer(rows, 9, keeps_case=True)
        assert [Tokenizer.from_str(text).id_to_token(each) for each in range(4)] == list(FIRST)
    assert FIRST[FIRST_OF_WORD] == " "


def test_the_rarest_of_very_many_characters_are_unknown() -> None:
    rows = [
        {"text": "ab" + "".join(map(chr, range(0x4E00, 0x4E00 + MOST_CHARACTERS)))},
        {"text": "b"},
    ]
    tokenizer = Tokenizer.from_str(character_tokenizer(rows, 9, keeps_case=True))
    assert tokenizer.get_vocab_size() == MOST_CHARACTERS
    assert tokenizer.encode("b").tokens == [" ", "b"]


def test_words_begin_with_their_mark() -> None:
    rows = [{"words": ["Mr", "O'Hara", "☃"], "tags": ["O", "B-PER", "O"]}]
    task = TokenClassification(["O", "B-PER"], character_tokenizer(rows, 30, keeps_case=True))
    (encoded,) = task.encode(rows)
    assert encoded.positions is not None and encoded.positions.tolist() == [0, 3, 10]
    marks = encoded.inputs["input_ids"] == FIRST_OF_WORD
    assert marks.nonzero()[0].tolist() == [0, 3, 10]
    # The words of a text are found as those of a list are.
    assert task.row("Mr O'Hara")["words"][0] == "Mr"


def test_a_pair_is_parted_by_a_mark_that_no_text_has() -> None:
    rows = [{"text": "a b", "text_b": "b", "label": "x"}]
    task = TextClassification(["x", "y"], character_tokenizer(rows, 30, keeps_case=False))
    (encoded,) = task.encode(rows)
    shown = [task.input.tokenizer.id_to_token(each) for each in encoded.inputs["input_ids"]]
    assert shown == [" ", "a", " ", "b", "[SEP]", " ", "b"]


def test_windows_overlap() -> None:
    text = character_tokenizer(ROWS, 8, keeps_case=False, windows=2)
    assert json.loads(text)["truncation"]["stride"] == 2


def test_such_a_tokenizer_is_known_again() -> None:
    assert are_characters(character_tokenizer(ROWS, 8, keeps_case=False))
    assert not are_characters(json.dumps({"pre_tokenizer": None}))
    assert not are_characters(json.dumps({"pre_tokenizer": {"type": "Whitespace"}}))
