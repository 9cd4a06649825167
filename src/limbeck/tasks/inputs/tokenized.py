"""What the inputs of texts share: the tokenizer in an artifact's `tokenizer.json`, and rows of one
or two texts. Shapes: T tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from limbeck.core.foreign import told_as
from limbeck.sources import Row
from limbeck.tasks import pad
from limbeck.tasks.inputs.long_texts import cut
from limbeck.tasks.types import Inputs, Names, Rows

# Which no tokenizer has words for.
UNKNOWN_TEXT = "\u2603 \U0001f9ff \ue000"


@dataclass(frozen=True)
class TokenizedInput(ABC):
    """`preprocess`: the text of a `tokenizer.json` with its truncation and padding set."""

    preprocess: str

    preprocess_file: ClassVar[str] = "tokenizer.json"
    input_names: ClassVar[Names] = ("input_ids", "attention_mask")

    @cached_property
    def tokenizer(self) -> Any:
        """Truncates at the maximum length, and does not pad: `collate` does."""
        return open_tokenizer(self.preprocess)

    @property
    def max_tokens(self) -> int:
        """Where a text is cut."""
        return int(self.tokenizer.truncation["max_length"])

    @cached_property
    def uncut(self) -> Any:
        """The tokenizer without truncation, which is a state of it: so this is a second one."""
        tokenizer = open_tokenizer(self.preprocess)
        tokenizer.no_truncation()
        return tokenizer

    def cut(self, given: Any) -> Any:
        """A text, or a pair of texts, without what its tokens cannot be made of: megabytes."""
        if isinstance(given, str):
            return cut(given, self.tokenizer, self.uncut)
        return tuple(cut(text, self.tokenizer, self.uncut) for text in given)

    @abstractmethod
    def full_lengths(self, rows: Rows) -> list[int]:
        """How many tokens each row has, special ones included, where nothing is cut."""

    def together(self, texts: Sequence[Inputs]) -> Inputs:
        """(W, T) inputs from those (T) of each text, padded to the longest."""
        together = {}
        for name in texts[0]:
            # The attention mask is filled with 0: padding is not read.
            filling = self.padding.get(name, 0)
            together[name] = pad([text[name] for text in texts], filling)
        return together

    @cached_property
    def padding(self) -> dict[str, int]:
        """The padding token, which is not 0 in every vocabulary; the attention mask's is 0."""
        from tokenizers import Tokenizer

        # Read from the text, because `tokenizer` has its padding switched off.
        padding: Any = Tokenizer.from_str(self.preprocess).padding
        return {"input_ids": padding["pad_id"]}


def open_tokenizer(text: str) -> Any:
    """The tokenizer of a `tokenizer.json`, truncating as it says, without padding.

    Raises ValueError for one that fails on a text.
    """
    from tokenizers import Tokenizer

    with told_as(_broken):
        tokenizer = Tokenizer.from_str(text)
        # A file may pad to the longest of a call, but rows that are called together need not be
        # batched together.
        tokenizer.no_padding()
        # A tokenizer without its own word for the unknown fails at the first such text.
        tokenizer.encode(UNKNOWN_TEXT)
    return tokenizer


def vocabulary(tokenizer: Any) -> list[str]:
    """(V) the tokens by their ids; an empty text for an id of none."""
    # Not the number of tokens: some vocabularies leave ids out.
    num_ids = 1 + max(tokenizer.get_vocab().values())
    return [tokenizer.id_to_token(i) or "" for i in range(num_ids)]


def _broken(reason: str) -> ValueError:
    return ValueError(
        f"tokenizer.json: no tokenizer that works: {reason}. Copy the model's tokenizer again"
    )


def inputs_of(encoding: Any) -> Inputs:
    """The model's inputs (T) from an encoding of the tokenizer; every token counts."""
    ids = np.array(encoding.ids, np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def texts_of(row: Row) -> Any:
    """A row's text, or its pair of texts, as a tokenizer takes it."""
    if "text_b" in row:
        return row["text"], row["text_b"]
    return row["text"]


def single_texts_of(row: Row) -> list[str]:
    """The one text or the two of a row."""
    return [row[key] for key in ("text", "text_b") if key in row]


def text_row(raw: Any) -> Row:
    """A row from a text, from a pair of texts, or from a dict of `text` and, for a pair, `text_b`.

    Raises ValueError for what is none of these, and for an empty text.
    """
    texts = raw
    if isinstance(raw, str):
        texts = [raw]
    elif isinstance(raw, dict) and is_named_texts(raw):
        texts = [raw[name] for name in ("text", "text_b") if name in raw]
    is_list = isinstance(texts, list | tuple) and len(texts) in (1, 2)
    if not is_list or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            "a text or a pair of texts is needed (`text` and `text_b` in a dict), "
            f"not {kind_of(raw)}"
        )
    if not all(text.strip() for text in texts):
        raise ValueError("an empty text has nothing to classify")
    # Not strict: a single text has no `text_b`.
    return dict(zip(("text", "text_b"), texts, strict=False))


def is_named_texts(raw: dict[Any, Any]) -> bool:
    """Whether a dict holds `text`, perhaps `text_b`, and nothing that would be ignored."""
    return "text" in raw and raw.keys() <= {"text", "text_b"}


def kind_of(raw: Any) -> str:
    """What was sent in place of a text, for a message."""
    if isinstance(raw, dict):
        return f"a dict of {', '.join(map(str, raw)) or 'nothing'}"
    return type(raw).__name__


def special_tokens(tokenizer: Any) -> list[str]:
    """A tokenizer's special tokens as a text could write them."""
    # Other added tokens are words like any.
    added = tokenizer.get_added_tokens_decoder().values()
    return [token.content for token in added if token.special]
