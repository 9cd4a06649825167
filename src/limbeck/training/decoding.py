"""A model in PyTorch as the loop of `artifact.generation` runs it: token by token, with a cache.

Shapes: T new tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from limbeck.artifact.generation import Decoder, Ids, Logits
from limbeck.artifact.generation.text_model import RecomputingDecoder
from limbeck.models.generation.batched import cache_name
from limbeck.models.running import logits_of
from limbeck.tasks.text_generation import TextGeneration


@dataclass(frozen=True)
class TorchDecoder:
    """A causal language model of transformers, in evaluation mode on the CPU; its cache is that of
    transformers.

    - `cache_name`: by which a call takes and gives the cache.
    """

    model: nn.Module
    positions: int
    cache_name: str

    def cache(self, capacity: int) -> dict[str, Any]:
        """An empty cache, which grows as it has to."""
        return {}

    def logits(self, ids: Ids, cache: dict[str, Any]) -> Logits:
        """(T) ids after those of the cache to (T, V) logits."""
        with torch.inference_mode():
            result = self.model(input_ids=torch.from_numpy(ids[None]), use_cache=True, **cache)
        cache[self.cache_name] = result[self.cache_name]
        return logits_of(result)[0].float().numpy()


@dataclass(frozen=True)
class WholeReading:
    """A model that keeps no cache, as a graph that reads all tokens: its inputs to logits."""

    model: nn.Module

    def __call__(self, inputs: dict[str, Any]) -> np.ndarray:
        """(1, T) ids and mask to (1, T, V) logits."""
        tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
        with torch.inference_mode():
            return logits_of(self.model(**tensors)).float().numpy()


def decoder_of(model: nn.Module, task: TextGeneration) -> Decoder:
    """A model, float or fake-quantized, as it writes texts.

    A module of the user's own reads all again for every token, for nobody knows its cache.
    """
    model.eval()
    name = cache_name(model)
    if name is None or not isinstance(model, PreTrainedModel):
        return RecomputingDecoder(WholeReading(model), task.input.max_tokens)
    return TorchDecoder(model, positions_of(model, task), name)


def positions_of(model: PreTrainedModel, task: TextGeneration) -> int:
    """Tokens that a model of transformers reads at most."""
    # Some know no bound, and were trained on stretches of this length.
    known = getattr(model.config, "max_position_embeddings", None)
    return int(known or task.input.max_tokens)
