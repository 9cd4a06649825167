"""Text from a causal language model, a token at a time: the loop around its graph, without torch.

A model is a `Decoder`: it reads ids after those that its cache holds and gives logits. How a token
is chosen (`sampling`), what may follow by a JSON schema (`constraint`), how tokens become text that
can be shown (`text_stream`) and when to stop (`answering`) do not know what runs the graph.

Shapes: T new tokens, V vocabulary.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# (T) tokens, and (K, V) or (V) what a model says of the next one.
Ids = NDArray[np.int64]
Logits = NDArray[np.float32]


# Of any make: a graph with a cache, one without, and tests' own.
@runtime_checkable
class Decoder(Protocol):
    """A causal language model with a cache of what it has read."""

    @property
    def positions(self) -> int:
        """Tokens that it reads at most, prompt and answer together."""
        ...

    def cache(self, capacity: int) -> Any:
        """An empty cache for `capacity` tokens; of one conversation, and one thread at a time."""
        ...

    def logits(self, ids: Ids, cache: Any) -> Logits:
        """(T) ids after those of the cache to (K, V) logits of what follows the last K of them, one
        at least; the cache then holds all of them. Raises ValueError where they do not fit."""
        ...


def check_capacity(capacity: int, positions: int) -> None:
    """Raise ValueError for a cache of more tokens than a model reads, `positions`, or of none."""
    if not 0 < capacity <= positions:
        raise ValueError(
            f"{capacity:,} tokens, prompt and answer together: the model reads at most "
            f"{positions:,}"
        )


def check_room(num_ids: int, length: int, capacity: int) -> None:
    """Raise ValueError for tokens that do not fit into a cache of `capacity` which holds `length`,
    or for none."""
    if length + num_ids > capacity or not num_ids:
        raise ValueError(f"{num_ids} tokens after {length}: the cache holds {capacity}")


def check_ids(ids: Ids, vocabulary: int) -> None:
    """Raise ValueError for ids that a model does not have: graphs read another row of the table in
    their place, such as one from the end for those below 0."""
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise ValueError(f"an id is not among the model's {vocabulary:,} tokens")
