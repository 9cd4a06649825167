"""A tokenizer whose tokens are the characters of the training texts, for networks that have no
vocabulary of their own.

Equal characters that Unicode has several codes for are one (NFKC, Unicode annex 15), and spaces of
any kind and number are one space. A text begins with a space, and so does every word of a list: a
piece of a text tells the beginning of a word from its middle.
"""

import json
from collections import Counter
from functools import cache
from typing import Any

from limbeck.sources import text_of
from limbeck.tasks.types import Rows

PADDING = "[PAD]"
UNKNOWN = "[UNK]"
SEPARATOR = "[SEP]"
SPACE = " "
# The first tokens, the same in every vocabulary. A space is where a word begins.
FIRST = (PADDING, UNKNOWN, SEPARATOR, SPACE)
FIRST_OF_WORD = FIRST.index(SPACE)
EACH = r"[\s\S]"
# Chinese has some 8,000 in use; the rarest of more are unknown.
MOST_CHARACTERS = 20_000


def character_tokenizer(rows: Rows, max_tokens: int, *, keeps_case: bool, windows: int = 0) -> str:
    """The text of a `tokenizer.json` for the characters of training rows.

    Args:
        rows: of texts, of pairs of texts, or of words.
        max_tokens: characters of a text that are read.
        keeps_case: whether capital letters are others than small ones.
        windows: characters that windows of a longer text share; 0 cuts it.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    parts: list[Any] = [
        normalizers.NFKC(),
        *([] if keeps_case else [normalizers.Lowercase()]),
        normalizers.Replace(Regex(r"\s+"), SPACE),
        normalizers.Strip(),
        normalizers.Prepend(SPACE),
    ]
    normalizer = normalizers.Sequence(parts)
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(normalizer.normalize_str(text_of(row)))
    # Of equal counts the smaller code first: the order of rows says nothing.
    frequent = sorted(counts, key=lambda character: (-counts[character], character))
    vocabulary = list(dict.fromkeys([*FIRST, *frequent]))[:MOST_CHARACTERS]
    ids = {character: number for number, character in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(EACH), "isolated")
    # Not added as special tokens, which would be found in a text that has these letters.
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A",
        pair=f"$A {SEPARATOR} $B",
        special_tokens=[(SEPARATOR, ids[SEPARATOR])],
    )
    tokenizer.enable_truncation(max_tokens, stride=windows)
    tokenizer.enable_padding(pad_id=ids[PADDING], pad_token=PADDING)
    text: str = tokenizer.to_str()
    return text


@cache
def are_characters(preprocess: str) -> bool:
    """Whether a `tokenizer.json` is one of these, whose tokens are single letters as they should
    be."""
    cut = json.loads(preprocess)["pre_tokenizer"] or {}
    return cut.get("type") == "Split" and cut["pattern"] == {"Regex": EACH}
