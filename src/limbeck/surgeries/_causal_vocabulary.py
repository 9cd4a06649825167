"""The vocabulary of a causal language model, less the tokens that some rows never use: the table of
embeddings, the output layer (the same matrix where both are tied), the tokenizer, and every id that
configs and the preprocessing name.

A BPE keeps every merge that leads to a token that stays, in their order, so it splits a seen text
as before: a merge that is gone had no part in it. That is checked row by row all the same.

Shapes: V tokens of the vocabulary, D width.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.models.anatomy.linear import axes_of
from limbeck.models.torch_batches import device_of
from limbeck.surgeries import Cut, Evidence
from limbeck.surgeries._rebuilt import Kept, keep, keep_outputs, rebuilt
from limbeck.surgeries._tokenizer_json import TokenizerJson
from limbeck.tasks import Encoded

Json = dict[str, Any]

# How keys of configs end that name a token, or several: `eos_token_id`, `suppress_tokens`.
NAME_TOKENS = ("_token_id", "_token_ids", "suppress_tokens")


def trim_causal(
    teacher: Any,
    evidence: Evidence,
    lines: Iterable[str],
) -> Cut:
    """A copy of a causal language model with fewer tokens, and its preprocessing.

    evidence: the rows whose tokens stay. lines: further texts whose tokens do.

    Raises ValueError where the smaller tokenizer would split a row otherwise.
    """
    task: Any = evidence.task
    preprocess: Json = json.loads(task.preprocess)
    whole = TokenizerJson.parse(json.dumps(preprocess["tokenizer"]))
    encoded = task.encode(evidence.rows)
    # 1. What stays.
    wanted = whole.always_kept | ids_of(encoded)
    wanted.update(named_ids(teacher, preprocess))
    tokenizer = task.input.tokenizer
    for line in lines:
        encoding = tokenizer.encode(line, add_special_tokens=False)
        wanted.update(encoding.ids)
    kept = sorted(whole.with_merged(wanted))
    new_ids = {old: new for new, old in enumerate(kept)}
    # 2. The preprocessing, whose ids are the new ones. The chat template names words, which stay.
    changed = {
        "tokenizer": json.loads(whole.keeping(kept)),
        "pad_id": new_ids[preprocess["pad_id"]],
        "end_ids": renumbered(preprocess["end_ids"], new_ids),
    }
    smaller = json.dumps(preprocess | changed, ensure_ascii=False)
    # 3. Whether the rows are what they were.
    encoded_anew = replace(task, preprocess=smaller).encode(evidence.rows)
    check_split(encoded, encoded_anew, kept)
    return Cut(with_tokens(teacher, kept, new_ids), smaller)


def ids_of(encoded: Sequence[Encoded]) -> set[int]:
    """The tokens that rows read or are asked for."""
    found: set[int] = set()
    for row in encoded:
        found.update(row.inputs["input_ids"].tolist())
        # The last one is asked for, and read by nobody. Below 0 stands for none.
        found.update(int(label) for label in row.labels if label >= 0)
    return found


def named_ids(
    model: Any,
    preprocess: Json,
) -> Iterable[int]:
    """The tokens of a vocabulary that the preprocessing and the configs of a model name."""
    yield from (preprocess["pad_id"], *preprocess["end_ids"])
    num_tokens = model.get_input_embeddings().num_embeddings
    for config in (model.config, model.generation_config):
        for value in token_keys(config).values():
            indices = value if isinstance(value, list) else [value]
            # Some configs have -1 for none, or name a token of another vocabulary.
            yield from (index for index in indices if 0 <= index < num_tokens)


def token_keys(config: Any) -> dict[str, Any]:
    """The keys of a config that name tokens, with their ids."""
    found = {}
    for key, value in config.to_dict().items():
        names_tokens = key.endswith(NAME_TOKENS)
        if names_tokens and isinstance(value, int | list):
            found[key] = value
    return found


def renumbered(
    value: Any,
    new_ids: Mapping[int, int],
) -> Any:
    """An id, or several, as they are called now; None, or fewer, where a token is gone."""
    if isinstance(value, list):
        return [new_ids[index] for index in value if index in new_ids]
    return new_ids.get(value)


def check_split(
    before: Sequence[Encoded],
    after: Sequence[Encoded],
    kept: Sequence[int],
) -> None:
    """Raise ValueError where a row has other tokens than before. `kept`: by new id, the old one."""
    old_ids = np.array(kept)
    # A long text may be several, of which there are more where it is split into smaller tokens.
    for number, (whole, smaller) in enumerate(zip(before, after, strict=False), 1):
        expected = whole.inputs["input_ids"]
        found = old_ids[smaller.inputs["input_ids"]]
        if not np.array_equal(found, expected):
            raise ValueError(
                f"trim_vocabulary: the tokenizer would split row {number} otherwise with fewer "
                "tokens. Take another surgery"
            )


def with_tokens(
    teacher: Any,
    kept: Sequence[int],
    new_ids: Mapping[int, int],
) -> nn.Module:
    """A copy of a model whose table and output layer have the rows `kept` alone."""
    table = teacher.get_input_embeddings()
    output = teacher.get_output_embeddings()
    # Tables are often longer than the vocabulary, for the sake of the hardware; and a tokenizer may
    # have tokens that no row of the table stands for.
    rows = [index for index in kept if index < table.num_embeddings]
    numbers = torch.tensor(rows, device=device_of(teacher))
    names = {id(module): name for name, module in teacher.named_modules()}
    # 1. The tables.
    parts: Kept = {}
    keep(parts, f"{names[id(table)]}.weight", 0, numbers)
    if axes_of(output) is None:
        raise ValueError(
            f"trim_vocabulary: the outputs of {type(teacher).__name__} are made by a "
            f"{type(output).__name__}, no linear layer. Take another surgery"
        )
    keep_outputs(parts, teacher, names[id(output)], numbers)
    # 2. The configs.
    sizes: dict[str, Any] = {"vocab_size": len(rows)}
    for key, value in token_keys(teacher.config).items():
        sizes[key] = renumbered(value, new_ids)
    student: Any = rebuilt(teacher, parts, sizes, "trim_vocabulary")
    for key, value in token_keys(teacher.generation_config).items():
        setattr(student.generation_config, key, renumbered(value, new_ids))
    return student
