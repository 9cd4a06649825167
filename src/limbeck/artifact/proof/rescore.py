"""Score rows with an artifact in a process of its own, without torch.

`python -m limbeck.artifact.proof.rescore ARTIFACT RUNTIME ROWS OUT`: ROWS is a file that
`write_rows` wrote, one JSON object a line: an image by its file, from which it is read as a user's
is, or, where it came from none, by its shape and base64 bytes. OUT becomes a numpy file of the
logits (P, V), where P counts the labelled places of all rows (words when tagging, else one a row);
of a task over the vocabulary of what it keeps of them (P, K). A graph that writes by itself leaves
greedy answers beside it (`artifact.proof.greedy`).
"""

import base64
import contextlib
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.batches import run_batch
from limbeck.artifact.generation import Decoder
from limbeck.artifact.load import load
from limbeck.artifact.proof import greedy
from limbeck.artifact.runtimes import ByPlace, Graph
from limbeck.sources import Row
from limbeck.tasks import Encoded, OverVocabulary
from limbeck.tasks.likelihood import is_known
from limbeck.tasks.text_generation import TextGeneration

# Of a row, what a model must not see, or has no use for.
NOT_READ = ("tags", "label", "slices")


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON lines, without their labels: what scores them must not see the answers."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_to_json(row)) + "\n")


def read_rows(path: Path) -> Iterator[Row]:
    """The rows that `write_rows` wrote; of an image's file its bytes, as `raw`."""
    with open(path, encoding="utf-8") as file, contextlib.ExitStack() as archives:
        opened: dict[str, zipfile.ZipFile] = {}
        for line in file:
            row = json.loads(line)
            if "image" in row:
                content = base64.b64decode(row["image"])
                pixels = np.frombuffer(content, np.uint8)
                row["image"] = pixels.reshape(row.pop("shape"))
            if "file" in row:
                root, name = row.pop("file")
                # An archive's table of contents is read once, not for every image.
                if root not in opened and os.path.isfile(root):
                    opened[root] = archives.enter_context(zipfile.ZipFile(root))
                raw = opened[root].read(name) if root in opened else Path(root, name).read_bytes()
                row["raw"] = raw
            yield row


def _to_json(row: Row) -> dict[str, Any]:
    """A row without its labels as plain data."""
    # The file, where it is still there: parity begins where a user's input does.
    if "file" in row and is_there(*row["file"]):
        return {"file": row["file"]}
    if "image" in row:
        image: np.ndarray = row["image"]
        # Bytes and shape, exactly: a list of numbers would be three times as long.
        pixels = base64.b64encode(image.tobytes()).decode()
        return {"image": pixels, "shape": image.shape}
    return {key: value for key, value in row.items() if key not in NOT_READ}


def is_there(root: str, name: str) -> bool:
    """Whether an image's archive, or its file in a folder, is still where it was read."""
    return os.path.isfile(root) or os.path.isfile(os.path.join(root, name))


def main(artifact: str, runtime: str, rows_file: str, out: str) -> None:
    """Score every row, one at a time, as a user's inputs come."""
    predictor = load(artifact, runtime=runtime, threads=1)
    rows = read_rows(Path(rows_file))
    task = predictor.task
    logits = []
    for row in rows:
        if isinstance(task, OverVocabulary):
            # Logits of a vocabulary would fill the disk.
            logits += [kept_of(predictor.graph, each, task) for each in task.encode([row])]
            continue
        given = task.row(row["raw"]) if "raw" in row else row
        logits.append(predictor.logits(given))
    np.save(out, np.concatenate(logits))
    if isinstance(predictor.graph, Decoder):
        first = islice(read_rows(Path(rows_file)), greedy.MOST_ANSWERS)
        encoded = task.encode(list(first))
        greedy.write(greedy.say(predictor.graph, encoded), greedy.said_file(Path(out)))
    # The promise of an artifact, kept here at every export.
    assert "torch" not in sys.modules, "the runtime must not need torch"


def kept_of(graph: Graph, encoded: Encoded, task: OverVocabulary) -> np.ndarray:
    """(W, K) what a task over the vocabulary keeps of a graph's answer to a row."""
    if isinstance(graph, ByPlace) and isinstance(task, TextGeneration):
        assert encoded.positions is not None
        ids = encoded.inputs["input_ids"]
        # A place without a label is asked for the first token of all, and counts for nothing.
        labels = np.where(is_known(encoded.labels), encoded.labels, 0)
        nats, top = graph.scores_at(ids, encoded.positions, labels)
        return task.reduced(nats, top, encoded.labels)
    logits = run_batch(graph, [encoded], {})[0]
    return task.reduce(logits, encoded.labels)


if __name__ == "__main__":
    main(*sys.argv[1:])
