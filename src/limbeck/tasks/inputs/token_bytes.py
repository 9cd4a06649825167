"""How many bytes of text each token of a vocabulary stands for, so that models of different
tokenizers can be compared: by bits a byte, not by token."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.tasks.types import Array

# SentencePiece's mark of a space, and its tokens of a single byte: <0x0A>.
SPACE = "\u2581"
BYTE_LENGTH = len("<0x00>")


def byte_lengths(tokenizer: Any, tokens: Sequence[str]) -> Array:
    """(V) int64: the bytes of text of each token; 0 for special ones and for ids of no token.

    tokenizer: of the library `tokenizers`. tokens: by id.
    """
    is_byte_level = "ByteLevel" in json.dumps(json.loads(tokenizer.to_str()).get("decoder"))
    added = tokenizer.get_added_tokens_decoder()
    lengths = np.zeros(len(tokens), np.int64)
    for number, token in enumerate(tokens):
        if number not in added:
            lengths[number] = length_of(token, is_byte_level=is_byte_level)
        elif not added[number].special:
            # Added tokens are written as they are.
            lengths[number] = len(token.encode())
    return lengths


def length_of(token: str, *, is_byte_level: bool) -> int:
    """The bytes of one token.

    >>> length_of("\\u2581the", is_byte_level=False), length_of("<0x0A>", is_byte_level=False)
    (4, 1)
    """
    # A byte-level vocabulary writes each byte as one character of its own alphabet.
    if is_byte_level:
        return len(token)
    if len(token) == BYTE_LENGTH and token.startswith("<0x") and token.endswith(">"):
        return 1
    return len(token.replace(SPACE, " ").encode())
