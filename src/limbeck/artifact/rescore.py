"""Score rows with an artifact in a process of its own, without torch.

`python -m limbeck.artifact.rescore ARTIFACT RUNTIME ROWS OUT`: ROWS is a file that `write_rows`
wrote, one JSON object a line, with an image as its shape and base64 bytes. OUT becomes a numpy file
of the logits (P, V), where P counts the labelled places of all rows (words when tagging, else one a
row).
"""

import base64
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.artifact.load import load
from limbeck.sources import Row


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON lines, without their labels: what scores them must not see the answers."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_to_json(row)) + "\n")


def read_rows(path: Path) -> Iterator[Row]:
    """The rows that `write_rows` wrote."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if "image" in row:
                content = base64.b64decode(row["image"])
                pixels = np.frombuffer(content, np.uint8)
                row["image"] = pixels.reshape(row.pop("shape"))
            yield row


def _to_json(row: Row) -> dict[str, Any]:
    """A row without its labels as plain data."""
    if "image" in row:
        image: np.ndarray = row["image"]
        # Bytes and shape, exactly: a list of numbers would be three times as long.
        pixels = base64.b64encode(image.tobytes()).decode()
        return {"image": pixels, "shape": image.shape}
    return {key: value for key, value in row.items() if key not in ("tags", "label")}


def main(artifact: str, runtime: str, rows_file: str, out: str) -> None:
    """Score every row, one at a time, as a user's inputs come."""
    predictor = load(artifact, runtime=runtime, threads=1)
    rows = read_rows(Path(rows_file))
    logits = [predictor.logits(row) for row in rows]
    np.save(out, np.concatenate(logits))
    # The promise of an artifact, kept here at every export.
    assert "torch" not in sys.modules, "the runtime must not need torch"


if __name__ == "__main__":
    main(*sys.argv[1:])
