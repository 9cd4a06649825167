"""An encoder of `transformers` as a function from a text to a vector of length 1: the mean of its
last hidden states over the tokens that count, over its norm (Sentence-BERT, Reimers and Gurevych,
2019, arXiv 1908.10084, section 3, where the mean is the default of three poolings)."""

from typing import Any

from torch import Tensor, nn


class Embedder(nn.Module):
    """`encoder`: a model of `transformers` without a head."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            # Nothing reads it, so it would be saved and exported for nothing.
            encoder.register_module("pooler", None)
        self.encoder: Any = encoder
        self.config = encoder.config
        # Changes nothing: it gives the vector a name, under which losses find it.
        self.embedding = nn.Identity()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors (B, D) of texts (B, T), or (B, W, D) of rows of several texts (B, W, T).

        A text without a token that counts is 0.
        """
        ids = input_ids.flatten(0, -2)
        token_mask = attention_mask.flatten(0, -2)
        hidden = self.encoder(input_ids=ids, attention_mask=token_mask).last_hidden_state
        weights = token_mask.unsqueeze(-1).to(hidden.dtype)
        # A text that only fills up its row has no token: 0 rather than 0 / 0.
        mean = (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
        # The root is bounded before it is taken: at 0 its gradient would be infinite.
        length = mean.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
        vectors = self.embedding(mean / length)
        if input_ids.ndim == 2:
            return vectors
        return vectors.unflatten(0, input_ids.shape[:2])
