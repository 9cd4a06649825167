"""What the augmenters share: the whole words of a tokenizer's vocabulary, and those whose embeddings lie nearest to a word's."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

MAX_TOKENS = 256  # of a sentence that a model is asked about
SHORTEST = (
    2  # letters of a word that may replace another: single letters are pieces of names and formulas
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer (of the library `tokenizers`) and the embeddings (V, D) of its pieces."""

    tokenizer: Any
    table: torch.Tensor

    @cached_property
    def whole(self) -> dict[int, str]:
        """The pieces that are words of letters by themselves, as they are written."""
        texts = {
            i: self.tokenizer.decode([i]).strip()
            for i in range(min(len(self.table), self.tokenizer.get_vocab_size()))
        }
        words = {i: text for i, text in texts.items() if text.isalpha() and len(text) >= SHORTEST}
        alone = self.pieces(list(words.values()))
        return {i: word for (i, word), ids in zip(words.items(), alone, strict=True) if ids == [i]}

    @cached_property
    def numbers(self) -> np.ndarray:
        """(N) the pieces that are whole words."""
        return np.array(list(self.whole), np.int64)

    @cached_property
    def directions(self) -> torch.Tensor:
        """(N, D) their embeddings, of length 1."""
        return torch.nn.functional.normalize(self.table[self.numbers].float(), dim=1)

    def pieces(self, words: Sequence[str]) -> list[list[int]]:
        """The pieces of each word by itself."""
        return [
            found.ids
            for found in self.tokenizer.encode_batch(
                [[word] for word in words], is_pretokenized=True, add_special_tokens=False
            )
        ]

    def nearest(self, words: Sequence[str], count: int) -> list[list[str]]:
        """For each word `count` others by the cosine of embeddings; of a word of several pieces, the mean of theirs."""
        if not words:
            return []
        means = torch.stack([self.table[ids].float().mean(0) for ids in self.pieces(words)])
        return self.best(
            torch.nn.functional.normalize(means, dim=1) @ self.directions.T, words, count
        )

    def best(self, scores: torch.Tensor, words: Sequence[str], count: int) -> list[list[str]]:
        """For each of the words the `count` whole words of the highest scores (B, N), without itself, in its letters' case."""
        order = scores.topk(min(2 * count + 2, scores.shape[1])).indices.tolist()
        found = []
        for word, indices in zip(words, order, strict=True):
            others = [self.whole[int(self.numbers[i])] for i in indices]
            written = dict.fromkeys(
                in_case_of(word, other) for other in others if other.casefold() != word.casefold()
            )
            found.append(list(written)[:count])
        return found


def in_case_of(word: str, other: str) -> str:
    """A word in small letters written as another is: a tokenizer that knows no capitals would give the place away."""
    if not other.islower():
        return other
    return (
        other.upper()
        if word.isupper() and len(word) > 1
        else other.capitalize()
        if word[:1].isupper()
        else other
    )
