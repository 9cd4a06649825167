"""What the command line feeds an artifact: files, folders, lines of standard input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.sources._images import SUFFIXES


def read_inputs(source: str | None, lines: Iterator[str], *, images: bool) -> Iterator[Any]:
    """Raw inputs of `predict`: the images of a folder or file, or the lines of a text file or of standard input (`lines`; image paths there)."""
    if source is None:
        yield from (
            line.rstrip("\n") if images else text_or_pair(line.rstrip("\n"))
            for line in lines
            if line.strip()
        )
        return
    path = Path(source)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if images:
        found = (
            sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not found:
            raise ValueError(f"{path}: no image here. Suffixes: {', '.join(sorted(SUFFIXES))}")
        yield from map(str, found)
        return
    for file in sorted(path.glob("*.txt")) if path.is_dir() else [path]:
        with open(file, encoding="utf-8") as text:
            yield from (text_or_pair(line.rstrip("\n")) for line in text if line.strip())


def text_or_pair(line: str) -> Any:
    """A line as it is; of one that is a JSON object the `text`, or the whole where it holds a pair, `text` and `text_b`."""
    try:
        found = json.loads(line) if line.lstrip().startswith("{") else None
    except ValueError:
        return line
    if not isinstance(found, dict):
        return line
    return (
        found["text"]
        if found.keys() == {"text"}
        else found
        if found.keys() == {"text", "text_b"}
        else line
    )
