"""Rows without labels from elsewhere, for the teacher to label: `data: {transfer: FILE_OR_FOLDER}`, beside a labelled source of any kind.

A transfer set (Hinton, Vinyals and Dean, 2015, arXiv 1503.02531, section 2) need not have labels, nor come from where the labelled rows do. A task
on texts reads what the source `text` does (a file, one text a line, or a folder with train.txt), a task on images every image of a folder or an
archive, whatever folder it lies in. A text becomes a row by the task's own `row`; for tags it is cut where a sentence ends, because a line may be a
paragraph and a tagger learned from sentences.

The marks with which corpora split words inside (`21 @-@ year`, `4 @.@ 9`; Koehn et al., 2007, the tokenizer of Moses) are undone.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.sources import BadRow, OnBadRow, Row
from limbeck.sources._images import decode
from limbeck.sources.conll import cut_at_ends
from limbeck.sources.image_folder import opened
from limbeck.sources.text import Text

INPUTS = ("words", "text", "text_b", "image")
SPLIT_MARK = re.compile(r" @([-.,])@ ")


def rows(path: str, task: Any, bad: OnBadRow) -> list[Row]:
    """Every row that `task`, a class, makes of a path. Raises ValueError where nothing can be read there."""
    base = Path(path).expanduser()
    if not base.exists():
        raise ValueError(
            f"data.transfer: `{path}` is not here. It should hold texts, one a line (a file, or a folder with train.txt), or images"
        )
    found = list(images(base, bad) if "image" in task.row_keys else texts(base, task, bad))
    if not found:
        raise ValueError(
            f"data.transfer: `{path}` holds no {'images' if 'image' in task.row_keys else 'texts'}. Name another, or leave it out"
        )
    return [without_labels(row, task) for row in found]


def images(base: Path, bad: OnBadRow) -> Iterator[Row]:
    """Every image of a folder or a zip archive."""
    with opened(base) as (root, names, open_file):
        for name in names:
            try:
                yield {"image": decode(open_file(name))}
            except ValueError as error:
                bad(BadRow(f"{root}/{name}", str(error), {"file": name}))


def texts(base: Path, task: Any, bad: OnBadRow) -> Iterator[Row]:
    """Every line as the task reads it; where it reads words, every sentence."""
    reader = task([], "")  # what a text is made of depends on neither labels nor preprocessing
    for given in Text(str(base)).read(bad)["train"]:
        row = reader.row(SPLIT_MARK.sub(r"\1", given["text"]))
        yield from (
            ({"words": words} for words in cut_at_ends(row["words"])) if "words" in row else [row]
        )


def without_labels(row: Row, task: Any) -> Row:
    """What a task reads of a row, with None in place of its label or of each tag."""
    unknown = [None] * len(row["words"]) if "words" in row else None
    return {key: unknown for key in task.row_keys} | {
        key: value for key, value in row.items() if key in INPUTS
    }
