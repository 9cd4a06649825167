"""Raw inputs in a file, for a process that times: one JSON object a line, bytes as base64."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_inputs(inputs: Iterable[Any], path: Path) -> None:
    """Write inputs as `Predictor.predict` takes them: texts, pairs of texts, sentences as tuples of
    words, dicts of these, and the bytes or the paths of images."""
    with open(path, "w", encoding="utf-8") as file:
        for given in inputs:
            file.write(json.dumps(_to_json(given)) + "\n")


def read_inputs(path: Path) -> list[Any]:
    """The inputs of a file that `write_inputs` wrote."""
    with open(path, encoding="utf-8") as file:
        return [_from_json(json.loads(line)) for line in file]


def _to_json(given: Any) -> dict[str, Any]:
    """One input with its kind, which JSON would lose."""
    # JSON has no bytes, and a pair of texts would come back as a list of two rows.
    if isinstance(given, bytes):
        return {"bytes": base64.b64encode(given).decode()}
    if isinstance(given, tuple):
        return {"tuple": given}
    return {"plain": str(given) if isinstance(given, Path) else given}


def _from_json(content: dict[str, Any]) -> Any:
    """See `_to_json`."""
    # One key a line.
    ((kind, value),) = content.items()
    if kind == "bytes":
        return base64.b64decode(value)
    return tuple(value) if kind == "tuple" else value
