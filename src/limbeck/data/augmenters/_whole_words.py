"""The whole words of a tokenizer's vocabulary, and those that are nearest to a word.

Shapes: V pieces of the vocabulary, N whole words, D width of an embedding, B words that are asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Tokens of a sentence that a model is asked about; the rest is cut. Sentences are shorter.
MAX_TOKENS = 256

# Letters of a word that may replace another: single letters are pieces of names and formulas.
SHORTEST = 2


@dataclass(frozen=True)
class WholeWords:
    """`tokenizer`: of the library `tokenizers`. `table`: the embeddings (V, D) of its pieces."""

    tokenizer: Any
    table: Tensor

    @cached_property
    def by_id(self) -> dict[int, str]:
        """The pieces that are a word of letters by themselves, as they are written."""
        num_pieces = min(len(self.table), self.tokenizer.get_vocab_size())
        words = {}
        for index in range(num_pieces):
            text = self.tokenizer.decode([index]).strip()
            if text.isalpha() and len(text) >= SHORTEST:
                words[index] = text
        # A piece inside of words (`##ing`) decodes to letters too, but those letters alone are
        # another piece.
        pieces = self.pieces(list(words.values()))
        whole = {}
        for (index, word), ids in zip(words.items(), pieces, strict=True):
            if ids == [index]:
                whole[index] = word
        return whole

    @cached_property
    def words(self) -> list[str]:
        """The N whole words."""
        return list(self.by_id.values())

    @cached_property
    def ids(self) -> Tensor:
        """(N) their pieces."""
        return torch.tensor(list(self.by_id), dtype=torch.long, device=self.table.device)

    @cached_property
    def directions(self) -> Tensor:
        """(N, D) their embeddings, of length 1."""
        return functional.normalize(self.table[self.ids].float(), dim=1)

    def pieces(self, words: Sequence[str]) -> list[list[int]]:
        """The pieces of each word by itself."""
        as_sentences = [[word] for word in words]
        encodings = self.tokenizer.encode_batch(
            as_sentences, is_pretokenized=True, add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def nearest(self, words: Sequence[str], count: int) -> list[list[str]]:
        """For each word `count` others by the cosine of embeddings.

        A word of several pieces has the mean of their embeddings.
        """
        if not words:
            return []
        means = [self.table[ids].float().mean(0) for ids in self.pieces(words)]
        asked = functional.normalize(torch.stack(means), dim=1)
        return self.best(asked @ self.directions.T, words, count)

    def best(
        self,
        scores: Tensor,
        words: Sequence[str],
        count: int,
    ) -> list[list[str]]:
        """For each of the words the `count` whole words of the highest `scores` (B, N).

        Without the word itself, and written in the case of its letters.
        """
        # Twice as many as are needed: `The`, `the` and `THE` may become one word.
        num_candidates = min(2 * count + 2, scores.shape[1])
        order = scores.topk(num_candidates).indices.tolist()
        proposals = []
        for word, indices in zip(words, order, strict=True):
            # The word itself is the nearest to itself.
            others = [self.words[index] for index in indices]
            written = [
                in_case_of(word, other) for other in others if other.casefold() != word.casefold()
            ]
            proposals.append(list(dict.fromkeys(written))[:count])
        return proposals


def in_case_of(word: str, other: str) -> str:
    """`other` in the case of `word`, where it has small letters alone.

    A vocabulary without capitals would otherwise give the replaced place away.
    """
    if not other.islower():
        return other
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other.capitalize() if word[:1].isupper() else other
