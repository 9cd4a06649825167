"""A sentence of words, each of which is a unit.

A word is read at its first token, as in BERT (Devlin et al., 2018, arXiv 1810.04805, section 5.3).
Two tokenizers agree on words, so a teacher and a student with different ones are compared word by
word. A word of no token, and one that the maximum length cut off, has the position -1.

Shapes: W words, T tokens.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.inputs.tokenized import TokenizedInput, inputs_of
from limbeck.tasks.types import Array, Names, Rows

# A word, with what joins its parts (`New-York`, `3.14`, `O'Hara`), or one sign that is no space:
# CoNLL-2003, too, has each mark of punctuation as a word of its own.
WORD = re.compile(r"\w+(?:[-'./,:]\w+)*|[^\w\s]")


class WordsInput(TokenizedInput):
    """Of a row: `words`, a list. What is made from a text has that `text` too, and the `spans` of
    the words in it, as (first character, past the last)."""

    row_keys: ClassVar[Names] = ("words",)

    @staticmethod
    def content(row: Row) -> Any:
        # Hashable, which a list is not.
        return tuple(row["words"])

    def row(self, raw: Any) -> Row:
        """A row from a text, or from a list of words. Raises ValueError where there is no word."""
        if isinstance(raw, str):
            matches = list(WORD.finditer(raw))
            row = {
                "words": [match.group() for match in matches],
                "text": raw,
                "spans": [match.span() for match in matches],
            }
        elif isinstance(raw, list | tuple):
            row = {"words": [str(word) for word in raw]}
        else:
            raise ValueError(f"a text or a list of words is needed, not {type(raw).__name__}")
        if not row["words"]:
            raise ValueError("a text without a single word has nothing to tag")
        return row

    def encode(
        self,
        rows: Rows,
        labels: Sequence[Array],
    ) -> list[Encoded]:
        """Inputs (T) of each row; `labels` (W)."""
        # In one call, which the tokenizer spreads over the processor's cores.
        sentences = [row["words"] for row in rows]
        encodings = self.tokenizer.encode_batch(sentences, is_pretokenized=True)
        encoded = []
        for words, encoding, label in zip(sentences, encodings, labels, strict=True):
            # Not the encoding's own number of words: those that were cut off count too.
            positions = first_tokens(encoding.word_ids, len(words))
            encoded.append(Encoded(inputs_of(encoding), positions, label))
        return encoded


def first_tokens(word_ids: Sequence[int | None], num_words: int) -> Array:
    """(W) the first token of each word, -1 for one that has none; `word_ids`: the word that each
    token belongs to, None for a special token."""
    positions = np.full(num_words, -1, np.int64)
    # Backwards, so that the first token is written last.
    for token in reversed(range(len(word_ids))):
        word = word_ids[token]
        if word is not None:
            positions[word] = token
    return positions
