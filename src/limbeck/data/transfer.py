"""Rows without labels from elsewhere, for the teacher to label: `data: {transfer: FILE_OR_FOLDER}`,
beside a labelled source of any kind.

A transfer set (Hinton, Vinyals and Dean, 2015, arXiv 1503.02531, section 2) need not have labels,
nor come from where the labelled rows do. A task on texts reads what the source `text` does: a file
with one text a line, or a folder with train.txt. A task on images reads every image of a folder or
an archive, whatever folder in it it lies in.
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

# What a row holds beside its label or tags.
INPUTS = ("words", "text", "text_b", "image")

# Corpora split words inside with these marks: `21 @-@ year`, `4 @.@ 9`. The tokenizer of Moses
# writes them (Koehn et al., 2007); a model has never seen them.
SPLIT_MARK = re.compile(r" @([-.,])@ ")


def rows(
    path: str,
    task: Any,
    bad: OnBadRow,
) -> list[Row]:
    """Every row that a task makes of a path, with None for its label or for each of its tags.

    `task`: a task's class. `bad`: called with every image that cannot be read.

    Raises ValueError where there is nothing to read.
    """
    base = Path(path).expanduser()
    if not base.exists():
        raise ValueError(
            f"data.transfer: `{path}` is not here. It should hold texts, one a line "
            "(a file, or a folder with train.txt), or images"
        )
    reads_images = "image" in task.row_keys
    unlabelled = list(images(base, bad) if reads_images else texts(base, task, bad))
    if not unlabelled:
        kind = "images" if reads_images else "texts"
        raise ValueError(f"data.transfer: `{path}` holds no {kind}. Name another, or leave it out")
    return [without_labels(row, task) for row in unlabelled]


def images(base: Path, bad: OnBadRow) -> Iterator[Row]:
    """Every image of a folder or a zip archive; `bad` is told of one that cannot be decoded."""
    with opened(base) as (root, names, open_file):
        for name in names:
            try:
                yield {"image": decode(open_file(name))}
            except ValueError as error:
                # One broken file in thousands need not end a run: the recipe's policy decides.
                bad(BadRow(f"{root}/{name}", str(error), {"file": name}))


def texts(
    base: Path,
    task: Any,
    bad: OnBadRow,
) -> Iterator[Row]:
    """Every line as the task reads it; where it reads words, every sentence of a line."""
    # How a task reads a text depends on neither its labels nor its preprocessing.
    reader = task([], "")
    for given in Text(str(base)).read(bad)["train"]:
        row = reader.row(SPLIT_MARK.sub(r"\1", given["text"]))
        if "words" not in row:
            yield row
            continue
        # A line may be a paragraph, and taggers are trained on sentences.
        for words in cut_at_ends(row["words"]):
            yield {"words": words}


def without_labels(row: Row, task: Any) -> Row:
    """What a task reads of a row, with None in place of its label or of each of its tags."""
    unknown = [None] * len(row["words"]) if "words" in row else None
    unlabelled: Row = dict.fromkeys(task.row_keys, unknown)
    for key, value in row.items():
        if key in INPUTS:
            unlabelled[key] = value
    return unlabelled
