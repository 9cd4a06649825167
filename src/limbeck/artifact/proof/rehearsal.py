"""Do the files of an artifact belong together? Names, shapes and types, found by answering.

Digests say that files are as the manifest has them, which whoever changes both can arrange. Here
the preprocessing must make what the golden inputs are, the graph must take the longest text and the
last word of the tokenizer, and its logits must be as many as there are labels to tell.

Shapes: T tokens, V logits.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.batches import run_graph
from limbeck.artifact.manifest import BrokenArtifact
from limbeck.artifact.proof.golden import ENDS, inputs_of
from limbeck.artifact.runtimes import Graph
from limbeck.tasks import OverVocabulary, Task
from limbeck.tasks.likelihood import LIKELIHOODS

TEXT = "a small text"
# Tokens of the longest text that is tried: 512 is what most encoders take.
MOST_TOKENS = 1024
MOST_PIXELS = 8192  # a side


def rehearse(folder: Path, task: Task, graph: Graph) -> None:
    """Answer an input that nobody sent. Raises BrokenArtifact, or whatever the task raises."""
    if not {"text", "words", "image"} & set(task.row_keys):
        return  # a task of somebody else, whose inputs are not known here
    row = task.row(_raw(task))
    rows = task.encode([row])
    if not len(rows):
        return  # a task over the vocabulary packs texts, and this one is too small
    encoded = rows[0]
    _check_golden(folder, encoded.inputs)
    logits = run_graph(graph, encoded)
    # Of numbers and vectors the labels say no more than a range.
    is_by_label = not LIKELIHOODS[task.likelihood].labels_are_numbers
    if is_by_label and not isinstance(task, OverVocabulary):
        size = logits.shape[-1]
        if size != len(task.labels):
            raise BrokenArtifact(
                f"{folder}: labels.json has {len(task.labels)} labels, and the graph tells {size}. "
                "Export the artifact again"
            )
    if not isinstance(task, OverVocabulary):
        json.dumps(task.decode(row, logits))
    if encoded.has_tokens:
        _try_longest(folder, task, graph, np.atleast_2d(encoded.inputs["input_ids"])[0])


def _raw(task: Task) -> Any:
    """An input as a user would send it."""
    if "image" not in task.row_keys:
        return TEXT
    settings = task.input.settings
    height, width = settings["height"], settings["width"]
    if max(height, width) > MOST_PIXELS:
        raise BrokenArtifact(f"images of {height} x {width} pixels. Export the artifact again")
    return np.zeros((height, width), np.uint8)


def _check_golden(folder: Path, inputs: dict[str, np.ndarray]) -> None:
    """Raise BrokenArtifact where what the preprocessing makes is not like the golden inputs."""
    golden = inputs_of(folder)
    for name, value in inputs.items():
        made = _form_of(value)
        rows = golden.get(name)
        exported = "nothing" if rows is None or not len(rows) else _form_of(rows[0])
        if made != exported:
            raise BrokenArtifact(
                f"{folder}: the preprocessing makes `{name}` of another type or shape than the "
                f"graph was exported with ({made}, not {exported}). Export the artifact again"
            )


def _form_of(value: np.ndarray) -> str:
    """What two inputs have in common: their type, and of images, which have one size, the shape;
    texts differ in length."""
    is_image = value.dtype.kind == "f"
    return f"{value.dtype} {value.shape}" if is_image else str(value.dtype)


def _try_longest(folder: Path, task: Task, graph: Graph, known: np.ndarray) -> None:
    """Run the longest text that the tokenizer leaves, of its last word. It begins and ends as
    `known` does, since some heads look for the end. Raises BrokenArtifact."""
    tokenizer = task.input.tokenizer
    truncation = tokenizer.truncation
    if truncation is None:
        raise BrokenArtifact(f"{folder}: the tokenizer cuts no text. Export the artifact again")
    length = min(truncation["max_length"], MOST_TOKENS)
    last = max(tokenizer.get_vocab(with_added_tokens=True).values())
    ids = np.full((1, length), last, np.int64)
    num_ends = min(ENDS, length // 2, len(known))
    ids[0, :num_ends] = known[:num_ends]
    ids[0, length - num_ends :] = known[len(known) - num_ends :]
    graph({"input_ids": ids, "attention_mask": np.ones_like(ids)})
