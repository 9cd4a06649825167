"""What a loss may read of a model: the logits of every unit, and tensors inside it, each named by a
`Tap`: a kind of tensor and a module.

A unit is what the task labels: a word, a text, an image. A place is where tensors inside a model
are compared: where a row has several units (words), their first tokens, so that the other pieces of
words and the padding are left out; where a row is one unit, all of its tokens.

| kind | shape | what |
|---|---|---|
| hidden | (B, W, D) | a module's output at every unit |
| places | (B, P, D) | a module's output at every place |
| maps | (B, C, H, W) | a convolution's output |
| attention | (B, N, P, P) | the probabilities of the attention inside a module, N heads |
| queries, keys, values | (B, N, P, D) | the factors that this attention multiplies |

`hidden` goes by units so that models with different tokenizers meet on the same words. Where a row
is one unit it is the mean over its tokens that the attention mask lets through (B, 1, D), or over
its pixels (B, 1, C).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from limbeck.models.anatomy.attention import FACTORS, PROBABILITIES

# The kinds of the table above. A tap's kind says which shape a loss wants, not which module.
HIDDEN, PLACES, MAPS = "hidden", "places", "maps"
OF_ATTENTION = (PROBABILITIES, *FACTORS)
# Kinds that cannot be compared between tokenizers, but for the first tokens of words.
BY_PLACE = (PLACES, *OF_ATTENTION)


class Tap(NamedTuple):
    """Where a loss reads. `kind`: a row of the table above. `module`: the module's name."""

    kind: str
    module: str


@dataclass(frozen=True)
class Outputs:
    """What a model gives on a batch.

    `logits`: (B, W, V).
    `mask`: (B, W), True for a unit that counts.
    `inner`: the tensors inside the model, by tap.
    `places`: (B, P), True for a place that counts; None where the places are the units.
    """

    logits: torch.Tensor
    mask: torch.Tensor
    inner: dict[Tap, torch.Tensor] = field(default_factory=dict)
    places: torch.Tensor | None = None

    @property
    def place_mask(self) -> torch.Tensor:
        """(B, P), True for a place that counts."""
        return self.mask if self.places is None else self.places

    @property
    def hidden(self) -> dict[str, torch.Tensor]:
        """The tensors of kind `hidden` (B, W, D), by module name."""
        return {tap.module: value for tap, value in self.inner.items() if tap.kind == HIDDEN}


def hidden_of(modules: Sequence[str]) -> list[Tap]:
    """The taps that read `hidden` of these modules."""
    return [Tap(HIDDEN, name) for name in modules]
