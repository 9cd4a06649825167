"""Re-score an artifact in a fresh process: `python -m limbeck.artifact.rescore ARTIFACT RUNTIME ROWS OUT`, raw rows in, logits out. Torch is never imported.

ROWS is a file of JSON lines, one row each; an image stands as shape and base64. OUT becomes a numpy file (P, V), unit after unit.
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
    """Rows without their labels, as JSON lines."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_plain(row)) + "\n")


def read_rows(path: Path) -> Iterator[Row]:
    """The rows that `write_rows` wrote."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if "image" in row:
                row["image"] = np.frombuffer(base64.b64decode(row["image"]), np.uint8).reshape(
                    row.pop("shape")
                )
            yield row


def main(artifact: str, runtime: str, rows: str, out: str) -> None:
    """Score every row, one at a time."""
    predictor = load(artifact, runtime=runtime, threads=1)
    np.save(out, np.concatenate([predictor.logits(row) for row in read_rows(Path(rows))]))
    assert "torch" not in sys.modules, "the runtime must not need torch"


def _plain(row: Row) -> dict[str, Any]:
    if "image" in row:
        return {
            "image": base64.b64encode(row["image"].tobytes()).decode(),
            "shape": row["image"].shape,
        }
    return {key: value for key, value in row.items() if key not in ("tags", "label")}


if __name__ == "__main__":
    main(*sys.argv[1:])
