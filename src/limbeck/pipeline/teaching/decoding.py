"""How a model of the recipe writes answers for a training."""

import torch

from limbeck.artifact.generation.sampling import Sampling
from limbeck.models.generation.batched import Decoding
from limbeck.recipe.model import Writing
from limbeck.tasks.inputs.dialogue import DialogueInput


def decoding_of(settings: Writing, reads: DialogueInput, name: str, dtype: torch.dtype) -> Decoding:
    """How answers are written.

    Args:
        settings: the recipe's.
        reads: how the model reads dialogues.
        name: the model's.
        dtype: in which it multiplies.

    Raises:
        ValueError: no token ends an answer.
    """
    if not reads.end_ids:
        raise ValueError(
            f"model `{name}`: no token ends its answers, so that none of them would end. "
            "Name it as eos_token_id in its generation_config.json"
        )
    return Decoding(
        sampling=Sampling(settings.temperature, settings.top_p),
        max_new_tokens=settings.max_new_tokens,
        end_ids=reads.end_ids,
        pad_id=reads.padding["input_ids"],
        positions=reads.max_tokens,
        dtype=dtype,
    )
