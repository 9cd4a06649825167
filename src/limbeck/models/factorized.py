"""An embedding V x D as the product of a table V x E and a projection E x D (ALBERT, Lan et al., 2019, arXiv 1909.11942, section 3.1)."""

import torch
from torch import nn


class FactorizedEmbedding(nn.Module):
    """projection(table[ids]); both are quantized as every embedding and every linear layer is."""

    def __init__(self, embedding: nn.Embedding, rank: int) -> None:
        """Of the shape, the kind and the padding of `embedding`, with new weights."""
        super().__init__()
        words, width, like = embedding.num_embeddings, embedding.embedding_dim, embedding.weight
        self.table = nn.Embedding(
            words, rank, embedding.padding_idx, device=like.device, dtype=like.dtype
        )
        self.projection = nn.Linear(rank, width, bias=False, device=like.device, dtype=like.dtype)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, T) to (B, T, D)."""
        return self.projection(self.table(ids))
