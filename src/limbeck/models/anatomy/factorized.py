"""An embedding V x D as the product of a table V x E and a projection E x D (ALBERT, Lan et al.,
2019, arXiv 1909.11942, section 3.1)."""

from torch import Tensor, nn


class FactorizedEmbedding(nn.Module):
    """projection(table[ids]); both are quantized as every embedding and every linear layer is."""

    def __init__(self, embedding: nn.Embedding, rank: int) -> None:
        """Of the shape, device, type and padding of `embedding`, with new weights.

        `rank`: the width E of the table.
        """
        super().__init__()
        # New tensors lie where the embedding lies: a teacher may be cut on a GPU.
        like = embedding.weight
        self.table = nn.Embedding(
            embedding.num_embeddings,
            rank,
            embedding.padding_idx,
            device=like.device,
            dtype=like.dtype,
        )
        self.projection = nn.Linear(
            rank,
            embedding.embedding_dim,
            bias=False,
            device=like.device,
            dtype=like.dtype,
        )

    def forward(self, ids: Tensor) -> Tensor:
        """The embeddings (B, T, D) of ids (B, T)."""
        return self.projection(self.table(ids))
