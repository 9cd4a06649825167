"""The sizes of a decoder, by its config."""

from dataclasses import dataclass
from typing import Any

from limbeck.core.wording import suggest

CACHE_TYPES = ("float", "int8")


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder. `kv_cache`: how it keeps keys and values, one of `CACHE_TYPES`."""

    layers: int
    heads: int
    key_heads: int
    head_width: int
    width: int
    vocabulary: int
    positions: int
    kv_cache: str


def shape_of(config: Any, max_positions: int | None, kv_cache: str) -> Shape:
    """The sizes of a model, by its config."""
    if kv_cache not in CACHE_TYPES:
        raise ValueError(f"kv_cache: {kv_cache!r} is not known. {suggest(kv_cache, CACHE_TYPES)}")
    heads = config.num_attention_heads
    # GPT-2 has as many keys as queries, and names neither this nor a width.
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    positions = config.max_position_embeddings
    return Shape(
        layers=config.num_hidden_layers,
        heads=heads,
        key_heads=key_heads,
        head_width=head_width,
        width=config.hidden_size,
        vocabulary=config.vocab_size,
        positions=min(positions, max_positions or positions),
        kv_cache=kv_cache,
    )
