"""What the tasks that read texts share: the tokenizer of an artifact's `tokenizer.json`, and rows of a text or a pair of texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.tasks import Encoded


def open_tokenizer(text: str) -> Any:
    """The tokenizer, truncating as it says, without padding: `collate` pads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    return tokenizer


def padding(text: str) -> dict[str, int]:
    """The value that fills up each input, where it is not 0."""
    from tokenizers import Tokenizer

    found: Any = Tokenizer.from_str(text).padding
    return {"input_ids": found["pad_id"]}


def inputs(encoding: Any) -> dict[str, np.ndarray]:
    """The inputs of one row; every token counts."""
    ids = np.array(encoding.ids, np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def content(row: Row) -> Any:
    """A text, or a pair of texts."""
    return (row["text"], row["text_b"]) if "text_b" in row else row["text"]


def encode(tokenizer: Any, rows: Sequence[Row], labels: Sequence[np.ndarray]) -> list[Encoded]:
    """Rows of a text or a pair as one unit each."""
    encodings = tokenizer.encode_batch([content(row) for row in rows])
    return [
        Encoded(inputs(encoding), None, label)
        for encoding, label in zip(encodings, labels, strict=True)
    ]


def text_row(raw: Any) -> Row:
    """A row from a text, from a pair of texts, or from a dict of `text` and, for a pair, `text_b`.

    Raises ValueError for what is none of these, and for an empty text.
    """
    texts = [raw] if isinstance(raw, str) else raw
    if isinstance(raw, dict) and "text" in raw and raw.keys() <= {"text", "text_b"}:
        texts = [raw[name] for name in ("text", "text_b") if name in raw]
    if (
        not isinstance(texts, list | tuple)
        or len(texts) not in (1, 2)
        or not all(isinstance(text, str) for text in texts)
    ):
        kind = (
            f"a dict of {', '.join(map(str, raw)) or 'nothing'}"
            if isinstance(raw, dict)
            else type(raw).__name__
        )
        raise ValueError(
            f"a text or a pair of texts is needed (`text` and `text_b` in a dict), not {kind}"
        )
    if not all(text.strip() for text in texts):
        raise ValueError("an empty text has nothing to classify")
    return dict(zip(("text", "text_b"), texts, strict=False))
