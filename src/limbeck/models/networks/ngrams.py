"""A text as its pieces of one to five characters: an embedding of each, their sum, a linear layer.

fastText (Joulin et al., 2017, arXiv 1607.01759) with pieces of words (Bojanowski et al., 2017,
arXiv 1607.04606), each of which has the row of a table that its hash says (Weinberger et al., 2009,
arXiv 0902.2206). It needs no weights of others, reads any script, and trains in seconds: it is for
few rows in a language that the encoder at hand was not made for.

Deviations: the sum is divided by the square root of the number of pieces, not by the number, as the
counts of a linear model are; pieces go on across spaces, so short words stand beside their
neighbours; and a tagger reads each word beside the two around it.

Shapes: B rows, T characters, N lengths of pieces, D width, V labels.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from limbeck.models.networks import TextShape
from limbeck.tasks.inputs.characters import FIRST_OF_WORD

# Small, so that a piece which training never met says nothing.
INITIAL = 0.007
# What the sum is multiplied by. An optimizer such as Adam moves each weight by the learning rate,
# and pieces are met so seldom that they need three times what a convolution does.
GAIN = 3.0
# MULTIPLIER times the most rows of a table stays below 2^31: a runtime may compute in 32 bits.
MULTIPLIER = 31337
MOST_BUCKETS = 1 << 16
CONTEXT = (-1, 0, 1)  # the words that a word's tag is read from, by their distance


@dataclass(frozen=True)
class Ngrams:
    """`width`: of an embedding. `longest`: characters of the longest piece. `buckets`: rows of the
    table for each length, which pieces share by their hash. `dropout`: the share of the pieces that
    a training step leaves out."""

    width: Annotated[int, Field(ge=1, le=4096)] = 32
    longest: Annotated[int, Field(ge=1, le=16)] = 5
    buckets: Annotated[int, Field(ge=16, le=MOST_BUCKETS)] = 1 << 14
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def build_for_texts(self, num_labels: int, texts: TextShape) -> nn.Module:
        """The network with new weights."""
        return _Pieces(self, num_labels, texts)


class _Pieces(nn.Module):
    """The sum of the pieces, then a linear classifier: once for a text, or at each word."""

    def __init__(self, keys: Ngrams, num_labels: int, texts: TextShape) -> None:
        super().__init__()
        bag = _WordBags if texts.answers_words else _TextBag
        self.blocks = nn.ModuleList([bag(keys)])
        width = keys.width * (len(CONTEXT) if texts.answers_words else 1)
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The logits (B, V) of texts, or (B, T, V) of words; both inputs (B, T)."""
        hidden = self.blocks[0](input_ids, attention_mask)
        logits: Tensor = self.classifier(hidden)
        return logits


class _Bag(nn.Module):
    """The embeddings of all pieces of a text."""

    def __init__(self, keys: Ngrams) -> None:
        super().__init__()
        self.longest = keys.longest
        self.buckets = keys.buckets
        self.embedding = nn.Embedding(keys.longest * keys.buckets, keys.width)
        nn.init.normal_(self.embedding.weight, std=INITIAL)
        self.dropout = nn.Dropout(keys.dropout)

    def pieces(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) the sum of the pieces that begin at each character, and (B, T) their number."""
        rows, within = [], []
        code = torch.zeros_like(input_ids)
        is_whole = attention_mask
        for length in range(self.longest):
            # The piece goes on by the character that stands so many places further right.
            code = (code * MULTIPLIER + shifted(input_ids, length)) % self.buckets
            is_whole = is_whole * shifted(attention_mask, length)
            rows.append(code + length * self.buckets)
            within.append(is_whole)
        counted = torch.stack(within, -1).to(self.embedding.weight.dtype)
        weights = self.dropout(counted)
        embedded = self.embedding(torch.stack(rows, -1))
        return (embedded * weights[..., None]).sum(2), counted.sum(2)


class _TextBag(_Bag):
    """(B, D) of whole texts."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Both inputs (B, T)."""
        summed, count = self.pieces(input_ids, attention_mask)
        return GAIN * summed.sum(1) / count.sum(1, keepdim=True).clamp(min=1).sqrt()


class _WordBags(_Bag):
    """(B, T, 3 D): at each character its word's sum, between those of the words beside it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Both inputs (B, T)."""
        summed, count = self.pieces(input_ids, attention_mask)
        # Each word begins with the mark, so that it has a number.
        word = (input_ids == FIRST_OF_WORD).long().cumsum(1)
        distance = word[:, None, :] - word[:, :, None]
        seen = []
        for wanted in CONTEXT:
            belongs = (distance == wanted).to(summed.dtype)
            number = belongs @ count[..., None]
            seen.append(GAIN * (belongs @ summed) / number.clamp(min=1).sqrt())
        return torch.cat(seen, -1)


def shifted(values: Tensor, places: int) -> Tensor:
    """Values (B, T), each that of so many places further right; 0 past the end."""
    return nn.functional.pad(values, (0, places))[:, places:]
