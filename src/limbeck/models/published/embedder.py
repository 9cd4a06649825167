"""An encoder of `transformers` as a function from a text to a vector of length 1: its last hidden
states, pooled over the tokens that count, over their norm (Sentence-BERT, Reimers and Gurevych,
2019, arXiv 1908.10084, section 3, where the mean is the default of three poolings).

    cls_token               h_1
    max_tokens              max_t h_t
    mean_tokens             sum_t h_t / n
    mean_sqrt_len_tokens    sum_t h_t / sqrt(n)

n is the number of tokens. Several poolings are laid side by side, and the norm is that of all.

Shapes: B texts, T tokens, D width, P poolings.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MEAN = "mean_tokens"


class Embedder(nn.Module):
    """`encoder`: a model of `transformers` without a head. `poolings`: keys of `POOLINGS`."""

    def __init__(self, encoder: nn.Module, poolings: Sequence[str] = (MEAN,)) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            # Nothing reads it, so it would be saved and exported for nothing.
            encoder.register_module("pooler", None)
        self.encoder: Any = encoder
        self.poolings = tuple(poolings)
        self.config = encoder.config
        # Changes nothing: it gives the vector a name, under which losses find it.
        self.embedding = nn.Identity()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors (B, P D) of texts (B, T), or (B, W, P D) of rows of several texts (B, W, T).

        A text without a token that counts is 0.
        """
        ids = input_ids.flatten(0, -2)
        token_mask = attention_mask.flatten(0, -2)
        hidden = self.encoder(input_ids=ids, attention_mask=token_mask).last_hidden_state
        weights = token_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = [POOLINGS[name](hidden, weights) for name in self.poolings]
        vector = pooled[0] if len(pooled) == 1 else torch.cat(pooled, -1)
        # The root is bounded before it is taken: at 0 its gradient would be infinite.
        length = vector.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
        vectors = self.embedding(vector / length)
        if input_ids.ndim == 2:
            return vectors
        return vectors.unflatten(0, input_ids.shape[:2])


def first_token(hidden: Tensor, weights: Tensor) -> Tensor:
    """(B, D) the state of the first token, which is [CLS] or what stands for it."""
    # 0 where that does not count, so that a text that only fills up its row is 0 here too.
    return hidden[:, 0] * weights[:, 0]


def max_of_tokens(hidden: Tensor, weights: Tensor) -> Tensor:
    """(B, D) the largest value of each channel among the tokens that count."""
    # Not minus infinity, times which the next line would be no number.
    lowest = torch.finfo(hidden.dtype).min
    largest = hidden.masked_fill(weights == 0, lowest).amax(1)
    return largest * weights.amax(1)


def mean_of_tokens(hidden: Tensor, weights: Tensor) -> Tensor:
    """(B, D) the mean over the tokens that count."""
    # A text that only fills up its row has no token: 0 rather than 0 / 0.
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)


def sum_over_root(hidden: Tensor, weights: Tensor) -> Tensor:
    """(B, D) the sum over the tokens that count, divided by the root of their number."""
    # Beside other poolings alone it is another vector than the mean: by itself the norm makes both
    # one.
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1).sqrt()


# By sentence-transformers' names, in the order in which it lays them side by side.
POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls_token": first_token,
    "max_tokens": max_of_tokens,
    MEAN: mean_of_tokens,
    "mean_sqrt_len_tokens": sum_over_root,
}
