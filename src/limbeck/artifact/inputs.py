"""Raw inputs of an artifact: what the command line reads, and rows as a user would send them."""

import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.sources import Row
from limbeck.sources._images import SUFFIXES


def read_inputs(source: str | None, lines: Iterable[str], *, images: bool) -> Iterator[Any]:
    """The raw inputs of `limbeck predict` and `limbeck bench`, in order; blank lines are skipped.

    source: a file or folder. For images: an image, or a folder that is searched to its depths. For
        texts: a file with one text a line, or a folder with such files, `*.txt`.
    lines: of standard input, read where `source` is None: texts, or paths of images.
    images: whether the artifact reads images.

    Raises ValueError for a path that does not exist, for a folder without images, and for text that
    is not UTF-8.
    """
    try:
        yield from _read(source, lines, images=images)
    except UnicodeDecodeError as error:
        value = error.object[error.start : error.end]
        place = source or "standard input"
        raise ValueError(f"{place}: {value!r} is not UTF-8. Save the text as UTF-8") from None


def _read(source: str | None, lines: Iterable[str], *, images: bool) -> Iterator[Any]:
    """As `read_inputs`; bytes that are not UTF-8 raise UnicodeDecodeError."""
    if source is None:
        given = _not_blank(lines)
        yield from given if images else map(text_or_pair, given)
        return
    path = Path(source)
    # Unlike `path.exists`, this is false for a name that is too long, such as a text.
    if not os.path.exists(path):
        raise ValueError(f"{path}: no such file or folder")
    if images:
        yield from map(str, _image_files(path))
        return
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    for file in files:
        # utf-8-sig: many editors on Windows begin a file with a byte order mark, which plain utf-8
        # would leave at the head of the first text.
        with open(file, encoding="utf-8-sig") as text:
            yield from map(text_or_pair, _not_blank(text))


def _not_blank(lines: Iterable[str]) -> Iterator[str]:
    """The lines that hold more than space, without their ends, be they of Windows or of Unix."""
    # A byte order mark begins what some programs of Windows write into a pipe.
    without_ends = (line.rstrip("\r\n").removeprefix("\ufeff") for line in lines)
    return (line for line in without_ends if line.strip())


def _image_files(path: Path) -> list[Path]:
    """The image at `path`, or the images below the folder, sorted by path. Raises ValueError."""
    if not path.is_dir():
        return [path]
    # Sorted, because a folder lists its files in no order that two machines share.
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{path}: no image here. Suffixes: {', '.join(sorted(SUFFIXES))}")
    return files


def text_or_pair(line: str) -> Any:
    """What a line of input says: the line itself, or the text or pair in its JSON object.

    >>> text_or_pair('{"text": "It rains.", "text_b": "Is it wet?"}')
    {'text': 'It rains.', 'text_b': 'Is it wet?'}
    >>> text_or_pair('{"text": "It rains."}')
    'It rains.'
    >>> text_or_pair('{It rains.')
    '{It rains.'
    """
    if not line.lstrip().startswith("{"):
        return line
    try:
        content = json.loads(line)
    except ValueError:
        return line  # a text that happens to begin with a brace
    keys = content.keys()
    if keys == {"text"}:
        return content["text"]
    return content if keys == {"text", "text_b"} else line


def raw(row: Row) -> Any:
    """A row as a user would send it: a text, a pair of texts, or the bytes of a PNG file."""
    if "words" in row:
        # A user sends a sentence, and the task splits it.
        return " ".join(row["words"])
    if "text_b" in row:
        return [row["text"], row["text_b"]]
    if "text" in row:
        return row["text"]
    # As a file, so that decoding it is part of what is timed.
    return png(row["image"])


def png(image: np.ndarray) -> bytes:
    """An image (H, W) or (H, W, 3) of uint8 as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
