"""What a graph says by itself, the likeliest token after another, and where a reference would have
said another token. It is told and not judged: behind the first token that differs, two answers are
answers to two questions, and of two tokens that are nearly as likely either may come first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from limbeck.artifact.generation import Decoder
from limbeck.artifact.runtimes import Graph
from limbeck.core.files import read_json, write_json
from limbeck.evaluation.generated.figures import first_difference
from limbeck.tasks import Encoded

# Of a test split: enough to see whether answers part at once.
MOST_ANSWERS = 8
MOST_TOKENS = 32


class Said(NamedTuple):
    """Tokens that were given, and those that a graph has said after them."""

    prompt: list[int]
    answer: list[int]


def say(graph: Decoder, rows: Sequence[Encoded]) -> list[Said]:
    """What a graph says after the first half of some rows."""
    found = []
    for row in rows[:MOST_ANSWERS]:
        ids = row.inputs["input_ids"]
        # Prompt and answer fit into what the model reads.
        most = min(len(ids) // 2, graph.positions - MOST_TOKENS)
        if most < 1:
            continue
        prompt = ids[:most].astype(np.int64)
        found.append(Said(prompt.tolist(), _answer(graph, prompt)))
    return found


def _answer(graph: Decoder, prompt: np.ndarray) -> list[int]:
    cache = graph.cache(len(prompt) + MOST_TOKENS)
    answer: list[int] = []
    read = prompt
    for _ in range(MOST_TOKENS):
        logits = graph.logits(read, cache)[-1]
        token = int(logits.argmax())
        answer.append(token)
        read = np.array([token], np.int64)
    return answer


def differences(reference: Graph, said: Sequence[Said]) -> list[int | None]:
    """Of each answer the place, from 0, of the first token that the reference would not have said
    there; None where there is none."""
    places = []
    for prompt, answer in said:
        # One pass over both tells what it would have said at each place.
        ids = np.array([[*prompt, *answer[:-1]]], np.int64)
        logits = reference({"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        own = logits[len(prompt) - 1 :].argmax(axis=1)
        places.append(first_difference(answer, own.tolist()))
    return places


def write(said: Sequence[Said], path: Path) -> None:
    """Leave answers for another process."""
    write_json(path, [[each.prompt, each.answer] for each in said])


def read(path: Path) -> list[Said]:
    """What `write` left."""
    return [Said(prompt, answer) for prompt, answer in read_json(path)]


def said_file(out: Path) -> Path:
    """Where they lie, beside the logits."""
    return out.with_suffix(".said.json")
