"""Texts of megabytes, cut before they are tokenized.

A tokenizer takes 150 bytes and a microsecond a character, and only then cuts at the model's
length: 20 MB would take 3 GB for 256 tokens. A text that long is read up to a place where the
tokens that are kept, and as many again, are certain: what follows a space does not change what
stands before it.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from unicodedata import normalize

# Shorter texts are handed to the tokenizer as they are. T tokens of running text take 5 T
# characters; one long word, or letters of many bytes, take more or fewer. Not more at first: what a
# tokenizer writes out (NFKC makes 18 letters of one) takes 18 times as long.
WHOLE_CHARACTERS = 1 << 13
CHARACTERS_OF_A_TOKEN = 16
# Of a part, where all of a text is read.
PART_CHARACTERS = 1 << 16
# Of a text that gives few tokens all the same, such as a word of a million letters, this is read.
MOST_CHARACTERS = 1 << 20


def cut(text: str, truncating: Any, uncut: Any) -> str:
    """The part of a text by which the tokenizer `truncating` gives the tokens of the whole text.

    `uncut`: the same tokenizer without truncation.
    """
    truncation = truncating.truncation
    if len(text) <= WHOLE_CHARACTERS or truncation is None:
        return text
    max_tokens = truncation["max_length"]
    is_left = truncation["direction"] == "left"
    length = max(WHOLE_CHARACTERS, CHARACTERS_OF_A_TOKEN * max_tokens)
    most = max(MOST_CHARACTERS, length)
    while length < min(len(text), most):
        part = at_space(text, length, is_left)
        if len(encoded(part, uncut)) >= 2 * max_tokens:
            return part
        length *= 4
    return at_space(text, most, is_left) if len(text) > most else text


def encoded(text: str, tokenizer: Any) -> Any:
    """The encoding of one text, without special tokens, while other threads go on."""
    # `encode` holds all of them up until it is done, for seconds of a megabyte (tokenizers 0.23).
    (encoding,) = tokenizer.encode_batch([text], add_special_tokens=False)
    return encoding


def has_more_tokens(text: str, most: int, uncut: Any) -> bool:
    """Whether a text has so many tokens more than `most` that its first part tells it."""
    length = max(WHOLE_CHARACTERS, CHARACTERS_OF_A_TOKEN * most)
    if len(text) <= length:
        return False
    part = at_space(text, length, is_left=False)
    # As many again: where a word was cut through it may have a token more or less.
    return len(encoded(part, uncut)) >= 2 * most


def parts(text: str) -> Iterator[str]:
    """A text, or where it is one of megabytes its parts, which end at spaces."""
    if len(text) <= MOST_CHARACTERS:
        yield text
        return
    start = 0
    while start < len(text):
        part = text[start : start + PART_CHARACTERS]
        if start + len(part) < len(text):
            part = at_space(part, len(part), is_left=False)
        yield part
        start += len(part)


def written_out(text: str) -> int:
    """How many characters a text has once all that stand for several are written out (NFKD, which
    makes at least as many as NFKC)."""
    if text.isascii():
        return len(text)
    # Of each character once: a text has few different ones.
    counts = Counter(text).items()
    return sum(len(normalize("NFKD", each)) * count for each, count in counts)


def at_space(text: str, length: int, is_left: bool) -> str:
    """The first `length` characters of a text, or the last where `is_left`, less the word that the
    cut goes through where it is a short one."""
    eighth = length // 8
    if is_left:
        part = text[-length:]
        _, space, rest = part[:eighth].partition(" ")
        return rest + part[eighth:] if space else part
    part = text[:length]
    rest, space, _ = part[-eighth:].rpartition(" ")
    return part[:-eighth] + rest if space else part


def full_length(text: str, uncut: Any) -> int:
    """How many tokens a text has, special ones included; of a long one by its first part's rate."""
    if len(text) <= MOST_CHARACTERS:
        return len(uncut.encode(text))
    part = at_space(text, PART_CHARACTERS, is_left=False)
    return round(len(uncut.encode(part)) * len(text) / len(part))
