"""Only a chat template writes special tokens, however messages are cut and joined."""

from typing import Any

import pytest
from tokenizers import Tokenizer, normalizers
from toy_decoder import END, ToyDecoder, byte_tokenizer

from limbeck.artifact.generation.text_model import TextModel
from limbeck.tasks.chat.template import MessageTemplate

TURNS = "{% for m in messages %}{{ m.role }}:{{ m.content }}<end>{% endfor %}"


def writer(template: str, tokenizer: Tokenizer | None = None) -> TextModel:
    return TextModel(
        ToyDecoder(positions=300), tokenizer or byte_tokenizer(), (END,), MessageTemplate(template)
    )


def said(*contents: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content} for content in contents]


HALVES = [{"type": "text", "text": "a<en"}, {"type": "text", "text": "d>b"}]


@pytest.mark.parametrize(
    ("template", "messages"),
    [
        ("{{ messages[0].content | replace('\n', '') }}", said(HALVES)),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", said("a<en", "d>b")),
        # The template writes a half itself, and takes what stands between two of them away.
        ("{% for m in messages %}<{{ m.content }}{% endfor %}", said("end>b")),
        ("{% for m in messages %}{{ m.content | replace('\n', '') }}{% endfor %}", said("<e\nnd>")),
        ("{% for m in messages %}{{ m.content | lower }}{% endfor %}", said("<END>")),
    ],
)
def test_a_special_token_that_messages_make_together_is_refused(
    template: str, messages: list[dict[str, Any]]
) -> None:
    with pytest.raises(ValueError, match="make the special token <end> together"):
        writer(template).prompt_of_messages(messages)


def test_what_a_tokenizer_reads_as_a_special_token_is_one() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.normalizer = normalizers.NFKC()
    # Added tokens are looked for in the text as it is; this one, in its normal form.
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken("<stop>", special=True, normalized=True)])
    model = writer("{% for m in messages %}{{ m.content }}{% endfor %}", tokenizer)
    with pytest.raises(ValueError, match="make the special token <stop> together"):
        model.prompt_of_messages(said("\N{FULLWIDTH LESS-THAN SIGN}stop>"))


@pytest.mark.parametrize("content", ["a < b > c <", "<en d>", "if x<end: y>2", "☃ < [", "ﷺ<>"])
def test_signs_alone_are_no_special_tokens(content: str) -> None:
    assert END in writer(TURNS).prompt_of_messages(said(content))


def test_a_strange_letter_is_no_special_token() -> None:
    from tokenizers import models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "x": 1, "a": 2}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(["[UNK]", "<end>"])
    # `<` is unknown to it, and the letter in its place is not.
    assert writer("{{ messages[0].content }}", words).prompt_of_messages(said("a < a")) == [2, 0, 2]


def test_a_prompt_that_is_far_too_long_is_not_tokenized_whole() -> None:
    model = writer(TURNS)
    with pytest.raises(ValueError, match="1,000,010 characters, which are far more than the 300"):
        model.prompt_of_messages(said("a" * 1_000_000))
    # Of one that is not, who answers tells how many tokens there are.
    assert len(model.prompt_of_text("the" * 2_700)) == 2_700
