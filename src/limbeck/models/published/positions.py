"""How many tokens a model of `transformers` has positions for.

A table of P positions takes P tokens; in RoBERTa's family, whose positions count on from that of
padding, padding's index + 1 fewer: 66 positions are 64 tokens. Models without a table (relative or
rotary positions) have no such limit.
"""

from typing import Any

import torch
from torch import nn

from limbeck.models.published.hub import locate, quiet, reading

# How tables of absolute positions are called: by BERT and most, by BART, by GPT-2.
TABLES = ("position_embeddings", "position_embedding", "embed_positions", "wpe")

# What was found in this process, by the text of the config.
_FOUND: dict[str, int | None] = {}


def num_positions(name: str) -> int | None:
    """The most tokens, special ones included, that a model can read; None where nothing bounds
    them, or its folder does not say.

    Raises ValueError for a folder or hub id without a config.
    """
    import transformers

    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
        # By what the config says, not by its folder: that may hold another model by now. A run asks
        # for each task that it makes, and making the modules takes a quarter of a second.
        text = config.to_json_string(use_diff=False)
        if text not in _FOUND:
            _FOUND[text] = positions_of(config)
    return _FOUND[text]


def trained_length(name: str) -> int | None:
    """How many tokens a model says that it was made for, whatever its positions are; None where its
    config does not say. Raises ValueError as `num_positions`."""
    import transformers

    with reading(name), quiet():
        config = transformers.AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
    length = getattr(config, "max_position_embeddings", None)
    # Some write -1, or a number without meaning, where nothing bounds them.
    return length if isinstance(length, int) and length > 0 else None


def positions_of(config: Any) -> int | None:
    """`num_positions` of a model by its config, which `transformers` has read."""
    import transformers

    try:
        # The modules without their weights: only their shapes are read.
        with torch.device("meta"):
            model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    # A model that has no such form is told when it is loaded.
    except (ValueError, TypeError, RuntimeError, NotImplementedError, AssertionError):
        return None
    limits = []
    for path, module in model.named_modules():
        is_table = path.rsplit(".", 1)[-1] in TABLES
        if is_table and "weight" in dict(module.named_parameters(recurse=False)):
            limits.append(table_length(module, config))
    return min(limits, default=None)


def table_length(table: nn.Module, config: Any) -> int:
    """How many tokens a table of positions (P, D) takes."""
    rows = len(table.get_parameter("weight"))
    # BART's table is longer by what it leaves out at the start; the config says how many are read.
    length = min(rows, getattr(config, "max_position_embeddings", None) or rows)
    padding = getattr(table, "padding_idx", None)
    return length if padding is None else length - padding - 1
