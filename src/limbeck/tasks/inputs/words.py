"""A sentence of words, each of which is a unit.

A word is read at its first token, as in BERT (Devlin et al., 2018, arXiv 1810.04805, section 5.3).
Two tokenizers agree on words, so a teacher and a student with different ones are compared word by
word. A word of no token, and one that the maximum length cut off, has the position -1.

A tokenizer that marks the space before a word by itself (byte-level BPE without `add_prefix_space`)
reads the words joined by spaces, since one by one they would all lose their marks.

Shapes: W words, T tokens.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np

from limbeck.core.scripts import Span, pieces, stretch_pattern, word_pattern
from limbeck.sources import Row
from limbeck.sources._cells.record import words_of
from limbeck.tasks import Encoded
from limbeck.tasks.inputs.long_texts import MOST_CHARACTERS, encoded
from limbeck.tasks.inputs.tokenized import TokenizedInput, inputs_of
from limbeck.tasks.types import Array, Names, Rows

# Of one sentence. A model reads some hundred tokens; a million dots are a million words, each of
# which takes its time and has its answer.
MOST_WORDS = 10_000
# Enough of any script for so many words.
STRETCH_CHARACTERS = 8 * MOST_WORDS


class WordsInput(TokenizedInput):
    """Of a row: `words`, a list. What is made from a text has that `text` too, and the `spans` of
    the words in it, as (first character, past the last)."""

    row_keys: ClassVar[Names] = ("words",)

    @staticmethod
    def content(row: Row) -> Any:
        # Hashable, which a list is not.
        return tuple(row["words"])

    def row(self, raw: Any) -> Row:
        """A row from a text, or from a list of words. Raises ValueError where there is no word, or
        more than anybody would tag at once."""
        if isinstance(raw, str):
            if len(raw) > MOST_CHARACTERS:
                raise ValueError(
                    f"a text of {len(raw):,} characters, and at most {MOST_CHARACTERS:,} are "
                    "tagged at once. Send it a paragraph at a time"
                )
            spans = self.spans(raw)
            words = [raw[start:end] for start, end in spans]
            row = {"words": words, "text": raw, "spans": spans}
        elif isinstance(raw, list | tuple | np.ndarray):
            row = {"words": words_of(raw, "words")}
        else:
            raise ValueError(f"a text or a list of words is needed, not {type(raw).__name__}")
        if not row["words"]:
            raise ValueError("a text without a single word has nothing to tag")
        if len(row["words"]) > MOST_WORDS:
            raise ValueError(
                f"more than {MOST_WORDS:,} words, and at most so many are tagged at once. "
                "Send it a paragraph at a time"
            )
        return row

    def spans(self, text: str) -> list[Span]:
        """Where the words of a text begin and end, in characters; of one with more than MOST_WORDS
        the first ones, which are more."""
        found: list[Span] = []
        for match in word_pattern().finditer(text):
            if len(found) > MOST_WORDS:
                break
            start, end = match.span()
            # Without a tokenizer (rows from elsewhere, before there is a model) it stays whole.
            if not self.preprocess or not stretch_pattern().match(match.group()):
                found.append((start, end))
                continue
            found += [(start + a, start + b) for a, b in self.pieces(match.group())]
        return found

    def pieces(self, stretch: str) -> list[Span]:
        """A stretch without spaces, cut where tokens begin; of one with more than MOST_WORDS the
        first ones, which are more."""
        # Of a line of half a million letters the first part tells that they are too many.
        parts = [stretch[:STRETCH_CHARACTERS]]
        if len(stretch) > STRETCH_CHARACTERS:
            parts.append(stretch)
        for part in parts:
            starts = [first for first, _ in encoded(part, self.uncut).offsets]
            found = pieces(part, starts)
            if len(found) > MOST_WORDS:
                break
        return found

    def full_lengths(self, rows: Rows) -> list[int]:
        read = read_words(self.uncut, [row["words"] for row in rows])
        return [len(encoding) for encoding, _ in read]

    def encode(
        self,
        rows: Rows,
        labels: Sequence[Array],
    ) -> list[Encoded]:
        """Inputs (T) of each row; `labels` (W)."""
        # Of a word of megabytes, such as a line of apostrophes, no more than its tokens need.
        sentences = [[self.cut(word) for word in row["words"]] for row in rows]
        encoded = []
        for words, read, label in zip(
            sentences, read_words(self.tokenizer, sentences), labels, strict=True
        ):
            encoding, word_ids = read
            # Not the encoding's own number of words: those that were cut off count too.
            positions = first_tokens(word_ids, len(words))
            encoded.append(Encoded(inputs_of(encoding), positions, label))
        return encoded


def read_words(
    tokenizer: Any,
    sentences: Sequence[Sequence[str]],
    *,
    add_special_tokens: bool = True,
) -> list[tuple[Any, list[int | None]]]:
    """Each sentence's encoding, and the word that each of its tokens belongs to (None: special)."""
    loses_spaces = marks_spaces_itself(tokenizer)
    given = [" ".join(words) for words in sentences] if loses_spaces else sentences
    # In one call, which the tokenizer spreads over the processor's cores.
    encodings = tokenizer.encode_batch(
        given, is_pretokenized=not loses_spaces, add_special_tokens=add_special_tokens
    )
    if not loses_spaces:
        return [(encoding, encoding.word_ids) for encoding in encodings]
    return [
        (encoding, words_of_tokens(encoding, words))
        for words, encoding in zip(sentences, encodings, strict=True)
    ]


def marks_spaces_itself(tokenizer: Any) -> bool:
    """Whether a tokenizer reads words that are given one by one without the space before them."""
    together = looked_up(tokenizer, "a b")
    return together != looked_up(tokenizer, "a") + looked_up(tokenizer, "b")


def looked_up(tokenizer: Any, text: str) -> str:
    """A text as the tokenizer looks it up, with its own marks (`Ġ`, `▁`)."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return text
    return "".join(part for part, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))


def words_of_tokens(encoding: Any, words: Sequence[str]) -> list[int | None]:
    """The word of each token of the joined words; None for a special one."""
    # Where each word ends in the text: its length, and the space before the next one.
    ends = np.array(list(accumulate(len(word) + 1 for word in words))) - 1
    word_ids: list[int | None] = []
    for (start, _), is_special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True):
        # The space before a word is the beginning of its first token.
        word = int(np.searchsorted(ends, start, side="right"))
        word_ids.append(None if is_special else min(word, len(words) - 1))
    return word_ids


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
