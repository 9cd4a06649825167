"""Answers to many prompts at once, with a cache of keys and values.

Prompts of several lengths are filled up on the left, where the attention mask leaves the filling
out and positions are counted without it. So each answer is the one that its prompt would have got
alone, but for the rounding of sums in another order. Every prompt has a generator of its own, and
what it draws does not depend on its neighbours. Tokens are chosen by the rules of the artifact
(`artifact.generation.sampling`): the same lines.

Shapes: B prompts, T tokens of the longest, V labels.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.artifact.generation.sampling import Sampling, choose
from limbeck.models.running import answering_at, autocast, logits_of
from limbeck.models.torch_batches import device_of

# What models of transformers call it, the second until version 5.24.
CACHES = ("cache", "past_key_values")


@dataclass(frozen=True)
class Decoding:
    """How answers are written.

    sampling: how a token is chosen; its seed is not read, since each prompt has a generator.
    max_new_tokens: of an answer at most.
    end_ids: tokens after which an answer is over.
    pad_id: what fills up shorter prompts.
    positions: how many tokens prompt and answer may have together.
    dtype: in which the model multiplies.
    """

    sampling: Sampling
    max_new_tokens: int
    end_ids: Sequence[int]
    pad_id: int
    positions: int
    dtype: torch.dtype = torch.float32

    @property
    def most_read(self) -> int:
        """How many tokens of a prompt are read at most: half of the positions at least, or as many
        as leave room for the longest answer."""
        return max(self.positions - self.max_new_tokens, self.positions // 2)

    def room(self, num_prompt: int) -> int:
        """How many tokens may follow a prompt of so many."""
        return max(0, min(self.max_new_tokens, self.positions - num_prompt))


class Prompt(NamedTuple):
    """Tokens that are answered, and the generator of what is drawn for the answer."""

    ids: Sequence[int]
    generator: np.random.Generator


@dataclass
class Growing:
    """The prompts that are still being answered.

    numbers: (B) which of all prompts each one is.
    mask: (B, T) 1 for every token that was read, 0 for the filling.
    cache: keys and values of these tokens, as the model made it.
    """

    numbers: list[int]
    mask: Tensor
    cache: Any = None

    def keep(self, places: Sequence[int]) -> None:
        """Forget all but the prompts at these places."""
        chosen = torch.tensor(places, device=self.mask.device)
        self.numbers = [self.numbers[place] for place in places]
        self.mask = self.mask[chosen]
        self.cache.batch_select_indices(chosen)


@torch.no_grad()
def generate(model: nn.Module, prompts: Sequence[Prompt], decoding: Decoding) -> list[list[int]]:
    """The tokens of an answer to each prompt, the end token included where there was one.

    The model is asked in the mode in which it is (a caller wants `eval`), on its own device. A
    prompt that leaves no room for an answer gets none.

    Raises:
        ValueError: an empty prompt, logits that are no numbers, or a model that keeps no cache.
    """
    name = cache_argument(model)
    if not all(len(prompt.ids) for prompt in prompts):
        raise ValueError("a prompt has no token, so there is nothing to answer")
    answers: list[list[int]] = [[] for _ in prompts]
    rooms = [decoding.room(len(prompt.ids)) for prompt in prompts]
    numbers = [number for number, room in enumerate(rooms) if room]
    if not numbers:
        return answers
    # 1. All prompts in one forward.
    ids, mask = left_padded([prompts[number].ids for number in numbers], decoding.pad_id)
    device = device_of(model)
    ids = ids.to(device)
    growing = Growing(numbers, mask.to(device))
    # 2. A token of each answer after another.
    while growing.numbers:
        with autocast(device, decoding.dtype):
            logits = next_logits(model, ids, growing, name)
        tokens: list[int] = []
        for row, number in enumerate(growing.numbers):
            prompt = prompts[number]
            earlier = np.array([*prompt.ids, *answers[number]], np.int64)
            token = choose(logits[row], earlier, decoding.sampling, prompt.generator)
            answers[number].append(token)
            tokens.append(token)
        # 3. Who is done leaves the batch, so that one long answer does not cost as many.
        places: list[int] = []
        for row, number in enumerate(growing.numbers):
            is_over = tokens[row] in decoding.end_ids or len(answers[number]) == rooms[number]
            if not is_over:
                places.append(row)
        if not places:
            break
        if len(places) < len(growing.numbers):
            growing.keep(places)
        ids = torch.tensor([[tokens[row]] for row in places], device=device)
        one_more = growing.mask.new_ones((len(places), 1))
        growing.mask = torch.cat([growing.mask, one_more], 1)
    return answers


def cache_name(model: nn.Module) -> str | None:
    """What the model's forward calls its keys and values; None where it keeps none."""
    parameters = inspect.signature(model.forward).parameters
    return next((name for name in CACHES if name in parameters), None)


def cache_argument(model: nn.Module) -> str:
    """What the model's forward calls its keys and values.

    Raises:
        ValueError: it keeps none, and would read its whole text anew for every token.
    """
    name = cache_name(model)
    if name is not None:
        return name
    raise ValueError(
        f"{type(model).__name__} cannot write answers: its forward takes no `cache`, the keys and "
        "values of the tokens that it has read. Take a causal language model of transformers, or "
        "leave distill.sequence_level and distill.on_policy out"
    )


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """(B, T) the tokens of prompts that all end at the last place, and the mask of what is text."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros((len(prompts), longest), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt)
        ids[row, start:] = torch.tensor(prompt)
        mask[row, start:] = 1
    return ids, mask


def next_logits(model: nn.Module, ids: Tensor, growing: Growing, cache: str) -> np.ndarray:
    """(B, V) of the token that follows each prompt; its cache, which the model's forward calls
    `cache`, takes up the tokens `ids` (B, T)."""
    inputs: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": growing.mask,
        cache: growing.cache,
        "use_cache": True,
    }
    # Models without such an argument count positions by the mask themselves.
    if "position_ids" in inspect.signature(model.forward).parameters:
        # The filling stands at position 0, and nobody looks at it.
        positions = (growing.mask.cumsum(1) - 1).clamp_min(0)
        inputs["position_ids"] = positions[:, -ids.shape[1] :]
    last = torch.full((len(ids), 1), ids.shape[1] - 1, device=ids.device)
    # The logits of a prompt's other tokens, over a vocabulary, would fill the memory.
    with answering_at(model, last) as is_last_alone:
        result = model(**inputs)
    growing.cache = result[cache]
    logits = logits_of(result)
    of_last = logits[:, 0] if is_last_alone else logits[:, -1]
    return of_last.float().cpu().numpy()
