"""A text, or a pair of texts, that is one unit: the model answers once for it.

A pair is read as the tokenizer joins it (`[CLS] a [SEP] b [SEP]`); of the two the longer is cut
first. Deviation from BERT (Devlin et al., 2018, arXiv 1810.04805, section 3.2): no segment ids, so
that a teacher and a student of any family read the same inputs; the separator tells the two texts
apart. MiniLM-L6 on 3,000 pairs of STS-B, one seed: Spearman .827 without segment ids, .830 with.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.inputs.long_texts import MOST_CHARACTERS, full_length, written_out
from limbeck.tasks.inputs.tokenized import (
    TokenizedInput,
    inputs_of,
    single_texts_of,
    text_row,
    texts_of,
)
from limbeck.tasks.types import Array, Names, Rows


class TextInput(TokenizedInput):
    """Of a row: `text` and, for a pair, `text_b`."""

    row_keys: ClassVar[Names] = ("text",)

    @staticmethod
    def content(row: Row) -> Any:
        return texts_of(row)

    def row(self, raw: Any) -> Row:
        """Raises ValueError for what is no text or pair of texts, for an empty text, and for one of
        megabytes where all of it would be read in windows."""
        row = text_row(raw)
        if not (self.preprocess and self.reads_windows):
            return row
        num_characters = sum(map(self.read_characters, single_texts_of(row)))
        if num_characters > MOST_CHARACTERS:
            raise ValueError(
                f"a text of {num_characters:,} characters, as its tokenizer writes them out, and "
                f"at most {MOST_CHARACTERS:,} are read in windows. Send it a part at a time"
            )
        return row

    def read_characters(self, text: str) -> int:
        """How many characters its tokenizer makes of a text before it finds tokens in it."""
        return written_out(text) if self.writes_out else len(text)

    @cached_property
    def writes_out(self) -> bool:
        """Whether the tokenizer puts several letters in place of one that stands for them."""
        normalizer = json.dumps(json.loads(self.preprocess)["normalizer"])
        return any(name in normalizer for name in ("NFKC", "NFKD", "Precompiled"))

    @cached_property
    def reads_windows(self) -> bool:
        """Whether a text that is too long is read in windows that overlap, and not cut."""
        return bool(self.tokenizer.truncation["stride"])

    def full_lengths(self, rows: Rows) -> list[int]:
        rows_of_texts = [single_texts_of(row) for row in rows]
        if all(len(text) <= MOST_CHARACTERS for texts in rows_of_texts for text in texts):
            encodings = self.uncut.encode_batch([texts_of(row) for row in rows])
            return [len(encoding) for encoding in encodings]
        return [sum(full_length(text, self.uncut) for text in texts) for texts in rows_of_texts]

    def encode(
        self,
        rows: Rows,
        labels: Sequence[Array],
    ) -> list[Encoded]:
        """Inputs (T) of each row; `labels` (1) or (1, V)."""
        # In one call, which the tokenizer spreads over the processor's cores.
        texts = [texts_of(row) for row in rows]
        if not self.reads_windows:
            texts = [self.cut(given) for given in texts]
        encodings = self.tokenizer.encode_batch(texts)
        encoded = []
        # No positions: the model answers once for a text, not at one of its tokens.
        for encoding, label in zip(encodings, labels, strict=True):
            if self.reads_windows:
                encoded.append(self.windows(encoding, label))
            else:
                encoded.append(Encoded(inputs_of(encoding), None, label))
        return encoded

    def windows(self, encoding: Any, label: Array) -> Encoded:
        """A text as its windows, each of which is trained on the text's label."""
        if encoding.n_sequences > 1:
            raise ValueError(
                "train.long_texts: windows are read of single texts, and this row is a pair. "
                "Leave it out: the longer text of a pair is cut"
            )
        inputs = [inputs_of(window) for window in (encoding, *encoding.overflowing)]
        labels = np.repeat(label, len(inputs), axis=0)
        return Encoded(self.together(inputs), None, labels, windows=True)
