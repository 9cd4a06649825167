"""One text or two, each of which is a unit that the model reads by itself: inputs (W, T).

So a pair stays together in a batch, which a loss on pairs needs, while distillation, the teacher's
cache and the artifact go by single texts.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from limbeck.sources import Row
from limbeck.tasks import Encoded
from limbeck.tasks.inputs.long_texts import full_length
from limbeck.tasks.inputs.tokenized import (
    TokenizedInput,
    inputs_of,
    single_texts_of,
    text_row,
    texts_of,
)
from limbeck.tasks.types import Array, Names, Rows


class SeparateTextsInput(TokenizedInput):
    """Of a row: `text` and, for a pair, `text_b`."""

    row_keys: ClassVar[Names] = ("text",)

    @staticmethod
    def content(row: Row) -> Any:
        return texts_of(row)

    def row(self, raw: Any) -> Row:
        """Raises ValueError for what is no text or pair of texts, and for an empty text."""
        return text_row(raw)

    def full_lengths(self, rows: Rows) -> list[int]:
        lengths = []
        for row in rows:
            lengths.append(sum(full_length(text, self.uncut) for text in single_texts_of(row)))
        return lengths

    def encode(
        self,
        rows: Rows,
        labels: Sequence[Array],
    ) -> list[Encoded]:
        """Inputs (W, T) of each row, W its number of texts; `labels` (W)."""
        texts_by_row = [single_texts_of(row) for row in rows]
        # All texts in one call, which the tokenizer spreads over the processor's cores.
        flat = [self.cut(text) for texts in texts_by_row for text in texts]
        encodings = iter(self.tokenizer.encode_batch(flat))
        encoded = []
        for texts, label in zip(texts_by_row, labels, strict=True):
            inputs = [inputs_of(next(encodings)) for _ in texts]
            # No positions: the model answers once for each text.
            encoded.append(Encoded(self.together(inputs), None, label))
        return encoded
