"""Keys and values that attention keeps, rounded to int8 as they are kept.

    k^ = by_token(k),    v^ = by_token(v)        a scale for each head of a token (`fake.by_token`)

A model decodes at the speed at which memory is read, and with long contexts that is mostly these.
Keys are rounded after their positions were turned into them (rotary embeddings), as runtimes keep
them; with `group` 32 they are llama.cpp's `q8_0` (`--cache-type-k`, `--cache-type-v`).
"""

from typing import Any

from torch import Tensor
from transformers import DynamicCache

from limbeck.quantization.modules.fake import by_token


class Int8Cache(DynamicCache):
    """What a model of transformers takes as its cache; attention reads what was rounded.

    Args:
        group: how many neighbours within a head share a scale; the whole head where left out. It
            divides the heads' width.

    Example, the logits of a text as a runtime with such a cache would have them
    (`past_key_values` in transformers before 5.24):
        model(ids, cache=Int8Cache())
    """

    def __init__(self, group: int | None = None) -> None:
        super().__init__()
        self.group = group

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *place: Any,
        **ignored: Any,
    ) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values (B, heads, T, width) of new tokens; those of all tokens.

        `ignored`: what attention hands on for caches of other kinds. Raises ValueError where
        `group` does not divide the width of a head.
        """
        keys = self.rounded(key_states)
        values = self.rounded(value_states)
        return super().update(keys, values, layer_idx, *place)

    def rounded(self, heads: Tensor) -> Tensor:
        """(B, heads, T, width) on int8 levels, each token and head by itself."""
        width = heads.shape[-1]
        group = self.group or width
        if width % group:
            raise ValueError(
                f"heads are {width} wide, which are not whole groups of {group}. Leave `group` "
                "out: each head then has one scale"
            )
        return by_token(heads, group, is_half=True)
