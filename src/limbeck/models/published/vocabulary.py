"""Has a model's table of embeddings a row for every id of its tokenizer?

Tokens that were added to a tokenizer alone, a `[PAD]` mostly, have ids beyond the table, and the
first text that holds one ends a training after hours, or an artifact at a user's. So the highest id
is read once before anything is trained.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.models.anatomy.probe import FAULTS
from limbeck.models.running import run_model
from limbeck.models.torch_batches import batch_of, device_of, to_device
from limbeck.tasks import Encoded, Task
from limbeck.tasks.inputs.tokenized import TokenizedInput


def check_vocabulary(
    model: nn.Module,
    task: Task,
    encoded: Sequence[Encoded],
    told: str,
) -> None:
    """Read the tokenizer's highest id; nothing of the model is changed.

    encoded: rows of the task. told: what the recipe calls the model.

    Raises ValueError for a model without an embedding of it; what else fails is not told here.
    """
    # A task of somebody else may read tokens in its own way.
    if not isinstance(task.input, TokenizedInput) or not encoded:
        return
    highest = highest_id(task.input.tokenizer)
    row = with_id(encoded[0], highest)
    # The table that was read last: the one that fails raises before any other is read.
    last: list[nn.Embedding] = []

    def note(module: nn.Module, _: tuple[Any, ...]) -> None:
        assert isinstance(module, nn.Embedding)
        last[:] = [module]

    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    hooks = [table.register_forward_pre_hook(note) for table in tables]
    was_training = model.training
    # A forward, and no look at `get_input_embeddings`: own modules have none, and may clip ids.
    try:
        # A forward may draw random numbers in eval mode too; the run's own must not move.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            batch = batch_of([row], np.arange(1), task.padding)
            run_model(model.eval(), to_device(batch, device_of(model)))
    except IndexError:
        # Of positions or types it is another's mistake, which `probe` tells.
        if last and last[0].num_embeddings <= highest:
            raise too_few_rows(told, last[0].num_embeddings, highest) from None
    # A text that only stands in for one may not be what a model wants (BART's has one end).
    except FAULTS:
        pass
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()


def check_table(table: torch.Tensor, tokenizer: Any, told: str) -> None:
    """Raise ValueError where a table of embeddings (V, D) lacks an id of a tokenizer."""
    highest = highest_id(tokenizer)
    if len(table) <= highest:
        raise too_few_rows(told, len(table), highest)


def highest_id(tokenizer: Any) -> int:
    """The highest id that a text may get, of a tokenizer of the library tokenizers."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values())


def with_id(row: Encoded, number: int) -> Encoded:
    """A row of which a token in the middle is replaced: first and last ones mark its ends."""
    # Of several windows or texts all are one array.
    ids = row.inputs["input_ids"].copy()
    ids.reshape(-1)[ids.size // 2] = number
    return replace(row, inputs=row.inputs | {"input_ids": ids})


def too_few_rows(told: str, num_rows: int, highest: int) -> ValueError:
    """The mistake, with both numbers and the cure."""
    return ValueError(
        f"model `{told}`: its tokenizer has ids up to {highest:,}, and its table of embeddings has "
        f"{num_rows:,} rows. The tokenizer is another model's, or tokens were added to it alone: "
        "copy the one that belongs to the weights, or make the table longer with transformers "
        f"(model.resize_token_embeddings({highest + 1})) and save both again"
    )
