"""What the tasks that read texts share: the tokenizer of an artifact's `tokenizer.json`."""

from typing import Any

import numpy as np


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
