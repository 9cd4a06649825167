"""An encoder of `transformers` as a function from a text to a vector: the mean of its last hidden states over the tokens that count, at length 1."""

from typing import Any

import torch
from torch import nn


class Embedder(nn.Module):
    """`encoder` without a head; its pooler, which nothing reads, is left out."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            encoder.register_module("pooler", None)
        self.encoder: Any = encoder
        self.config = encoder.config
        self.embedding = nn.Identity()  # a name for what losses match

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(B, T) to (B, D); (B, W, T), rows of several texts, to (B, W, D). A text without a token that counts is 0."""
        ids, seen = input_ids.flatten(0, -2), attention_mask.flatten(0, -2)
        hidden = self.encoder(input_ids=ids, attention_mask=seen).last_hidden_state
        weights = seen.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
        found = self.embedding(mean / mean.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt())
        return found if input_ids.ndim == 2 else found.unflatten(0, input_ids.shape[:2])
